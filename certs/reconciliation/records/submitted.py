"""Compare the content of a request with the event of its submission, whose digest covers the content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model

from certs.models import Certificate, CertificateRequest, Issuer, Team
from certs.reconciliation.records.comparison import Comparison, accounts_over_time, names_over_time, rows_named
from certs.reconciliation.records.explained import Logged
from certs.requests.submit import content_digest
from certs.spec import CertificateSpec

ALTERED = "its content is not what was submitted: the digest differs"


@dataclass(frozen=True, slots=True)
class Known:
    """What the requests of a page point at, by key, with the names that accounts and teams had over time."""

    accounts: dict[Any, set[str]]
    teams: dict[Any, set[str]]
    issuers: dict[Any, Any]
    renewed: dict[Any, Any]
    before: dict[Any, Any]

    @classmethod
    def of(cls, page: list[CertificateRequest]) -> Known:
        accounts = rows_named(get_user_model(), [row.requester_id for row in page])
        teams = rows_named(Team, [row.team_id for row in page])
        renewed = rows_named(Certificate, [row.renewed_from_id for row in page])
        return cls(
            accounts_over_time(accounts.values()),
            names_over_time(teams.values(), "slug", ("team:created", "team:changed")),
            rows_named(Issuer, [row.issuer_id for row in page]),
            renewed,
            rows_named(CertificateRequest, [one.request_id for one in renewed.values()]),
        )


def compare_submitted(row: CertificateRequest, events: list[Logged], known: Known, comparison: Comparison) -> None:
    """Add each difference between the row and the event of its submission."""
    submitted = next((one for one in events if one.event == "request:submitted"), None)
    if submitted is None:
        return
    data, name = submitted.data, row.public_id
    if data.get("digest") != row.digest:
        comparison.add("request", name, ALTERED)
        return
    team, issuer = str(data.get("team")), known.issuers.get(row.issuer_id)
    if team not in known.teams.get(row.team_id, ()):
        comparison.add("request", name, f"it was submitted for team {team}, and belongs to another one")
    stored: dict[str, Any] = {
        "door": row.door,
        "issuer": issuer.name if issuer is not None else None,
        "csr_brought": row.csr_brought,
        "bulk_item": row.bulk_item_id,
        "key_reused": row.key_reused,
        "renews": _cert_id(known.renewed.get(row.renewed_from_id)),
    }
    for field_name, value in stored.items():
        if field_name in data or (field_name == "renews" and value is not None):
            comparison.expect("request", name, field_name, stored=value, logged=data.get(field_name))
    if not _is_what_the_digest_covers(row, submitted, known):
        comparison.add("request", name, ALTERED)
    keys = [str(one.data["spki_sha256"]) for one in events if one.data.get("spki_sha256")]
    if keys:
        comparison.expect("request", name, "spki_sha256", stored=row.spki_sha256, logged=keys[-1])


def _cert_id(certificate: Any) -> str | None:
    return None if certificate is None else str(certificate.cert_id)


def _is_what_the_digest_covers(row: CertificateRequest, submitted: Logged, known: Known) -> bool:
    """Return whether the content of the row has the digest that it was submitted with."""
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in (row.dns_names, row.ip_addresses)):
        return False  # no content that a request can have
    renewed = known.renewed.get(row.renewed_from_id)
    before = known.before.get(renewed.request_id) if renewed is not None else None
    if before is not None and before.digest == row.digest:
        # A renewal of the same content has the digest of the request before it, which is compared on its own.
        return _content(row) == _content(before)
    spec = CertificateSpec(
        common_name=row.common_name,
        dns_names=tuple(row.dns_names),
        ip_addresses=tuple(row.ip_addresses),
        key=row.key_type,
        validity_days=row.validity_days,
        not_after=row.not_after,
        profile=row.profile,
    )
    team, issuer = str(submitted.data.get("team")), str(submitted.data.get("issuer"))
    spki = row.spki_sha256 if row.csr_brought else ""
    digests = (
        content_digest(spec, spki_sha256=spki, team=team, issuer=issuer, requester=who)
        for who in _requesters(row, submitted, before, known)
    )
    return row.digest in digests


def _requesters(row: CertificateRequest, submitted: Logged, before: Any, known: Known) -> Iterable[str]:
    """Return the names of its requester that the digest may contain."""
    if row.requester_id is not None:
        return sorted(known.accounts.get(row.requester_id, ()))
    return [submitted.actor, *([before.door] if before is not None else [])]


def _content(row: CertificateRequest) -> tuple[Any, ...]:
    names = (row.common_name, _in_order(row.dns_names), _in_order(row.ip_addresses))
    spki = row.spki_sha256 if row.csr_brought else ""
    owner = (row.team_id, row.requester_id, row.issuer_id)
    return (*names, row.key_type, spki, row.validity_days, row.not_after, row.profile, *owner)


def _in_order(names: Any) -> list[str]:
    """Return names in the order of the digest; what SQL put in the place of a list is compared as text."""
    return sorted(map(str, names)) if isinstance(names, list) else [str(names)]
