"""The one filter of the inventory, for pages, REST, register, report and admin.

Each filter has an address: `CertificateFilter.url()` is the portal's list with it, so that every
figure can link to what it counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import DurationField, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet, TextChoices
from django.db.models.lookups import GreaterThanOrEqual
from django.urls import reverse
from django.utils.http import urlencode

from certs.access.owners import NOBODY, without_owner
from certs.enums import Channel
from certs.errors import InputRefused
from certs.inventory.listing.key_types import check_key_types, key_types_named
from certs.inventory.listing.served import Served, served_condition
from certs.inventory.search import hash_sought, look_up
from certs.inventory.states import (
    CertificateState,
    active,
    expiring,
    in_force,
    in_state,
    is_replaced,
    needing_action,
)
from certs.models import Certificate, CertificateRequest, Issuer, PolicyVerdict, RenewalBlocked, Team
from db.counting import Plan, few_counted, plan_of
from db.sql import among
from keys.models import PublicKey
from policy.rules import RULES

MOST_CHARACTERS = 253
_FEW = 5_000  # ids that stand in a query


class StateGroup(TextChoices):
    """States that lists show together."""

    IN_FORCE = "in_force", "in force: not ended, not revoked"
    ACTIVE = "active", "active: in force and not renewed"
    DUE = "due", "due: renew soon or needs you"


class Renewal(TextChoices):
    """How a certificate is renewed."""

    ITSELF = "itself", "automatically"
    BY_HAND = "by_hand", "by hand: needs a new CSR"
    BLOCKED = "blocked", "blocked"
    OFF = "off", "switched off"


class RenewalGroup(TextChoices):
    """Parts of `blocked`, and what needs a person in whatever way."""

    PERSON = "person", "not automatically"
    REFUSED = "refused", "blocked: refused by the policy"
    APPROVAL = "approval", "blocked: waits for an approval"
    FAILED = "failed", "blocked: failed"
    NOBODY = "nobody", "not at all: needs a new CSR, or switched off"


class YesNo(TextChoices):
    """A yes or no of a filter."""

    YES = "yes", "yes"
    NO = "no", "no"


class Compliance(TextChoices):
    """What the policy in force says, as the last run found it; of certificates in force."""

    PASSES = "passes", "complies"
    FAILS = "fails", "outside the policy"


# Beside `Compliance`: the name of a rule, for what that rule refuses.
RULE_CHOICES = [(rule.name, f"outside the policy: {rule.label}") for rule in RULES]


class Source(TextChoices):
    """By which channel a certificate was requested."""

    PORTAL = Channel.PORTAL.value, "portal"
    API = Channel.API.value, "API"
    COMMAND = Channel.COMMAND.value, "command"
    SCHEDULE = Channel.SCHEDULE.value, "renewal by the portal"
    BULK = "bulk", "bulk order"


class Status(StrEnum):
    """The parameter `status` of earlier releases, which addresses and clients still send."""

    ALL = ""
    ACTIVE = "active"
    GOOD = "good"
    NEEDS_ACTION = "needs_action"
    REPLACED = "replaced"
    EXPIRED = "expired"
    REVOCATION_PENDING = "revocation_pending"
    REVOKED = "revoked"


_STATE_OF_STATUS = {
    Status.ACTIVE: StateGroup.ACTIVE,
    Status.GOOD: StateGroup.ACTIVE,
    Status.NEEDS_ACTION: StateGroup.DUE,
    Status.REPLACED: CertificateState.RENEWED,
    Status.EXPIRED: CertificateState.EXPIRED,
}
_CHOICES: dict[str, list[str]] = {
    "state": [*CertificateState.values, *StateGroup.values],
    "renewal": [*Renewal.values, *RenewalGroup.values],
    "critical": YesNo.values,
    "replaced": YesNo.values,
    "is_renewal": YesNo.values,
    "blocked_key": YesNo.values,
    "policy": [*Compliance.values, *(name for name, _ in RULE_CHOICES)],
    "served": Served.values,
    "source": Source.values,
    "status": [one.value for one in Status],
}


@dataclass(frozen=True, slots=True)
class CertificateFilter:
    """What is looked for. An empty value does not restrict; several values must all hold.

    Days are UTC: `*_after` begins with that day, `*_before` ends before that day.
    """

    q: str = ""  # name or part of it, id, serial number, fingerprint, id of the request
    state: str = ""  # of CertificateState or StateGroup
    status: str = ""  # of Certificate.Status: revoked or revocation_pending, holds included
    expiring: int = 0  # active, and ends within so many days
    ends_after: date | None = None
    ends_before: date | None = None
    issued_after: date | None = None
    issued_before: date | None = None
    revoked_after: date | None = None
    revoked_before: date | None = None
    reviewed_before: date | None = None  # or never reviewed
    team: str = ""  # slug
    tag: str = ""
    owner: str = ""  # account name, or `none`: nobody who is active and in the team
    issuer: str = ""  # slug
    profile: str = ""
    key: str = ""  # key types or comparisons, separated by commas: rsa-2048, rsa<3072, ec
    spki: str = ""  # SHA-256 of the public key, in hexadecimal or base64
    blocked_key: str = ""  # of YesNo
    renewal: str = ""  # of Renewal or RenewalGroup
    critical: str = ""  # of YesNo
    policy: str = ""  # of Compliance, or the name of a rule that refuses it
    served: str = ""  # of Served
    source: str = ""  # of Source
    replaced: str = ""  # of YesNo: a renewal of it is good, whatever its own state
    is_renewal: str = ""  # of YesNo: it renews an earlier certificate
    longer_than: int = 0  # its whole validity is longer than so many days

    @classmethod
    def from_query(cls, given: Mapping[str, Any]) -> CertificateFilter:
        """Read URL parameters; others than the fields are ignored.

        Raises InputRefused, which names the parameter, for a value that no filter has: a list
        without the filter would look like its result.
        """
        read: dict[str, Any] = {}
        for field in fields(cls):
            text = str(given.get(field.name, "")).strip()
            if not text:
                continue
            if len(text) > MOST_CHARACTERS or "\x00" in text:
                raise _refused(field.name, f"It has up to {MOST_CHARACTERS} characters.")
            if field.name in _DAYS:
                read[field.name] = _day(field.name, text)
            elif field.name in _NUMBERS:
                read[field.name] = _number(field.name, text)
            else:
                choices = _CHOICES.get(field.name)
                if choices is not None and text not in choices:
                    raise _refused(field.name, f"It is one of {', '.join(filter(None, choices))}.")
                read[field.name] = text
        check_key_types(read.get("key", ""))
        if (state := _STATE_OF_STATUS.get(Status(read.get("status", "")))) is not None:
            del read["status"]
            read.setdefault("state", state.value)
        return cls(**read)

    def to_query(self) -> dict[str, str]:
        """Return the URL parameters: what `from_query` reads, without empty values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: str(value) for name, value in values.items() if value}

    def url(self) -> str:
        """Return the address of the portal's list with this filter, without host."""
        query = urlencode(self.to_query())
        return reverse("certificates") + (f"?{query}" if query else "")

    def __bool__(self) -> bool:
        """Return whether the filter restricts anything."""
        return bool(self.to_query())


_DAYS = frozenset(field.name for field in fields(CertificateFilter) if field.type == "date | None")
_NUMBERS = frozenset(field.name for field in fields(CertificateFilter) if field.type == "int")


def search_certificates(user: Any, sought: CertificateFilter, *, now: datetime) -> QuerySet[Certificate]:
    """Return the certificates that the user may see and that meet the filter."""
    rows = Certificate.objects.visible_to(user).select_related("team", "issuer", "request")
    return filter_certificates(rows, sought, now=now)


def filter_certificates(rows: QuerySet[Certificate], sought: CertificateFilter, *, now: datetime) -> QuerySet[Certificate]:
    """Return the certificates among `rows` that meet the filter at `now`."""
    rows = without_text(rows, sought, now=now)
    return look_up(rows, sought.q).among(rows) if sought.q else rows


def without_text(rows: QuerySet[Certificate], sought: CertificateFilter, *, now: datetime) -> QuerySet[Certificate]:
    """Return the certificates among `rows` that meet the filter but for its text `q`."""
    rows = _in_state(rows.filter(facts_of(sought)), sought.state, now)
    if sought.expiring:
        rows = expiring(rows, days=sought.expiring, now=now)
    if sought.replaced:
        rows = _yes_or_no(rows, Q(is_replaced()), sought.replaced)
    if sought.owner == NOBODY:
        rows = without_owner(rows)
    return _as_kept(rows, sought, now)


def _in_state(rows: QuerySet[Certificate], state: str, now: datetime) -> QuerySet[Certificate]:
    match state:
        case "":
            return rows
        case StateGroup.IN_FORCE:
            return in_force(rows, now=now)
        case StateGroup.ACTIVE:
            return active(rows, now=now)
        case StateGroup.DUE:
            return needing_action(rows, now=now)
    return in_state(rows, CertificateState(state), now)


def _as_kept(rows: QuerySet[Certificate], sought: CertificateFilter, now: datetime) -> QuerySet[Certificate]:
    """Apply what other tables hold: blocked keys, verdicts of the policy, places, requests."""
    if sought.blocked_key:
        blocked = PublicKey.objects.filter(blocked_at__isnull=False).values("spki_sha256")
        rows = _yes_or_no(rows, Q(spki_sha256__in=blocked), sought.blocked_key)
    if sought.policy:
        rows = in_force(rows, now=now).filter(_of_policy(sought.policy))
    if sought.served:
        rows = served_condition(rows, Served(sought.served))
    if sought.source:
        rows = rows.filter(_from_source(Source(sought.source)))
    return rows


def _of_policy(policy: str) -> Q:
    """Return the condition that the policy says so. By id where few are refused, or few pass: the planner then begins with them."""
    refused = PolicyVerdict.objects.order_by()
    if policy not in Compliance.values:
        refused = refused.filter(rules__contains=f" {policy} ")
    few_refused = few_counted(refused, Plan(), most=_FEW, counted=_FEW).ids
    if policy != Compliance.PASSES:
        return Q(pk__in=refused.values("pk")) if few_refused is None else Q(among("pk", few_refused))
    if few_refused is not None:
        return ~Q(among("pk", few_refused))
    passes = ~Exists(refused.filter(pk=OuterRef("pk")))
    passing = Certificate.objects.filter(passes)
    # Both sides come in the order of their ids from an index; a hash of all verdicts takes more than twice as long.
    few_passing = few_counted(passing, plan_of(passing), most=_FEW, counted=_FEW, without="enable_hashjoin").ids
    return Q(passes) if few_passing is None else Q(among("pk", few_passing))


def _from_source(source: Source) -> Exists:
    requests = CertificateRequest.objects.filter(pk=OuterRef("request"))
    if source is Source.BULK:
        return Exists(requests.filter(bulk_item__isnull=False))
    return Exists(requests.filter(door=source.value, bulk_item__isnull=True))


def facts_of(sought: CertificateFilter) -> Q:
    """Return the conditions on columns of the certificate and of rows that it refers to."""
    given = {
        "not_after__gte": _start(sought.ends_after),
        "not_after__lt": _start(sought.ends_before),
        "issued_at__gte": _start(sought.issued_after),
        "issued_at__lt": _start(sought.issued_before),
        "revocation__requested_at__gte": _start(sought.revoked_after),
        "revocation__requested_at__lt": _start(sought.revoked_before),
        "status": sought.status,
        "profile": sought.profile,
        "spki_sha256": hash_sought(sought.spki),
    }
    found = Q(**{name: value for name, value in given.items() if value})
    found &= _of_others(sought)
    if sought.key:
        found &= Q(key_type__in=key_types_named(sought.key))
    if sought.revoked_after or sought.revoked_before:
        found &= Q(status__in=Certificate.SAYS_REVOKED)  # a released hold keeps its row
    if sought.tag:
        # The first part lets the database use the index of those that have any.
        found &= ~Q(tags="") & Q(tags__contains=f" {sought.tag.lower()} ")
    if sought.reviewed_before:
        found &= Q(last_review__isnull=True) | Q(last_review__lt=sought.reviewed_before)
    if sought.critical:
        found &= Q(critical_function=sought.critical == YesNo.YES)
    if sought.is_renewal:
        found &= Q(renewed_from__isnull=sought.is_renewal == YesNo.NO)
    if sought.longer_than:
        # Complete days, as the policy counts them: 47 days and some hours are 47 days.
        # Written as their difference, of which PostgreSQL keeps statistics.
        found &= Q(GreaterThanOrEqual(_LIFE, timedelta(days=sought.longer_than + 1)))
    if sought.renewal:
        found &= RENEWED[sought.renewal]
    return found


_LIFE = ExpressionWrapper(F("not_after") - F("not_before"), output_field=DurationField())
_ON = Q(renewal_off_reason="")
_OFF = ~Q(renewal_off_reason="")
# Marked without a reason: a person cancelled the last renewal, so that none follows.
_MARKED_OFF = Q(renewal_blocked=RenewalBlocked.OFF)
_BLOCKED = (RenewalBlocked.POLICY, RenewalBlocked.APPROVAL, RenewalBlocked.FAILED)
RENEWED = {
    Renewal.ITSELF.value: _ON & Q(renewal_blocked=""),
    Renewal.BY_HAND.value: _ON & Q(renewal_blocked=RenewalBlocked.NEEDS_CSR),
    Renewal.BLOCKED.value: _ON & Q(renewal_blocked__in=_BLOCKED),
    Renewal.OFF.value: _OFF | (~Q(renewal_blocked="") & _MARKED_OFF),
    # Each part names what its partial index holds, so that the planner may use both.
    RenewalGroup.PERSON.value: ~Q(renewal_blocked="") | _OFF,
    RenewalGroup.NOBODY.value: (~Q(renewal_blocked="") & Q(renewal_blocked__in=(RenewalBlocked.NEEDS_CSR, RenewalBlocked.OFF))) | _OFF,
    RenewalGroup.REFUSED.value: _ON & Q(renewal_blocked=RenewalBlocked.POLICY),
    RenewalGroup.APPROVAL.value: _ON & Q(renewal_blocked=RenewalBlocked.APPROVAL),
    RenewalGroup.FAILED.value: _ON & Q(renewal_blocked=RenewalBlocked.FAILED),
}


def _of_others(sought: CertificateFilter) -> Q:
    """Return the conditions on team, CA and owner. By id: beside a join the planner does not know which
    rows they are, and reads the whole table.
    """
    found = Q()
    if sought.team:
        found &= Q(team__in=_ids(Team.objects.filter(slug=sought.team)))
    if sought.issuer:
        found &= Q(issuer__in=_ids(Issuer.objects.filter(slug=sought.issuer)))
    if sought.owner and sought.owner != NOBODY:
        found &= Q(owner__in=_ids(get_user_model().objects.filter(username=sought.owner)))
    return found


def _ids(rows: QuerySet[Any]) -> list[int]:
    return list(rows.values_list("pk", flat=True))


def renewal_of(certificate: Certificate) -> Renewal:
    """Return how the certificate is renewed: the filter `renewal` in Python."""
    return how_renewed(certificate.renewal_blocked, certificate.renewal_off_reason)


def how_renewed(blocked: str, off_reason: str) -> Renewal:
    """Return the same from the two columns that decide it."""
    if off_reason or blocked == RenewalBlocked.OFF:
        return Renewal.OFF
    if blocked == RenewalBlocked.NEEDS_CSR:
        return Renewal.BY_HAND
    return Renewal.BLOCKED if blocked else Renewal.ITSELF


def _yes_or_no(rows: QuerySet[Certificate], condition: Q, wanted: str) -> QuerySet[Certificate]:
    return rows.filter(condition) if wanted == YesNo.YES else rows.exclude(condition)


def _start(day: date | None) -> datetime | None:
    return datetime.combine(day, time(), UTC) if day else None


def _day(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise _refused(name, "It is a day, as in 2026-11-28.") from exc


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 4:
        raise _refused(name, "It is a number of days from 0 to 9999.")
    return int(text)


def _refused(name: str, what: str) -> InputRefused:
    return InputRefused(f"The filter {name} has a value that cannot be read.", field=name, next_step=what)
