"""The register for auditors: each certificate, and where its private key is kept.

For Commission Delegated Regulation (EU) 2024/1774 (DORA RTS) Article 7 and PCI DSS 4.2.1.1. CA
certificates come first, then all others, newest first. Nothing is loaded as a whole.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from django.db.models import BooleanField, Case, QuerySet, Value, When

from certs.access.owners import has_owner
from certs.access.permissions import Authority
from certs.inventory.filters import CertificateFilter, StateGroup, filter_certificates, renewal_of
from certs.inventory.key_places import place_of
from certs.inventory.search import Page, page_of
from certs.inventory.states import listed_state, with_key_blocked, with_state
from certs.models import Certificate, CertificateName, Issuer
from certs.uploads.formats.cells import safe_cell
from certs.x509.certificate.serial import format_serial
from keys.spec import facts_of, spki_sha256

PART = 2000  # rows read at once

COLUMNS = (
    "kind",
    "name",
    "names",
    "certificate_id",
    "serial_number",
    "issuer",
    "state",
    "valid_from",
    "valid_until",
    "key_type",
    "key_kept_in",
    "key_reference",
    "team",
    "owner",
    "owner_is_current",
    "purpose",
    "critical_function",
    "last_review",
    "renewal",
    "renewal_off_reason",
    "profile",
    "policy_version",
    "sha256_fingerprint",
    "public_key_sha256",
)

# What a row of the file is made of.
_READ = (
    "common_name",
    "cert_id",
    "serial_number",
    "issuer",
    "not_before",
    "not_after",
    "key_type",
    "key",
    "team",
    "owner",
    "purpose",
    "critical_function",
    "last_review",
    "renewal_off_reason",
    "renewal_blocked",
    "profile",
    "policy_version",
    "sha256_fingerprint",
    "spki_sha256",
)


@dataclass(frozen=True, slots=True)
class CA:
    """The certificate of an own CA, and where its key is kept."""

    issuer: Issuer
    certificate: x509.Certificate
    place: str


def register_filter(sought: CertificateFilter, *, past: bool) -> CertificateFilter:
    """Return the filter of a register: in force only, unless `past` or a state is wanted."""
    if past or sought.state or sought.status:
        return sought
    return replace(sought, state=StateGroup.IN_FORCE.value)


def register_page(authority: Authority, sought: CertificateFilter, *, before: int, now: datetime) -> Page[Certificate]:
    """Return a page of the register that the actor may see, newest first, with what a row shows.

    The ids first: in the query that looks for the page the planner would hash all renewals and open
    requests for the states (0.1 s with 100,000 certificates).
    """
    found = page_of(filter_certificates(authority.visible(), sought, now=now).select_related(None).only("pk"), before=before)
    rows = _with_facts(Certificate.objects.filter(pk__in=[row.pk for row in found.rows]), now)
    rows = rows.select_related("team", "issuer", "key", "owner", "revocation")
    return Page(list(rows.order_by("-pk")), found.older)


def _with_facts(rows: QuerySet[Certificate], now: datetime) -> QuerySet[Certificate]:
    owned = Case(When(has_owner(), then=Value(True)), default=Value(False), output_field=BooleanField())
    return with_key_blocked(with_state(rows, now), now).annotate(owned=owned)


def with_facts(rows: QuerySet[Certificate], now: datetime) -> QuerySet[Certificate]:
    """Return the rows with what `register_line` reads.

    Few columns, and related rows once for all: whole objects of all of them cost four times as long.
    """
    return _with_facts(rows, now).only(*_READ).prefetch_related("team", "issuer", "owner", "key")


def register_csv(authority: Authority, sought: CertificateFilter, *, now: datetime) -> Iterator[str]:
    """Yield the register as CSV lines (RFC 4180), the heading first. One part at a time in memory."""
    writer = csv.writer(Echo())
    yield writer.writerow(COLUMNS)
    for row in _all_rows(authority, sought, now=now):
        yield writer.writerow([safe_cell(str(value)) for value in row])


def _all_rows(authority: Authority, sought: CertificateFilter, *, now: datetime) -> Iterator[Sequence[object]]:
    if not sought.to_query().keys() - {"state"}:  # CA certificates have none of the filtered facts
        yield from map(_ca_row, own_cas())
    visible = authority.visible().select_related(None)
    rows = with_facts(filter_certificates(visible, sought, now=now), now).order_by("-pk")
    before = 0
    while True:
        # By key and not by a cursor: a server-side cursor would need one connection throughout.
        part = list((rows.filter(pk__lt=before) if before else rows)[:PART])
        names = names_of([row.pk for row in part])
        for row in part:
            yield register_line(row, names.get(row.pk, []))
        if len(part) < PART:
            return
        before = part[-1].pk


def names_of(ids: Sequence[int]) -> dict[int, list[str]]:
    """Return the names of certificates by id, in one query."""
    found: dict[int, list[str]] = {}
    rows = CertificateName.objects.filter(certificate__in=ids).order_by("pk")
    for pk, name in rows.values_list("certificate_id", "name"):
        found.setdefault(pk, []).append(name)
    return found


def own_cas() -> list[CA]:
    """Return the portal's own CAs. Those elsewhere keep a register of their own."""
    issuers = Issuer.objects.filter(certificate_der__isnull=False).select_related("key", "parent").order_by("pk")
    return [CA(one, x509.load_der_x509_certificate(bytes(one.certificate_der or b"")), place_of(one.key)) for one in issuers]


def _ca_row(ca: CA) -> Sequence[object]:
    certificate, key = ca.certificate, ca.issuer.key
    public_key = certificate.public_key()
    facts = facts_of(public_key)
    return (
        "CA",
        ca.issuer.name,
        "",
        "",
        format_serial(certificate.serial_number),
        ca.issuer.parent.name if ca.issuer.parent else ca.issuer.name,
        ca.issuer.state,
        _utc(certificate.not_valid_before_utc),
        _utc(certificate.not_valid_after_utc),
        facts.name if facts else "",
        ca.place,
        key.locator if key else "",
        *[""] * 10,
        certificate.fingerprint(SHA256()).hex(),
        spki_sha256(public_key),
    )


def register_line(row: Certificate, names: Sequence[str]) -> Sequence[object]:
    """Return the cells of a row of `with_facts`, as COLUMNS names them."""
    return (
        "certificate",
        row.common_name,
        " ".join(names),
        row.cert_id,
        format_serial(int(row.serial_number, 16)),
        row.issuer.name,
        listed_state(row).value,
        _utc(row.not_before),
        _utc(row.not_after),
        row.key_type,
        place_of(row.key),
        row.key.locator if row.key else "",
        row.team.slug,
        row.owner.get_username() if row.owner else "",
        "yes" if has_current_owner(row) else "no",
        row.purpose,
        "yes" if row.critical_function else "no",
        row.last_review.isoformat() if row.last_review else "",
        renewal_of(row).value,
        row.renewal_off_reason,
        row.profile,
        row.policy_version,
        row.sha256_fingerprint,
        row.spki_sha256,
    )


def has_current_owner(row: Certificate) -> bool:
    """Return whether the owner of a row of the register is active and in the team."""
    return bool(vars(row)["owned"])


def _utc(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


class Echo:
    """A file for csv.writer whose write() returns the line instead of keeping it."""

    def write(self, text: str) -> str:
        """Return the text."""
        return text
