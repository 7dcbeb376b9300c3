"""The only way forward for requests, whether one or ten thousand: for the queue, the CA endpoint, a bulk chunk and `resume`.

    submitted -> approved -> key_ready -> csr_created -> issued -> completed

A step that calls Vault, an HSM or a CA has three phases: `reserve` in a transaction, `execute`
outside of one, `record` in another. The record of one step and the reserve of the next share a
transaction, so that an act takes one transaction in place of two. Celery's tasks advance by one
step each, because their queues have different logins: there each task commits its own step.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from django.db import transaction

from audit.log import UnitOfWork
from certs.alone import DATABASE_AWAY, Alone
from certs.enums import AlertKind
from certs.enums import RequestState as S
from certs.fault_points import pause
from certs.issuance.attempts import Act, Lease, Recorded
from certs.issuance.steps import ca_submit, csr, inventory, key, policy
from certs.models import CertificateRequest
from certs.notifications.alerts import raise_alert
from certs.requests.facts.policy_facts import PolicyFacts
from certs.requests.states import UNFINISHED, lock_ready
from db.clock import database_now

log = logging.getLogger(__name__)

ORDER = (*UNFINISHED, S.COMPLETED)
MOST_NAMED = 10  # requests that an alert names


class Unavailable(Exception):
    """Some requests of a batch could not go on, because a key backend or a CA is unavailable.

    They lose nothing and may be tried again. `keys` and `ca`: the reasons, by request id.
    """

    def __init__(self, keys: Mapping[int, str], ca: Mapping[int, str]) -> None:
        self.keys, self.ca = dict(keys), dict(ca)
        self.ids = [*self.keys, *self.ca]
        self.message = next(iter([*self.keys.values(), *self.ca.values()]), "")
        super().__init__(self.message)


def advance(ids: Collection[int], *, since: S = S.SUBMITTED, until: S) -> None:
    """Take the requests among `ids` that are ready forward, as far as `until`.

    A request is ready when its state is `since` or a later one before `until`, it is not held, and
    no other worker has it. It may end on the way, or wait for an approval; the others of its batch
    go on. Safe to run again at any time, and by two workers at once. No transaction may be open.

    Raises Unavailable at the end for those that have to be tried again.
    """
    if ids:
        carry_out(_begin(ids, since=since, until=until), until=until)


def _begin(ids: Collection[int], *, since: S, until: S) -> list[Act]:
    """Lock the requests that are ready, and reserve. Where that fails, each request gets a transaction
    of its own, so that one that cannot be reserved does not stop the others.
    """
    # 1. All together: one transaction and a few round trips for the whole batch.
    states = ORDER[ORDER.index(since) : ORDER.index(until)]
    with Alone() as together, UnitOfWork() as work:
        return reserve(work, lock_ready(ids, states), until=until, now=database_now())
    # 2. Without a database no request is at fault, and each alone would only wait for the same connection.
    assert together.error is not None  # or it had returned
    if len(ids) == 1 or isinstance(together.error, DATABASE_AWAY):
        raise together.error
    # 3. Each alone. The batch was rolled back, so nothing was reserved twice.
    acts: list[Act] = []
    failed = []
    for pk in sorted(ids):
        with Alone() as alone:
            acts += _begin([pk], since=since, until=until)
        if alone.error is not None:
            log.error("request %d cannot go on", pk, exc_info=alone.error)
            failed.append(alone.error)
    if len(failed) == len(ids):
        raise failed[0]
    return acts


def reserve(
    work: UnitOfWork, requests: Sequence[CertificateRequest], *, until: S, now: datetime, known: PolicyFacts | None = None
) -> list[Act]:
    """Take requests forward in `work` until a key backend or a CA is needed, and reserve that act.

    The requests are locked, or new in `work`. `known`: the facts for the policy, where they were
    read in this transaction. Returns the acts, which `carry_out` executes after the commit.
    """

    def at(state: S) -> list[CertificateRequest]:
        return [request for request in requests if request.state == state]

    last = ORDER.index(until)
    acts: list[Act] = []
    # 1. Policy. An allowed request with an external CSR goes straight on to csr_created.
    decided = policy.decide(work, at(S.SUBMITTED), now=now, known=known) if last >= ORDER.index(S.APPROVED) else {}
    # 2. Key: one to be made, or one that is used again.
    if last >= ORDER.index(S.KEY_READY):
        acts += key.reserve(work, at(S.APPROVED), now=now)
    # 3. CSR, of the requests that have their key.
    if last >= ORDER.index(S.CSR_CREATED):
        acts += csr.reserve(work, at(S.KEY_READY), now=now)
    # 4. CA. The policy is evaluated once more, unless step 1 did so in this transaction.
    if last >= ORDER.index(S.ISSUED):
        acts += ca_submit.reserve(work, at(S.CSR_CREATED), decided=decided, now=now)
    # 5. Inventory.
    if last >= ORDER.index(S.COMPLETED):
        inventory.complete(work, at(S.ISSUED), now=now)
    return acts


def carry_out(acts: Sequence[Act], *, until: S) -> None:
    """Execute and record what was reserved, and go on with the requests that moved, as far as `until`.

    An act that fails does not stop the others. No transaction may be open. Raises at the end
    Unavailable, or else the first act's error.
    """
    pending = list(acts)
    lease = Lease()
    for act in pending:
        lease.hold(act.open_attempts)
    keys: dict[int, str] = {}
    ca: dict[int, str] = {}
    broken: list[Exception] = []
    while pending:
        # 1. Each act is recorded before the next one is executed, so that the results of one CA do not wait
        #    for another that is slow, and a crash loses the results of one act at most. One lease covers the
        #    acts that wait and the one under way.
        act = pending.pop(0)
        with Alone() as alone:
            lease.renew()
            pause(act.step, "reserved")
            act.execute(lease)
            pause(act.step, "executed")
            results, following = _record(act, lease, until=until)
            for recorded in results:
                keys |= recorded.keys_unavailable
                ca |= recorded.ca_unavailable
            # 2. What was reserved by the record phase comes after the acts that wait already.
            for one in following:
                lease.hold(one.open_attempts)
            pending += following
            pause(act.step, "recorded")
        if alone.error is not None:
            log.error("a batch broke off at the step %s; the sweeper goes on with it", act.step, exc_info=alone.error)
            broken.append(alone.error)
    # 3. A backend that is away is the answer that the caller can act on: it retries, and then lets the requests wait. The sweeper
    #    continues a batch that broke off, whatever is raised here.
    if keys or ca:
        raise Unavailable(keys, ca)
    if broken:
        raise broken[0]


def _record(act: Act, lease: Lease, *, until: S) -> tuple[list[Recorded], list[Act]]:
    """Record an act, and reserve what follows, in one transaction.

    Where that fails, the results are recorded one by one, and what follows is reserved for all
    whose result was. A result that cannot be recorded even alone keeps its attempt open, and is
    lost when the lease ends; operators are alerted.
    """
    with Alone() as together:
        return _record_together(act, until=until)
    # 1. A result is not lost with a connection: once more, on another one.
    if isinstance(together.error, DATABASE_AWAY):
        return _record_together(act, until=until)
    # 2. One by one. What a CA has issued must not be lost because another request of its batch cannot be recorded.
    log.warning("results of the step %s are recorded one by one", act.step, exc_info=together.error)
    results: list[Recorded] = []
    failed: list[Exception] = []
    not_recorded: list[int] = []
    for part in act.each():
        lease.renew()
        with Alone() as alone:
            with UnitOfWork() as work:
                recorded = part.record(work)
            results.append(recorded)
        if alone.error is not None:
            log.error("the result of a request at the step %s cannot be recorded", act.step, exc_info=alone.error)
            failed.append(alone.error)
            not_recorded += [attempt.request_id for attempt in part.open_attempts]
    if failed:
        _alert_not_recorded(act.step, not_recorded, failed[0])
    if failed and not results:
        raise failed[0]
    # 3. What follows, for all of them together. Their locks are gone since step 2, so the rows are read again: a request that
    #    was cancelled since does not go on.
    moved = [request for recorded in results for request in recorded.ready]
    with UnitOfWork() as work:
        ready = {(row.pk, row.state) for row in lock_ready({request.pk for request in moved}, ORDER)}
        following = reserve(work, [one for one in moved if (one.pk, one.state) in ready], until=until, now=database_now())
    return results, following


@transaction.atomic
def _alert_not_recorded(step: str, ids: Sequence[int], error: Exception) -> None:
    """Alert operators to results that no transaction takes. The error's text may quote anything, so only its type is named."""
    names = list(CertificateRequest.objects.filter(pk__in=ids).order_by("pk").values_list("public_id", flat=True)[:MOST_NAMED])
    more = f" and {len(ids) - len(names)} more" if len(ids) > len(names) else ""
    result = "A certificate that the CA issued" if step == ca_submit.STEP else f"A result of the step {step}"
    raise_alert(
        kind=AlertKind.RESULT_NOT_RECORDED,
        cause=f"step:{step}",
        message=f"{result} could not be recorded: {type(error).__name__}. Requests: {', '.join(names)}{more}.",
        next_step="The worker's log has the traceback. The sweeper tries each request again when its lease ends, and asks "
        "the CA first for what it issued already. Close this alert when the requests have gone on.",
        now=database_now(),
    )


def _record_together(act: Act, *, until: S) -> tuple[list[Recorded], list[Act]]:
    """Record an act and reserve what follows in one transaction, in which the requests stay locked between the two."""
    with UnitOfWork() as work:
        recorded = act.record(work)
        following = reserve(work, recorded.ready, until=until, now=recorded.now)
    return [recorded], following
