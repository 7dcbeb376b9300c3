"""Which audit events belong to an object: the subjects that they are written under."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from audit.events import EventType
from certs.access.permissions import Authority
from certs.models import BulkOrder, Certificate, CertificateRequest

RECENT = 50  # requests and certificates of each team
_MOST_TEAMS = 20


@dataclass(frozen=True, slots=True)
class Source:
    """A set of events with an index of its own: those of some subjects, those by an actor, or one event.

    `events` narrows them to some types; `team`, a slug, to those that are about all teams or name it.
    """

    subjects: tuple[str, ...] = ()
    actor: str = ""
    number: int = 0
    events: tuple[EventType, ...] = ()
    team: str = ""


def sources_of(certificate: Certificate) -> tuple[Source, ...]:
    """Return the events of a certificate and its request, and the downloads of its order that had it."""
    own = Source(subjects=(f"certificate:{certificate.cert_id}", certificate.request.subject))
    item = certificate.request.bulk_item
    if item is None:
        return (own,)
    return own, Source(subjects=(item.order.subject,), events=(EventType.CERTIFICATE_DOWNLOADED,), team=certificate.team.slug)


def recent_sources(authority: Authority) -> tuple[Source, ...]:
    """Return the events of the newest requests and certificates of the actor's teams: what a person sees without a search."""
    subjects: dict[str, None] = {}
    for team in sorted(authority.sees() or ())[:_MOST_TEAMS]:  # one index read for each
        requests = CertificateRequest.objects.filter(team=team).order_by("-pk").values_list("public_id", flat=True)
        certificates = Certificate.objects.filter(team=team).order_by("-pk").values_list("cert_id", flat=True)
        subjects |= dict.fromkeys(f"request:{one}" for one in requests[:RECENT])
        subjects |= dict.fromkeys(f"certificate:{one}" for one in certificates[:RECENT])
    return (Source(subjects=tuple(subjects)),) if subjects else ()


def names_of(subjects: Iterable[str]) -> dict[str, str]:
    """Return by subject the name under which people know what it is: of a certificate or request its first name, of an order its title.

    One query for each kind that is among them. Other subjects, and what has no name, are left out.
    """
    ids: dict[str, list[str]] = {}
    for subject in subjects:
        kind, _, own = subject.partition(":")
        ids.setdefault(kind, []).append(own)
    found: dict[str, str] = {}
    if requests := ids.get("request"):
        rows = CertificateRequest.objects.filter(public_id__in=requests).only("public_id", "common_name", "dns_names", "ip_addresses")
        found |= {row.subject: row.common_name or next(iter(row.names), "") for row in rows}
    if certificates := ids.get("certificate"):
        named = Certificate.objects.filter(cert_id__in=certificates).select_related("request")
        of_request = ("request__common_name", "request__dns_names", "request__ip_addresses")
        for one in named.only("cert_id", "common_name", *of_request):
            found[f"certificate:{one.cert_id}"] = one.common_name or next(iter(one.request.names), "")
    if orders := ids.get("bulk"):
        found |= {f"bulk:{own}": title for own, title in BulkOrder.objects.filter(public_id__in=orders).values_list("public_id", "title")}
    return {subject: name for subject, name in found.items() if name}
