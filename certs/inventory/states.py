"""The state of a certificate as people read it: one rule for pages, lists, mails, API and metrics.

The rule is written twice, in Python for one certificate and as conditions for the database. A
property test holds the two together. Precedence, the first that applies: revocation (with its
three states), expired, needs you because it was renewed and is still served, renewed, renewing,
needs you, renew soon, valid.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.db.models import Case, CharField, Exists, OuterRef, Q, QuerySet, Subquery, TextChoices, Value, When

from certs.enums import RequestState as S
from certs.enums import RevocationReason
from certs.models import Certificate, CertificateRequest, InstalledPlace, Issuer, PlaceOutcome, Reissue, Revocation
from db.sql import among, fetch, id_list, time_parameter
from keys.models import PublicKey

# Of a renewal under way. An issued one has its certificate, which then decides.
UNDER_WAY = (S.SUBMITTED, S.AWAITING_APPROVAL, S.APPROVED, S.KEY_READY, S.CSR_CREATED)


class CertificateState(TextChoices):
    """The states of a certificate, with the words of its badge."""

    VALID = "valid", "valid"
    RENEW_SOON = "renew_soon", "renew soon"
    RENEWED = "renewed", "renewed"
    RENEWING = "renewing", "renewing"
    NEEDS_YOU = "needs_you", "needs you"
    EXPIRED = "expired", "expired"
    ON_HOLD = "on_hold", "on hold"
    BEING_REVOKED = "being_revoked", "being revoked"
    REVOKED = "revoked", "revoked"


def state_of(certificate: Certificate, now: datetime) -> CertificateState:
    """Return the state of one certificate at `now`.

    Up to five small queries: the revocation, the renewals, the places where it was seen, and
    whether its CA is being replaced, as far as the state depends on them. Lists use `with_state`.
    """
    if certificate.status != Certificate.Status.GOOD:
        if certificate.revocation.reason == RevocationReason.CERTIFICATE_HOLD:
            return CertificateState.ON_HOLD
        pending = certificate.status == Certificate.Status.REVOCATION_PENDING
        return CertificateState.BEING_REVOKED if pending else CertificateState.REVOKED
    if certificate.not_after < now:
        return CertificateState.EXPIRED
    if certificate.renewals.filter(status=Certificate.Status.GOOD).exists():
        is_served = _OLD_ONES.filter(served=certificate).exists()
        return CertificateState.NEEDS_YOU if is_served else CertificateState.RENEWED
    if certificate.renewal_requests.filter(state__in=UNDER_WAY).exists():
        return CertificateState.RENEWING
    if not _is_due(certificate, now):
        return CertificateState.VALID
    by_a_person = bool(certificate.renewal_blocked or certificate.renewal_off_reason)
    return CertificateState.NEEDS_YOU if by_a_person else CertificateState.RENEW_SOON


def with_state(rows: QuerySet[Certificate], now: datetime) -> QuerySet[Certificate]:
    """Annotate each row with `state_now`, the value of its `CertificateState` at `now`."""
    cases = [When(condition, then=Value(state.value)) for state, condition in _first_that_applies(now)]
    state = Case(*cases, default=Value(CertificateState.VALID.value), output_field=CharField())
    return rows.annotate(state_now=state)


def listed_state(row: Certificate) -> CertificateState:
    """Return the state of a row of `with_state`."""
    return CertificateState(vars(row)["state_now"])


def with_key_blocked(rows: QuerySet[Certificate], now: datetime) -> QuerySet[Certificate]:
    """Annotate each row with `key_blocked`: it is in force, and others know its key. For the rows of a page.

    No state says so, because it says nothing about the renewal; a badge that shows the state says it beside.
    """
    blocked = Exists(PublicKey.objects.filter(pk=OuterRef("spki_sha256"), blocked_at__isnull=False))
    return rows.annotate(key_blocked=Q(blocked, status=Certificate.Status.GOOD, not_after__gte=now))


def states_of(ids: Collection[int], now: datetime) -> dict[int, CertificateState]:
    """Return the state of each of these certificates, by key, in one prepared statement.

    For the page of a list: in the query that looks for the page the planner would hash all renewals
    and open requests each time (0.1 s with 100,000 certificates).
    """
    if not ids:
        return {}
    days = settings.PKI_RENEW_BEFORE_DAYS
    sql, parameters = _statement_of_states(days)
    meant = {
        id_list(()): id_list(list(ids)),
        time_parameter(_A_MOMENT): time_parameter(now),
        time_parameter(_A_MOMENT + timedelta(days=days)): time_parameter(now + timedelta(days=days)),
    }
    rows = fetch(sql, [meant.get(one, one) for one in parameters])
    return {int(pk): CertificateState(state) for pk, state in rows}


_A_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)


@cache
def _statement_of_states(days: int) -> tuple[str, tuple[Any, ...]]:
    """Return the statement, as of _A_MOMENT and for no id, where a certificate is due so many days before its end.

    Written once: Django takes longer to write it than PostgreSQL to answer it.
    """
    assert due_until(_A_MOMENT) == _A_MOMENT + timedelta(days=days)
    rows: Any = with_state(Certificate.objects.filter(among("pk", ())), _A_MOMENT)  # types know no `state_now`
    sql, parameters = rows.order_by().values_list("pk", "state_now").query.sql_with_params()
    return sql, tuple(parameters)


def in_state(rows: QuerySet[Certificate], state: CertificateState, now: datetime) -> QuerySet[Certificate]:
    """Return the certificates among `rows` that are in the state at `now`."""
    hold = Q(revocation__reason=RevocationReason.CERTIFICATE_HOLD)
    match state:
        case CertificateState.ON_HOLD:
            return rows.filter(pk__in=_HOLDS.values("pk"))
        case CertificateState.BEING_REVOKED:
            return rows.filter(~hold, status=Certificate.Status.REVOCATION_PENDING)
        case CertificateState.REVOKED:
            return rows.filter(~hold, status=Certificate.Status.REVOKED)
        case CertificateState.EXPIRED:
            return rows.filter(status=Certificate.Status.GOOD, not_after__lt=now)
        case CertificateState.RENEWED:
            return in_force(rows, now=now).filter(is_replaced()).exclude(Exists(_OLD_ONES.filter(served=OuterRef("pk"))))
        case CertificateState.RENEWING:
            return active(rows, now=now).filter(_is_under_way())
        case CertificateState.NEEDS_YOU:
            return _needing_a_person(rows, now)
        case CertificateState.RENEW_SOON:
            return needing_action(rows, now=now).exclude(_BY_A_PERSON)
    alone = active(rows, now=now).exclude(_is_under_way())
    return alone.exclude(_is_due_condition(now, _of_replaced_cas()))


def held(rows: QuerySet[Certificate]) -> QuerySet[Certificate]:
    """Return those on hold, as `in_state` does, but for a page of many in the order of their end.

    Each is looked up by itself, so that the database follows the order and stops when the page is
    full: from a join it expects few, and reads everything that is revoked to sort them.
    """
    reason = _HOLDS.filter(pk=OuterRef("pk")).values("reason")[:1]
    return rows.alias(held_for=Subquery(reason)).filter(held_for=RevocationReason.CERTIFICATE_HOLD)


def in_force(rows: QuerySet[Certificate], *, now: datetime) -> QuerySet[Certificate]:
    """Return those that are neither revoked, nor being revoked, nor expired (`notAfter` belongs to the life, RFC 5280 4.1.2.5)."""
    return rows.filter(status=Certificate.Status.GOOD, not_after__gte=now)


def active(rows: QuerySet[Certificate], *, now: datetime) -> QuerySet[Certificate]:
    """Return those that are in force and not replaced by a renewal that is good."""
    return in_force(rows, now=now).exclude(is_replaced())


def expiring(rows: QuerySet[Certificate], *, days: int, now: datetime) -> QuerySet[Certificate]:
    """Return the active certificates that end within so many days."""
    return active(rows, now=now).filter(not_after__lte=now + timedelta(days=days))


def needing_action(rows: QuerySet[Certificate], *, now: datetime) -> QuerySet[Certificate]:
    """Return the active certificates that are due for renewal, without a renewal under way: `renew soon` and `needs you`."""
    due = active(rows, now=now).filter(_is_due_condition(now, _of_replaced_cas()))
    return due.exclude(_is_under_way())


def _needing_a_person(rows: QuerySet[Certificate], now: datetime) -> QuerySet[Certificate]:
    due = needing_action(rows, now=now).filter(_BY_A_PERSON)
    found = list(still_served(rows, now=now).values_list("pk", flat=True))
    # Two conditions joined by OR have no common index: with none of the second kind, the first stays as it is.
    return rows.filter(Q(pk__in=due.order_by().values("pk")) | Q(pk__in=found)) if found else due


def still_served(rows: QuerySet[Certificate], *, now: datetime) -> QuerySet[Certificate]:
    """Return those that were renewed and that a place still served when the portal last looked."""
    return in_force(rows, now=now).filter(_still_served()).filter(is_replaced())


def _still_served() -> Q:
    """Condition on certificates. By id, and they are few: every other list keeps its index."""
    return Q(pk__in=list(_OLD_ONES.values_list("served", flat=True).distinct()))


def is_replaced() -> Exists:
    """Return the condition that a renewal of the certificate is in the inventory and good."""
    # "is not null" follows from the rest, but not for the planner: without it, it expects twelve
    # times as many renewals as there are, and reads all of them where it needs a few.
    renewals = Certificate.objects.filter(renewed_from__isnull=False, status=Certificate.Status.GOOD)
    return Exists(renewals.filter(renewed_from=OuterRef("pk")))


_OLD_ONES = InstalledPlace.objects.filter(outcome=PlaceOutcome.OLD, served__isnull=False)
# Of a certificate that is revoked, or being revoked: what was released is good again.
_HOLDS = Revocation.objects.filter(reason=RevocationReason.CERTIFICATE_HOLD, released_at__isnull=True)
_BY_A_PERSON = ~Q(renewal_blocked="") | ~Q(renewal_off_reason="")


def _is_under_way() -> Exists:
    # "is not null" follows from the rest, but not for the planner: with it, a hash of all open
    # renewals comes from the small index `request_renewal_open`, not from the whole table (0.4 s
    # a page with a million requests).
    requests = CertificateRequest.objects.filter(renewed_from__isnull=False, state__in=UNDER_WAY)
    return Exists(requests.filter(renewed_from=OuterRef("pk")))


def _is_due(certificate: Certificate, now: datetime) -> bool:
    if certificate.not_after <= due_until(now) and (certificate.alert_at is None or certificate.alert_at <= now):
        return True
    return _replaced_cas().filter(pk=certificate.issuer_id).exists()


def due_until(now: datetime) -> datetime:
    """Return the end after which no certificate is due for renewal, unless its CA is being replaced."""
    return now + timedelta(days=settings.PKI_RENEW_BEFORE_DAYS)


def _is_due_condition(now: datetime, of_replaced_cas: Q) -> Q:
    """Return the same rule for the database. The bound on the end lets it use an index."""
    until = due_until(now)
    reached = Q(alert_at__lte=now) | Q(alert_at__isnull=True)
    return (Q(not_after__lte=until) & reached) | of_replaced_cas


def _replaced_cas() -> QuerySet[Issuer]:
    """Return the CAs whose certificates are all due at once: distrusted ones, and those whose re-issue runs.

    Not while a re-issue is paused: then they are renewed at their usual time.
    """
    running = Reissue.objects.filter(state=Reissue.State.RUNNING)
    return Issuer.objects.filter(Q(state=Issuer.State.DISTRUSTED) | Q(pk__in=running.values("issuer"))).order_by()


def _of_replaced_cas() -> Q:
    """Return the condition for certificates of these CAs. By id: beside a join or a subquery no index would be used."""
    return Q(issuer__in=list(_replaced_cas().values_list("pk", flat=True)))


def _first_that_applies(now: datetime) -> list[tuple[CertificateState, Q | Exists]]:
    # As a subquery here: it is of few rows, and so the states of a list stay one statement.
    due = _is_due_condition(now, Q(issuer__in=_replaced_cas().values("pk")))
    hold = Q(revocation__reason=RevocationReason.CERTIFICATE_HOLD)
    return [
        (CertificateState.ON_HOLD, hold & Q(status__in=Certificate.SAYS_REVOKED)),
        (CertificateState.BEING_REVOKED, Q(status=Certificate.Status.REVOCATION_PENDING)),
        (CertificateState.REVOKED, Q(status=Certificate.Status.REVOKED)),
        (CertificateState.EXPIRED, Q(not_after__lt=now)),
        (CertificateState.NEEDS_YOU, Q(is_replaced()) & Q(Exists(_OLD_ONES.filter(served=OuterRef("pk"))))),
        (CertificateState.RENEWED, is_replaced()),
        (CertificateState.RENEWING, _is_under_way()),
        (CertificateState.NEEDS_YOU, due & _BY_A_PERSON),
        (CertificateState.RENEW_SOON, due),
    ]
