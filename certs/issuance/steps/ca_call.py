"""Step 4, execute: make orders of requests, send them to a CA, and verify each certificate that comes back before it counts.

The kind of failure decides what may happen next: an order that was certainly not sent may be sent
again; an order that may have been signed is looked up first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.core.exceptions import ImproperlyConfigured

from audit.events import recordable
from certs.ca.base import CAClient, Found, Issued, Lookup, NotSent, Order, Outcome, Pending, Prepared, Refused, Unknown, is_silent
from certs.ca.local.client import prepare_alone
from certs.ca.registry import get_ca_client, own_ca
from certs.errors import SignerMismatch
from certs.issuance.attempts import Lease
from certs.issuance.verify import Verified, verify_result
from certs.models import Attempt, CertificateRequest, Issuer, RequestCSR
from db.clock import database_now


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A certificate that is not the one ordered.

    `instead`: the result of looking the order up by its reference: the certificate ordered, `Unknown`
    when the CA cannot say now, None when the CA has no such certificate.
    """

    der: bytes
    reasons: tuple[str, ...]
    instead: Verified | Unknown | None = None


Result = Verified | Mismatch | Pending | Refused | NotSent | Unknown


def order_for(request: CertificateRequest, csr: RequestCSR, *, now: datetime, longest_days: int | None = None) -> Order:
    """Return the order of a request. Its reference is the request's own id, the same each time that it is built.

    `longest_days`: the maximum of the policy that was just evaluated; None to ask a CA for what it has signed already.
    """
    return Order(
        order_ref=request.public_id,
        csr_der=bytes(csr.der),
        spki_der=bytes(csr.spki_der),
        spki_sha256=csr.spki_sha256,
        common_name=request.common_name,
        dns_names=tuple(request.dns_names),
        ip_addresses=tuple(request.ip_addresses),
        profile=request.profile,
        validity_days=request.validity_days,
        policy_version=request.policy_version,
        intended_at=now,
        organization=request.team.organization,
        not_after=request.not_after,
        longest_days=longest_days,
    )


@dataclass(frozen=True, slots=True)
class Orders:
    """What is ordered from one CA, by request id, and which orders must be looked up before they are sent."""

    issuer: Issuer
    requests: Mapping[int, CertificateRequest]
    orders: Mapping[int, Order]
    look_up: frozenset[int]
    attempts: Mapping[int, Attempt]
    reserved_at: datetime


@dataclass(frozen=True, slots=True)
class Answers:
    """Results by request id; at the own CA also what it had prepared, to be recorded in its ledger."""

    results: Mapping[int, Result]
    prepared: Prepared | None = None


def ask_ca(orders: Orders, prepared: Prepared | None, lease: Lease) -> Answers:
    """Have orders signed. `prepared`: what the own CA will sign, where that is on record already.

    Returns a result for each order; raises nothing because of a CA. No transaction is open. The lease
    of the attempts is renewed between the calls of the CA.
    """
    # 1. A CA that is stopped or retired is not asked at all.
    stopped = ended_unasked(orders.issuer, orders.orders.values())
    if stopped is not None:
        return Answers(dict(zip(orders.orders, stopped, strict=True)))
    # 2. The own CA signs what is in its ledger: what an earlier attempt prepared is there, so nothing has to be looked up.
    own = own_ca(orders.issuer.alias)
    if own is not None:
        prepared = prepared or prepare_alone(own, list(orders.orders.values()))
        signed = zip(orders.orders, own.sign(prepared), strict=True)
        return Answers({pk: _verified(orders, pk, outcome, orders.reserved_at) for pk, outcome in signed}, prepared)
    # 3. A CA elsewhere. Where it is not configured, its requests wait; those of other CAs go on.
    try:
        client = get_ca_client(orders.issuer.alias)
    except ImproperlyConfigured as exc:
        return Answers({pk: NotSent(order.order_ref, str(exc)) for pk, order in orders.orders.items()})
    # 4. Look up what an earlier attempt may have had signed. A CA that says nothing about any of them is sent nothing.
    doubtful = [pk for pk in orders.orders if pk in orders.look_up]
    found = client.find_many([orders.orders[pk] for pk in doubtful], between=lease.renew)
    outcomes: dict[int, Outcome] = {pk: one for pk, one in zip(doubtful, found, strict=True) if one is not None}
    unsent = [pk for pk in orders.orders if pk not in outcomes]
    if is_silent(found):
        silence = next(one.message for one in found if isinstance(one, Unknown))
        outcomes |= {pk: NotSent(orders.orders[pk].order_ref, silence) for pk in unsent}
    else:
        outcomes |= _sent(client, orders, unsent, lease)
    # 5. Verify what came back, also what was looked up: a CA is not trusted, whichever way its certificate came.
    now = database_now()
    results = {pk: _verified(orders, pk, outcome, now) for pk, outcome in outcomes.items()}
    # 6. Look up once more the orders for which a wrong certificate came: the right one may be at the CA
    #    all the same, and no attempt would ask for it once the request has failed.
    wrong = {pk: result for pk, result in results.items() if isinstance(result, Mismatch)}
    if wrong and client.capabilities.lookup is not Lookup.NONE:
        again = client.find_many([orders.orders[pk] for pk in wrong], between=lease.renew)
        now = database_now()
        results |= {pk: replace(wrong[pk], instead=_instead(orders, pk, one, now)) for pk, one in zip(wrong, again, strict=True)}
    return Answers(results)


def ended_unasked(issuer: Issuer, orders: Iterable[Order]) -> list[NotSent | Refused] | None:
    """Return how orders end at a CA that is stopped or issues no more, None for a CA that is asked."""
    if issuer.circuit_opened_at is not None:
        return [NotSent(order.order_ref, f"{issuer.name} is stopped: {issuer.circuit_reason}") for order in orders]
    if issuer.state != Issuer.State.ACTIVE:
        message = f"{issuer.name} does not issue any more ({issuer.get_state_display()})."
        return [Refused(order.order_ref, "issuer_inactive", message) for order in orders]
    return None


def signs_here(issuer: Issuer) -> bool:
    """Return whether this process may sign with that CA: its ledger and its key are here, and it issues.

    Otherwise its orders are for the workers that have the CA's role.
    """
    if ended_unasked(issuer, ()) is not None:
        return False
    own = own_ca(issuer.alias)
    return own is not None and own.may_sign_here(issuer)


def _sent(client: CAClient, orders: Orders, unsent: Sequence[int], lease: Lease) -> dict[int, Outcome]:
    """Send orders part by part. A CA that answers no order of a part is away, so the next parts are not sent."""
    outcomes: dict[int, Outcome] = {}
    away: NotSent | Unknown | None = None
    for first in range(0, len(unsent), client.capabilities.batch_size):
        part = unsent[first : first + client.capabilities.batch_size]
        if away is not None:
            outcomes |= {pk: NotSent(orders.orders[pk].order_ref, away.message) for pk in part}
            continue
        # Before each call: a batch of a hundred orders takes longer than a lease at a slow CA.
        lease.renew()
        answers = client.issue_many([orders.orders[pk] for pk in part])
        outcomes |= dict(zip(part, answers, strict=True))
        if is_silent(answers):
            away = next(answer for answer in answers if isinstance(answer, NotSent | Unknown))
    return outcomes


def _instead(orders: Orders, pk: int, found: Found, now: datetime) -> Verified | Unknown | None:
    """Return `Mismatch.instead` of a second look-up. A second wrong certificate counts as none: the request fails."""
    if isinstance(found, Pending):
        return Unknown(found.order_ref, "the CA still works on the order")
    if isinstance(found, Issued):
        looked_up = _verified(orders, pk, found, now)
        return looked_up if isinstance(looked_up, Verified) else None
    return found


def _verified(orders: Orders, pk: int, outcome: Outcome, now: datetime) -> Result:
    if not isinstance(outcome, Issued):
        return outcome
    try:
        return verify_result(outcome, orders.orders[pk], orders.issuer, now=now)
    except SignerMismatch as exc:
        # They quote the certificate, which may say anything, at any length.
        return Mismatch(outcome.certificate_der, tuple(recordable(reason) for reason in exc.reasons))
