"""Beat 2 of step 4: a CA is asked to sign, and its answer believed only after it was verified.

What went wrong decides what may happen next (PROTOCOLS 2): an order that was certainly not sent may be sent again; one
whose fate is unknown is looked up first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.core.exceptions import ImproperlyConfigured

from audit.events import recordable
from certs.ca.base import (
    BookkeepingCA,
    CAClient,
    Found,
    Issued,
    Lookup,
    Noted,
    NotSent,
    Order,
    Outcome,
    Pending,
    Refused,
    Unknown,
    is_silent,
)
from certs.ca.registry import get_ca_client, own_ca
from certs.errors import SignerMismatch
from certs.issuance.attempts import Lease
from certs.issuance.verify import Believed, believe
from certs.models import Attempt, CertificateRequest, Issuer
from db.clock import database_now


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A certificate that is not the one ordered. `instead`: what the CA says when it is asked for
    the order by its reference: the certificate ordered, `Unknown` when it cannot say now, None
    when it has no such certificate.
    """

    der: bytes
    reasons: tuple[str, ...]
    instead: Believed | Unknown | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What beat 1 hands to beat 2: a CA's orders by request id, and which of them must be looked up before they are sent."""

    issuer: Issuer
    requests: Mapping[int, CertificateRequest]
    orders: Mapping[int, Order]
    look_up: frozenset[int]
    attempts: Mapping[int, Attempt]
    noted_at: datetime
    noted: Noted | None  # where the CA's own book was written in the same transaction


Result = Believed | Mismatch | Pending | Refused | NotSent | Unknown


def ask_ca(work: Work) -> dict[int, Result]:
    """Beat 2: look up what may already be signed, send the rest, verify what comes back."""
    stopped = ended_unasked(work.issuer, work.orders.values())
    if stopped is not None:
        return dict(zip(work.orders, stopped, strict=True))
    if work.noted is not None:
        outcomes = dict(zip(work.orders, own_ca_of(work).sign(work.noted), strict=True))
        return {pk: _verified(work, pk, outcome, work.noted_at) for pk, outcome in outcomes.items()}
    try:
        client = get_ca_client(work.issuer.alias)
    except ImproperlyConfigured as exc:  # its requests wait; those of other CAs are not touched
        return {pk: NotSent(order.order_ref, str(exc)) for pk, order in work.orders.items()}
    lease = Lease(work.attempts.values())
    outcomes = _asked(client, work, lease)
    now = database_now()
    results = {pk: _verified(work, pk, outcome, now) for pk, outcome in outcomes.items()}
    return results | _asked_again(client, work, results, lease)


def ended_unasked(issuer: Issuer, orders: Iterable[Order]) -> list[NotSent | Refused] | None:
    """How orders end at a CA that is not asked at all."""
    if issuer.circuit_opened_at is not None:
        return [NotSent(order.order_ref, f"{issuer.name} is stopped: {issuer.circuit_reason}") for order in orders]
    if issuer.state != Issuer.State.ACTIVE:
        message = f"{issuer.name} does not issue any more ({issuer.get_state_display()})."
        return [Refused(order.order_ref, "issuer_inactive", message) for order in orders]
    return None


def own_ca_of(work: Work) -> BookkeepingCA:
    own = own_ca(work.issuer.alias)
    assert own is not None  # only such a one has noted anything
    return own


def _asked_again(client: CAClient, work: Work, results: Mapping[int, Result], lease: Lease) -> dict[int, Mismatch]:
    """Wrong certificates once more, each with what a look-up of its order says: the certificate
    that was ordered may be at the CA all the same, and nobody would ask for it once the request
    has failed.
    """
    wrong = {pk: result for pk, result in results.items() if isinstance(result, Mismatch)}
    if not wrong or client.capabilities.lookup is Lookup.NONE:
        return {}
    found = client.find_many([work.orders[pk] for pk in wrong], between=lease.renew)
    now = database_now()
    return {pk: replace(wrong[pk], instead=_instead(work, pk, one, now)) for pk, one in zip(wrong, found, strict=True)}


def _instead(work: Work, pk: int, found: Found, now: datetime) -> Believed | Unknown | None:
    if isinstance(found, Pending):
        return Unknown(found.order_ref, "the CA still works on the order")
    if isinstance(found, Issued):
        looked_up = _verified(work, pk, found, now)
        return looked_up if isinstance(looked_up, Believed) else None
    return found


def _asked(client: CAClient, work: Work, lease: Lease) -> dict[int, Outcome]:
    """Look up what an earlier attempt may have had signed, then send the rest. The lease of the
    attempts is renewed between the calls of the CA.
    """
    doubtful = [pk for pk in work.orders if pk in work.look_up]
    found = client.find_many([work.orders[pk] for pk in doubtful], between=lease.renew)
    outcomes: dict[int, Outcome] = {pk: one for pk, one in zip(doubtful, found, strict=True) if one is not None}
    unsent = [pk for pk in work.orders if pk not in outcomes]
    if is_silent(found):
        silence = next(one.message for one in found if isinstance(one, Unknown))
        return outcomes | {pk: NotSent(work.orders[pk].order_ref, silence) for pk in unsent}
    return outcomes | _sent(client, work, unsent, lease)


def _sent(client: CAClient, work: Work, unsent: Sequence[int], lease: Lease) -> dict[int, Outcome]:
    """Send orders part by part. A CA that answers none of a part is not sent the next ones: it is away for all of them."""
    outcomes: dict[int, Outcome] = {}
    away: NotSent | Unknown | None = None
    for first in range(0, len(unsent), client.capabilities.batch_size):
        part = unsent[first : first + client.capabilities.batch_size]
        if away is not None:
            outcomes |= {pk: NotSent(work.orders[pk].order_ref, away.message) for pk in part}
            continue
        lease.renew()
        answers = client.issue_many([work.orders[pk] for pk in part])
        outcomes |= dict(zip(part, answers, strict=True))
        if is_silent(answers):
            away = next(answer for answer in answers if isinstance(answer, NotSent | Unknown))
    return outcomes


def _verified(work: Work, pk: int, outcome: Outcome, now: datetime) -> Result:
    if not isinstance(outcome, Issued):
        return outcome
    try:
        return believe(outcome, work.orders[pk], work.issuer, now=now)
    except SignerMismatch as exc:
        # They quote the certificate, which may say anything, at any length.
        return Mismatch(outcome.certificate_der, tuple(recordable(reason) for reason in exc.reasons))
