"""Step 4, reserve: note what is ordered from each CA. `ca_call` executes, `ca_record` records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.db.models import prefetch_related_objects

from audit.events import EventType
from audit.log import Event, UnitOfWork
from certs.ca.base import Prepared
from certs.ca.registry import is_remote, own_ca
from certs.enums import RequestState as S
from certs.issuance.attempts import Act, Lease, Recorded, open_attempts
from certs.issuance.steps.ca_call import Answers, Orders, ask_ca, ended_unasked, order_for
from certs.issuance.steps.ca_record import record_answers
from certs.issuance.steps.policy import keep_evaluations, refusal
from certs.models import Attempt, CertificateRequest, Issuer
from certs.requests.approvals.granted import approved_requests
from certs.requests.approvals.requesters import ASK_A_MEMBER, requesters_who_left
from certs.requests.facts.policy_facts import evaluate_many, policy_input
from certs.requests.lineage import lock_renewed, stopped_lineages
from certs.requests.states import ASK_AGAIN, KEY_BLOCKED, WORKER, note_reasons, reject_many
from db.rows import Lock, by_key, select
from keys.public_keys import blocked_keys
from policy.engine import Decision, Outcome

STEP = "submit"
MOST_TOGETHER = 100  # requests that waited for a place at a CA and go on in one batch


def reserve(work: UnitOfWork, requests: Sequence[CertificateRequest], *, decided: Mapping[int, Decision], now: datetime) -> list[Act]:
    """Note what is about to be ordered from each CA. The requests are in csr_created, and locked or new in `work`.

    `decided`: decisions of the policy on these requests that were made in this transaction.
    """
    # 1. Requests wait while as many batches are with a remote CA as may be (PKI_CA_PARALLEL).
    full = _without_place({request.issuer for request in requests}, now=now)
    note_reasons(work, [(request, _no_place_reason(request.issuer)) for request in requests if request.issuer_id in full])
    ready = [request for request in requests if request.issuer_id not in full]
    # 2. What must hold now, not when the request was made: days may lie between, with a new policy, a blocked key or a requester
    #    who left.
    allowed = _still_allowed(work, ready, decided, now=now)
    if not allowed:
        return []
    longest = {request.pk: decision.longest_days for request, decision in allowed}
    # 3. An attempt for each order that may go out.
    claims = open_attempts(work, [request for request, _ in allowed], STEP, now=now)
    mine = [request for request, _ in allowed if request.pk in claims.mine]
    work.record(
        Event(EventType.CA_SUBMITTED, r.subject, WORKER, now, {"issuer": r.issuer.name, "attempt": claims.mine[r.pk].number}) for r in mine
    )
    # 4. The orders, by CA. The rows of the CAs stay as they are until this is committed; those of new requests are locked already.
    issuers = {request.issuer_id: request.issuer for request in mine if work.is_new(request)}
    others = {request.issuer_id for request in mine} - issuers.keys()
    issuers |= by_key(select(Issuer, lock=Lock.SHARE, id=others)) if others else {}
    prefetch_related_objects(mine, "csr")  # but for those that were written in this unit
    acts = []
    for issuer in issuers.values():
        ours = [request for request in mine if request.issuer_id == issuer.pk]
        orders = Orders(
            issuer=issuer,
            requests={request.pk: request for request in ours},
            # An earlier attempt may have had the certificate signed, so the order keeps the time of the first one: a look-up by
            # listing accepts no certificate from before it.
            orders={r.pk: order_for(r, r.csr, now=claims.since.get(r.pk, now), longest_days=longest[r.pk]) for r in ours},
            # One that ended in any other way than `not_sent` may have reached the CA: such an order is looked up before it is sent.
            look_up=frozenset(r.pk for r in ours if any(outcome != "not_sent" for outcome in claims.earlier.get(r.pk, ()))),
            attempts={request.pk: claims.mine[request.pk] for request in ours},
            reserved_at=now,
        )
        acts.append(HaveSigned(orders, _prepared_at_once(work, orders)))
    return list(acts)


def _without_place(issuers: Iterable[Issuer], *, now: datetime) -> set[int]:
    """Return ids of those CAs with which as many batches are as may be (PKI_CA_PARALLEL). Needs an open
    transaction and locks the remote CAs' rows, so that two callers cannot take the last place.

    A batch counts until its attempts are closed, or their lease is over because its worker died.
    """
    full = set()
    for issuer in sorted(issuers, key=lambda one: one.pk):
        if not is_remote(issuer.alias):
            continue
        list(Issuer.objects.select_for_update(no_key=True).filter(pk=issuer.pk).values_list("pk"))
        running = Attempt.objects.filter(step=STEP, closed_at__isnull=True, lease_until__gt=now, request__issuer=issuer)
        if running.order_by().values("opened_at").distinct().count() >= settings.PKI_CA_PARALLEL:
            full.add(issuer.pk)
    return full


def _no_place_reason(issuer: Issuer) -> str:
    """Return why a request waits that found no place."""
    return f"Waits for its turn at {issuer.name}: {settings.PKI_CA_PARALLEL} batches are with that CA, and it has not answered them yet."


def waiting_for_place(issuer: Issuer) -> list[tuple[int, bool]]:
    """Return the oldest requests that found no place at this CA: (id, whether it is a line of a bulk order)."""
    rows = CertificateRequest.objects.filter(issuer=issuer, state=S.CSR_CREATED, held_since__isnull=True, error=_no_place_reason(issuer))
    found = rows.order_by("state_changed_at", "pk").values_list("pk", "bulk_item")[:MOST_TOGETHER]
    return [(pk, item is not None) for pk, item in found]


def _prepared_at_once(work: UnitOfWork, orders: Orders) -> Prepared | None:
    """Prepare what the own CA will sign for requests that are new in this unit, in the same transaction.

    If preparing kills this process, nothing of such a request is on record. For all other requests the
    attempt is committed first, so that the loss is counted, and preparing follows in `execute`.
    """
    if ended_unasked(orders.issuer, ()) is not None or not all(map(work.is_new, orders.requests.values())):
        return None
    own = own_ca(orders.issuer.alias)
    return own.prepare_new(work, list(orders.orders.values()), issuer=orders.issuer, now=orders.reserved_at) if own is not None else None


@dataclass
class HaveSigned(Act):
    """Orders at one CA; after `execute` also its answers."""

    step: ClassVar[str] = STEP
    orders: Orders
    prepared: Prepared | None
    answers: Answers = field(default_factory=lambda: Answers({}))

    @property
    def open_attempts(self) -> Collection[Attempt]:
        return self.orders.attempts.values()

    def execute(self, lease: Lease) -> None:
        self.answers = ask_ca(self.orders, self.prepared, lease)

    def record(self, work: UnitOfWork) -> Recorded:
        return record_answers(work, self.orders, self.answers)

    def each(self) -> list[HaveSigned]:
        every, results = self.orders, self.answers.results
        return [
            HaveSigned(
                replace(every, requests={pk: request}, orders={pk: every.orders[pk]}, attempts={pk: every.attempts[pk]}),
                self.prepared,
                replace(self.answers, results={pk: results[pk]}),
            )
            for pk, request in every.requests.items()
        ]


def _still_allowed(
    work: UnitOfWork, requests: Sequence[CertificateRequest], decided: Mapping[int, Decision], *, now: datetime
) -> list[tuple[CertificateRequest, Decision]]:
    """Return those that the policy in force now allows and whose key is not blocked; the others end here, naming both versions."""
    if not requests:
        return []
    # 1. Facts as they are now. The rows of keys and of renewed certificates stay so until the commit. Of requests that are new
    #    in this unit, keys and membership were checked in it.
    known = [request for request in requests if not work.is_new(request)]
    blocked = blocked_keys(request.spki_sha256 for request in known) if known else set()
    undecided = [request for request in requests if request.pk not in decided]
    _, fresh = evaluate_many([policy_input(request) for request in undecided], at=now) if undecided else (None, [])
    decisions = {**decided, **{request.pk: decision for request, decision in zip(undecided, fresh, strict=True)}}
    stopped = stopped_lineages(lock_renewed(requests))
    left = requesters_who_left(known)
    asking = [request for request in requests if decisions[request.pk].outcome is Outcome.NEEDS_APPROVAL]
    approved = approved_requests(asking, {request.pk: decisions[request.pk].approval for request in asking}) if asking else set()
    # 2. Each request goes on or ends.
    allowed, rejections, changed = [], [], []
    for request in requests:
        decision, before = decisions[request.pk], request.policy_version
        request.policy_version = decision.policy_version  # stored with the certificate
        fine = decision.outcome is Outcome.ALLOW or request.pk in approved
        if before != decision.policy_version or not fine:
            changed.append((request, decision))
        if request.spki_sha256 in blocked:
            rejections.append((request, "key_compromised", KEY_BLOCKED, ASK_AGAIN))
        elif request.pk in left:
            rejections.append((request, "requester_left", left[request.pk], ASK_A_MEMBER))
        elif request.pk in stopped:
            message = f"The certificate to be renewed was revoked ({stopped[request.pk]}), so nothing follows it"
            rejections.append((request, "lineage_revoked", message, "Ask for a new certificate if one is needed."))
        elif fine:
            allowed.append((request, decision))
        elif decision.outcome is Outcome.NEEDS_APPROVAL:
            message = "The policy now asks for an approval that this request does not have"
            rejections.append((request, "policy", _both(message, before, decision), "Submit it again; it will wait for approval."))
        else:
            message, suggestion = refusal(decision)
            rejections.append((request, "policy", _both(message, before, decision), suggestion))
    keep_evaluations(work, changed, now=now)
    reject_many(work, rejections, source=S.CSR_CREATED, now=now)
    return allowed


def _both(message: str, before: str, decision: Decision) -> str:
    return f"{message} (accepted under {before}, refused under {decision.policy_version})"
