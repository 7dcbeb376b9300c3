"""Bulk orders for tests: drafted from specifications, worked off here and now as the tasks would."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from certs.intake.spec import CertificateSpec
from certs.intake.uploads.lines import Line
from certs.models import BulkChunk, BulkOrder
from certs.workflow import steps
from certs.workflow.bulk import dispatching
from certs.workflow.bulk.drafting import draft
from certs.workflow.issuance import Requester
from certs.workflow.steps.keys import KeysUnavailable


def lines_for(specs: Sequence[CertificateSpec]) -> list[Line]:
    return [Line(number, f"row {number}", spec) for number, spec in enumerate(specs, start=1)]


def drafted(specs: Sequence[CertificateSpec], requester: Requester, title: str = "test") -> BulkOrder:
    return draft(lines_for(specs), requester=requester, title=title)


def work_off(chunk: BulkChunk) -> bool:
    """One chunk through the same functions as its chain of tasks; answers whether it was closed."""
    ids = dispatching.begin_chunk(chunk.pk) if chunk.key_backend else dispatching.issue_chunk(chunk.pk)
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs, steps.submit_to_ca, steps.record_inventory):
        with contextlib.suppress(KeysUnavailable, steps.Unavailable):
            step(ids)
    return dispatching.end_chunk(chunk.pk)


def work_off_all() -> None:
    """Until the dispatcher has nothing more to give."""
    while True:
        dispatching.dispatch()
        closed = [work_off(chunk) for chunk in BulkChunk.objects.filter(state="queued")]
        if not any(closed):
            return
