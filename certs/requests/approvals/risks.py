"""What an approver should see about a request before deciding: what is new in it, what it covers, who asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit.changes import subject_of
from audit.models import AuditEvent
from certs.enums import RequestState as S
from certs.inventory import active
from certs.inventory.beneath import names_beneath
from certs.models import Certificate, CertificateName, CertificateRequest
from keys.spec import KeyFacts

# The requester's record is read from so many of the team's last requests.
LOOKED_AT = 1000
# Names beneath a wildcard that are looked at, and shown.
MOST_HOSTS, SHOWN = 2000, 8
# Certificates that are compared with the request to find the last one of the same names.
CANDIDATES = 25


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which the request differs from the last certificate of the names."""

    what: str
    before: str
    now: str


@dataclass(frozen=True, slots=True)
class Mark:
    """One risk, in a few words; `is_high` for the gravest."""

    text: str
    is_high: bool = False


@dataclass(frozen=True, slots=True)
class Cover:
    """What a wildcard would cover now: certificates in use for hosts one label below it."""

    wildcard: str
    hosts: tuple[str, ...]
    count: int
    is_cut: bool

    @property
    def more(self) -> int:
        """How many hosts are not shown."""
        return self.count - len(self.hosts)


@dataclass(frozen=True, slots=True)
class Record:
    """The requester's standing: since when in the team, or with an account, and what became of the requests among the
    team's last LOOKED_AT.
    """

    since: datetime
    is_member_since: bool
    issued: int
    refused: int
    is_all: bool


def last_of_the_names(request: CertificateRequest) -> Certificate | None:
    """Return the certificate that the request renews, else the team's newest with the same names, else with its first name."""
    if request.renewed_from_id is not None:
        return Certificate.objects.select_related("request", "issuer").get(pk=request.renewed_from_id)
    if not request.names:
        return None
    rows = Certificate.objects.filter(team=request.team_id, names__name=request.names[0]).select_related("request", "issuer")
    found = list(rows.order_by("-pk")[:CANDIDATES])
    same = (one for one in found if set(one.request.names) == set(request.names))
    return next(same, found[0] if found else None)


def differences(request: CertificateRequest, last: Certificate) -> tuple[Difference, ...]:
    """Return in what the request differs from a certificate. Equal values are left out."""
    before = last.request
    added, removed = set(request.names) - set(before.names), set(before.names) - set(request.names)
    pairs = [
        Difference("Names", f"without {_some(added)}" if added else "", f"with {_some(added)}") if added else None,
        Difference("Names", f"with {_some(removed)}", f"without {_some(removed)}") if removed else None,
        Difference("Key", KeyFacts.from_name(last.key_type).label, request.key_label),
        Difference("Public key", *_keys(request, last)),
        Difference("Where the key is", _place(before), _place(request)),
        Difference("Validity", before.validity.text, request.validity.text),
        Difference("Profile", last.profile, request.profile),
        Difference("CA", last.issuer.name, request.issuer.name),
        Difference("Requested by", str(before.requester or before.door), str(request.requester or request.door)),
    ]
    return tuple(one for one in pairs if one is not None and one.before != one.now)


def _keys(request: CertificateRequest, last: Certificate) -> tuple[str, str]:
    if request.spki_sha256:
        return f"{last.spki_sha256[:16]}…", f"{request.spki_sha256[:16]}…"
    return "", ""  # the key is made later: it is new


def _place(request: CertificateRequest) -> str:
    return "with the requester" if request.csr_brought else f"in {request.key_backend}"


def _some(names: set[str]) -> str:
    shown = sorted(names)[:SHOWN]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")


def marks_of(request: CertificateRequest, *, usual_days: int, now: datetime) -> tuple[Mark, ...]:
    """Return what is unusual about the request, the gravest first. A fixed number of queries.

    `usual_days`: the validity that the policy gives where nobody names one.
    """
    domains = set(request.team.domain_names())
    whole = [name for name in request.dns_names if name.startswith("*.") and name[2:] in domains]
    wild = [name for name in request.dns_names if name.startswith("*.") and name not in whole]
    found = [Mark(f"Whole-domain wildcard: {_some(set(whole))}", is_high=True)] if whole else []
    if wild:
        found.append(Mark(f"Wildcard: {_some(set(wild))}"))
    found += _of_the_key(request)
    if not Certificate.objects.filter(team=request.team_id).exists():
        found.append(Mark(f"First certificate of team {request.team.name}"))
    found += _of_the_names(request)
    days = request.validity.days_left(now)
    if days > usual_days:
        found.append(Mark(f"Long life: {days} days; {usual_days} are usual"))
    if request.ip_addresses:
        found.append(Mark(f"IP address{'es' if len(request.ip_addresses) > 1 else ''}: {_some(set(request.ip_addresses))}"))
    return tuple(found)


def _of_the_key(request: CertificateRequest) -> list[Mark]:
    if not request.spki_sha256:
        return []
    users = Certificate.objects.filter(spki_sha256=request.spki_sha256)
    others = users.exclude(team=request.team_id)[:1].count()
    if others:
        return [Mark("Key not new: another team has a certificate on it", is_high=True)]
    count = users[:LOOKED_AT].count()
    return [Mark(f"Key not new: {count} certificate{'s are' if count > 1 else ' is'} on it")] if count else []


def _of_the_names(request: CertificateRequest) -> list[Mark]:
    names = set(request.names)
    seen = set(CertificateName.objects.filter(name__in=names).values_list("name", flat=True).distinct())
    new = names - seen
    if not new:
        return []
    if new == names:
        return [Mark("Name never seen" if len(names) == 1 else "Names never seen")]
    return [Mark(f"{len(new)} of {len(names)} names never seen: {_some(new)}")]


def covers_of(request: CertificateRequest, *, now: datetime) -> tuple[Cover, ...]:
    """Return for each wildcard the hosts with certificates in use that it would cover now."""
    return tuple(_cover(name, now) for name in request.dns_names if name.startswith("*."))


def _cover(wildcard: str, now: datetime) -> Cover:
    base = wildcard.removeprefix("*.")
    labels = base.count(".") + 2
    rows = list(names_beneath(base).order_by("reversed_labels").values_list("name", "certificate_id")[:MOST_HOSTS])
    # One label: a wildcard covers no more (RFC 9525, 6.3).
    hosts = {pk: name for name, pk in rows if name.count(".") + 1 == labels and not name.startswith("*.")}
    in_use = active(Certificate.objects.filter(pk__in=hosts), now=now).values_list("pk", flat=True)
    names = sorted({hosts[pk] for pk in in_use})
    return Cover(wildcard, tuple(names[:SHOWN]), len(names), is_cut=len(rows) == MOST_HOSTS)


def record_of(request: CertificateRequest) -> Record | None:
    """Return the requester's standing in the team; None for a request of no person."""
    person: Any = request.requester
    if person is None:
        return None
    rows = CertificateRequest.objects.filter(team=request.team_id).order_by("-pk")
    states: Sequence[tuple[int | None, str]] = list(rows.values_list("requester_id", "state")[:LOOKED_AT])
    mine = [state for requester, state in states if requester == person.pk]
    # Members have no date of their own: the log has it. Of members from before the log the account's age is shown.
    joined = AuditEvent.objects.filter(subject=subject_of(request.team), event="team:changed").order_by("-subject_seq")
    marker = f"({person.pk})"
    since = next((event.at for event in joined[:LOOKED_AT] if any(text.endswith(marker) for text in event.data.get("added", ()))), None)
    return Record(
        since or person.date_joined,
        is_member_since=since is not None,
        issued=mine.count(S.COMPLETED),
        refused=mine.count(S.REJECTED),
        is_all=len(states) < LOOKED_AT,
    )
