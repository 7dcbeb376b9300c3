"""The same steps in the same order, run here and now instead of by Celery: for the CA endpoint, whose caller waits.

Only a process that may use the CA's key can do this (the embedded one, or the `ca-api` service of the compose file).
What cannot be finished is handed to the queue, which retries and holds as always.
"""

from __future__ import annotations

from collections.abc import Sequence

from certs.terms import RequestState as S
from certs.workflow import steps
from certs.workflow.canvas import start
from certs.workflow.steps.keys import KeysUnavailable


def run_now(ids: Sequence[int], *, brought: bool = False) -> None:
    """Take requests from submitted to completed, as far as possible. `brought`: all came with a CSR, so no key is made."""
    steps.check_policy(ids)
    try:
        if not brought:
            steps.ensure_keys(ids)
            steps.create_csrs(ids)
        steps.submit_to_ca(ids)
    except KeysUnavailable as exc:
        start(exc.ids, at=S.APPROVED)
    except steps.Unavailable as exc:
        start(exc.ids, at=S.CSR_CREATED)
    steps.record_inventory(ids)
