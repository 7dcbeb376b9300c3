"""What an approver should see about a request before deciding: what is new in it, what it covers, who asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Exists, Max, OuterRef

from audit.changes import subject_of
from audit.models import AuditEvent
from certs.enums import RequestState as S
from certs.inventory import active
from certs.inventory.beneath import names_beneath
from certs.models import Certificate, CertificateName, CertificateRequest, Domain, Team
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
    """One risk, in a few words; `is_high` for the gravest. `kind`: the same words for every request that has it."""

    kind: str
    more: str = ""
    is_high: bool = False

    @property
    def text(self) -> str:
        """Return the risk with what is its own in this request."""
        return f"{self.kind}: {self.more}" if self.more else self.kind


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
    """What is known of the requester: member of the team since when (else the age of the account), and how the
    requester's requests among the team's last LOOKED_AT ended.
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


def last_of_each(requests: Sequence[CertificateRequest]) -> dict[int, Certificate]:
    """Return by request the certificate that it renews, else the team's newest with its first name. Three queries.

    Of one request alone `last_of_the_names` looks further: for one with all of its names.
    """
    firsts = {request.names[0] for request in requests if request.names}
    rows = CertificateName.objects.filter(name__in=firsts, certificate__team__in={request.team_id for request in requests})
    newest = rows.order_by().values_list("name", "certificate__team").annotate(last=Max("certificate_id"))
    by_name = {(name, team): last for name, team, last in newest}
    chosen = {
        request.pk: request.renewed_from_id or by_name.get((request.names[0], request.team_id)) for request in requests if request.names
    }
    ids = {pk for pk in chosen.values() if pk is not None}
    certificates = Certificate.objects.select_related("request__requester", "issuer").in_bulk(ids)
    return {pk: certificates[last] for pk, last in chosen.items() if last is not None}


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
    """Return what is unusual about the request, the gravest first; see `marks_of_all`."""
    return marks_of_all([request], usual_days=usual_days, now=now)[request.pk]


def marks_of_all(requests: Sequence[CertificateRequest], *, usual_days: int, now: datetime) -> dict[int, tuple[Mark, ...]]:
    """Return by request what is unusual about it, the gravest first. A fixed number of queries.

    `usual_days`: the validity that the policy gives where nobody names one.
    """
    teams = {request.team_id: request.team for request in requests}
    domains: dict[int, set[str]] = {pk: set() for pk in teams}
    for team, domain in Domain.objects.filter(team__in=teams).values_list("team_id", "name"):
        domains[team].add(domain)
    issued = Certificate.objects.filter(team=OuterRef("pk"))
    known = set(Team.objects.filter(Exists(issued), pk__in=teams).values_list("pk", flat=True))
    keys = [request.spki_sha256 for request in requests if request.spki_sha256]
    users = Certificate.objects.filter(spki_sha256__in=keys).order_by().values_list("spki_sha256", "team_id")
    of_key: dict[str, dict[int, int]] = {}
    for key, team, count in users.annotate(number=Count("pk")) if keys else ():
        of_key.setdefault(key, {})[team] = count
    names = {name for request in requests for name in request.names}
    seen = set(CertificateName.objects.filter(name__in=names).order_by().values_list("name", flat=True).distinct())
    found = {}
    for request in requests:
        team = request.team_id
        marks = [
            *_of_wildcards(request, domains[team]),
            *_of_the_key(team, of_key.get(request.spki_sha256, {})),
            *([] if team in known else [Mark("First certificate of the team", request.team.name)]),
            *_of_the_names(set(request.names), seen),
        ]
        days = request.validity.days_left(now)
        if days > usual_days:
            marks.append(Mark("Long life", f"{days} days; {usual_days} are usual"))
        if request.ip_addresses:
            marks.append(Mark("IP address", _some(set(request.ip_addresses))))
        found[request.pk] = tuple(marks)
    return found


def _of_wildcards(request: CertificateRequest, domains: set[str]) -> list[Mark]:
    whole = {name for name in request.dns_names if name.startswith("*.") and name[2:] in domains}
    others = {name for name in request.dns_names if name.startswith("*.")} - whole
    found = [Mark("Whole-domain wildcard", _some(whole), is_high=True)] if whole else []
    return [*found, Mark("Wildcard", _some(others))] if others else found


def _of_the_key(team: int, users: Mapping[int, int]) -> list[Mark]:
    """`users`: how many certificates on the key each team has."""
    if set(users) - {team}:
        return [Mark("Key not new", "another team has a certificate on it", is_high=True)]
    count = users.get(team, 0)
    return [Mark("Key not new", f"{count} certificate{'s are' if count > 1 else ' is'} on it")] if count else []


def _of_the_names(names: set[str], seen: set[str]) -> list[Mark]:
    new = names - seen
    if not new:
        return []
    return [Mark("Name never seen" if len(names) == 1 else "Names never seen", "" if new == names else _some(new))]


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
    """Return what is known of the requester in the team; None for a request of no person."""
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
