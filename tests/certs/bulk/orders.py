"""Bulk orders for tests: drafted from specifications, worked off here and now as the tasks would."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial

from certs.bulk import chunk as chunks
from certs.bulk import dispatch
from certs.bulk.drafting.draft import draft
from certs.issuance.advance import Unavailable
from certs.models import BulkChunk, BulkOrder
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from certs.uploads.line import Line
from tests.certs import steps


def lines_for(specs: Sequence[CertificateSpec]) -> list[Line]:
    return [Line(number, f"row {number}", spec) for number, spec in enumerate(specs, start=1)]


def drafted(specs: Sequence[CertificateSpec], requester: Requester, title: str = "test") -> BulkOrder:
    return draft(lines_for(specs), requester=requester, title=title)


def begin(chunk_id: int) -> list[int]:
    """A chunk whose worker died, or was stopped, as soon as its requests were evaluated."""
    ids = sorted(request.pk for request in chunks.make_requests(chunk_id))
    steps.check_policy(ids)
    return ids


def work_off(chunk: BulkChunk) -> bool:
    """One chunk through the same functions as its chain of tasks; answers whether it was closed."""
    issue_lines(chunk)
    return dispatch.end_chunk(chunk.pk)


def issue_lines(chunk: BulkChunk) -> None:
    """All of the chain but its last task, as when that one's message is lost."""
    ids = chunks.make_chunk(chunk.pk)
    for step in (steps.ensure_keys, steps.create_csrs, partial(steps.submit_to_ca, complete=True)):
        with contextlib.suppress(Unavailable):
            step(ids)


def work_off_all() -> None:
    """Until the dispatcher has nothing more to give."""
    while True:
        dispatch.dispatch()
        closed = [work_off(chunk) for chunk in BulkChunk.objects.filter(state="queued")]
        if not any(closed):
            return
