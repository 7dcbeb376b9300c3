"""The only way forward for requests: for one and for ten thousand, for the queue, a caller who waits, a bulk chunk and `resume`.

    submitted -> approved -> key_ready -> csr_created -> issued -> completed

A step that calls Vault, an HSM or a CA has three phases: `reserve` in a transaction, `execute`
outside of one, `record` in another. The record of one step and the reserve of the next
share a transaction, so that an act costs one. Celery's tasks advance by one step each, because
their queues have different logins: there each task commits what it did.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from django.db import IntegrityError

from audit.unit_of_work import UnitOfWork
from certs.enums import RequestState as S
from certs.fault_points import pause
from certs.issuance.steps import ca_submit, csr, inventory, key, policy
from certs.issuance.steps.act import Act, Recorded
from certs.models import CertificateRequest
from certs.requests.states import lock_ready
from db.clock import database_now

log = logging.getLogger(__name__)

ORDER = (S.SUBMITTED, S.APPROVED, S.KEY_READY, S.CSR_CREATED, S.ISSUED, S.COMPLETED)


class Unavailable(Exception):
    """Some requests of a batch could not go on: a key backend or a CA did not do what was asked.

    Nothing of theirs is lost. `keys` and `ca` say why, by request id; they may be tried again.
    """

    def __init__(self, keys: Mapping[int, str], ca: Mapping[int, str]) -> None:
        self.keys, self.ca = dict(keys), dict(ca)
        self.ids = [*self.keys, *self.ca]
        self.message = next(iter([*self.keys.values(), *self.ca.values()]), "")
        super().__init__(self.message)


def advance(ids: Collection[int], *, since: S = S.SUBMITTED, until: S) -> None:
    """Take the requests among `ids` that are ready forward, as far as `until`.

    A request is ready when its state is `since` or a later one before `until`, it is not held, and
    nobody else works on it. It may end on the way, or wait for an approval. Each request alone
    decides how far it comes: the others of its batch go on. Safe to run again at any time, and by
    two workers at once. No transaction may be open.

    Raises Unavailable at the end for those that have to be tried again.
    """
    if not ids:
        return
    states = ORDER[ORDER.index(since) : ORDER.index(until)]
    with UnitOfWork() as work:
        requests = lock_ready(ids, states)
        acts = reserve(work, requests, until=until, now=database_now())
    carry_out(acts, until=until)


def reserve(work: UnitOfWork, requests: Sequence[CertificateRequest], *, until: S, now: datetime) -> list[Act]:
    """Take requests forward in `work` as far as nothing outside the database is needed, and reserve what is.

    The requests are locked or new in `work`. `carry_out` does what is reserved, after the commit.
    """

    def at(state: S) -> list[CertificateRequest]:
        return [request for request in requests if request.state == state]

    last = ORDER.index(until)
    acts: list[Act] = []
    # 1. Policy. An external CSR that it allows goes straight on to csr_created.
    decided = policy.decide(work, at(S.SUBMITTED), now=now) if last >= ORDER.index(S.APPROVED) else {}
    # 2. Key: to be made, or there already.
    if last >= ORDER.index(S.KEY_READY):
        acts += key.reserve(work, at(S.APPROVED), now=now)
    # 3. CSR, of the requests that have their key.
    if last >= ORDER.index(S.CSR_CREATED):
        acts += csr.reserve(work, at(S.KEY_READY), now=now)
    # 4. CA. The policy is evaluated again, unless that was done above.
    if last >= ORDER.index(S.ISSUED):
        acts += ca_submit.reserve(work, at(S.CSR_CREATED), decided=decided, now=now)
    # 5. Inventory.
    if last >= ORDER.index(S.COMPLETED):
        inventory.complete(work, at(S.ISSUED), now=now)
    return acts


def carry_out(acts: Sequence[Act], *, until: S) -> None:
    """Execute and record what was reserved, and go on with the requests that moved, as far as `until`.

    No transaction may be open. Raises Unavailable at the end.
    """
    pending = list(acts)
    keys: dict[int, str] = {}
    ca: dict[int, str] = {}
    while pending:
        # One act after the other, so that the results of one CA do not wait for another that is slow.
        act = pending.pop(0)
        pause(act.step, "reserved")
        act.execute()
        pause(act.step, "executed")
        for recorded, following in _record(act, until=until):
            keys |= recorded.keys_unavailable
            ca |= recorded.ca_unavailable
            pending += following
        pause(act.step, "recorded")
    if keys or ca:
        raise Unavailable(keys, ca)


def _record(act: Act, *, until: S) -> list[tuple[Recorded, list[Act]]]:
    """Record an act and reserve what follows, in one transaction.

    If the database refuses what one request brought, the batch is rolled back and recorded item by
    item; what cannot be recorded even alone keeps its attempt open, and is lost when the lease ends.
    """
    try:
        with UnitOfWork() as work:
            recorded = act.record(work)
            following = reserve(work, recorded.ready, until=until, now=recorded.now)
    except IntegrityError:
        parts = act.each()
        if len(parts) == 1:
            raise
    else:
        return [(recorded, following)]
    results: list[tuple[Recorded, list[Act]]] = []
    refused: IntegrityError | None = None
    for part in parts:
        try:
            results += _record(part, until=until)
        except IntegrityError as exc:
            log.exception("the result of a request at the step %s cannot be recorded", act.step)
            refused = exc
    if refused is not None and not results:
        raise refused
    return results
