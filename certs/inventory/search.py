"""Reads that more than one caller needs: what a user may see, found by what people type, in pages that cost the same at any depth."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar

import idna
from django.db.models import Q, QuerySet, TextChoices, TextField
from django.db.models.functions import Cast

from certs.enums import Channel
from certs.enums import RequestState as S
from certs.errors import Conflict, InputRefused, NotFound
from certs.inventory.name_index import NAME_PART
from certs.inventory.states import active
from certs.models import BulkOrder, Certificate, CertificateName, CertificateRequest, Issuer, OperatorAlert
from certs.models.request import BY_PEOPLE
from certs.x509.certificate.serial import serial_readings
from certs.x509.dns_names import parse_ip_address
from db.clock import database_now
from db.sql import among
from db.trigrams import held_by_index, holds

Row = TypeVar("Row", CertificateRequest, Certificate, BulkOrder)
PAGE = 25
# As OpenSSL and browsers print them.
_PREFIX = re.compile(r"^(?:subject\s*=\s*)?(?:dns|cn|ip|ip address)\s*[:=]\s*(?=\S)", re.IGNORECASE)
_BASE64_OF_SHA256 = 44
_FEW = 5_000  # requests that are looked through themselves
_NAMED = 10_000  # names with a part of a name, whose certificates are kept as ids: looked for once, not again to be counted
_IN_ADDRESS = re.compile(r"[0-9a-f.:]+")
# Each of the three has an index that holds nothing else.
_WITHOUT_CERTIFICATE = (
    Q(state__in=(S.SUBMITTED, S.APPROVED, S.KEY_READY, S.CSR_CREATED, S.ISSUED))
    | Q(state=S.AWAITING_APPROVAL)
    | Q(state__in=(S.REJECTED, S.FAILED, S.CANCELLED))
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FINGERPRINT = re.compile(r"sha-?256(?:\s*fingerprint)?\s*[=:]\s*")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """`older` is the id to continue from, 0 on the last page."""

    rows: list[Row]
    older: int


def page_of(rows: QuerySet[Row], *, before: int = 0, size: int = PAGE) -> Page[Row]:
    """Return a page, newest first, beginning below the id `before` (0: at the top). A keyset page: no counting, no offset."""
    if before:
        rows = rows.filter(pk__lt=before)
    found = list(rows.order_by("-pk")[: size + 1])
    return Page(found[:size], found[size - 1].pk if len(found) > size else 0)


class RequestedBy(TextChoices):
    """Who made a request, and how."""

    ME = "me", "me, one by one"
    PEOPLE = "people", "people, one by one"
    PROGRAMS = "programs", "programs (API)"
    ORDERS = "orders", "bulk orders"
    SCHEDULE = "schedule", "the portal (renewals)"


def search_requests(
    user: Any, *, text: str = "", state: str = "", unchanged_days: int = 0, by: RequestedBy | None = None
) -> QuerySet[CertificateRequest]:
    """Return the requests that the user may see, by id or any requested name, all or those made in one way."""
    rows = CertificateRequest.objects.visible_to(user).select_related("team", "requester")
    if by is not None:
        rows = rows.filter(_requested_by(by, user))
    return filter_requests(rows, text=text, state=state, unchanged_days=unchanged_days)


def _requested_by(by: RequestedBy, user: Any) -> Q:
    if by is RequestedBy.ORDERS:
        return Q(bulk_item__isnull=False)
    if by is RequestedBy.PROGRAMS:
        return Q(door=Channel.API, bulk_item__isnull=True)
    if by is RequestedBy.SCHEDULE:
        return Q(door=Channel.SCHEDULE, bulk_item__isnull=True)
    return BY_PEOPLE & Q(requester=user) if by is RequestedBy.ME else BY_PEOPLE


def filter_requests(
    rows: QuerySet[CertificateRequest], *, text: str = "", state: str = "", unchanged_days: int = 0
) -> QuerySet[CertificateRequest]:
    """Return the requests among `rows` in that state, in their state for more than so many days, with that id or requested name."""
    if state:
        rows = rows.filter(state=state)
    if unchanged_days:
        rows = rows.filter(state_changed_at__lt=database_now() - timedelta(days=unchanged_days))
    if text.strip():
        cleaned = text.strip().lower()
        exact = rows.filter(Q(public_id=cleaned) | Q(resume_id=cleaned)).values_list("pk", flat=True)
        if found := list(exact[:10]):
            return rows.filter(pk__in=found)
        rows = _with_name(rows, name_sought(text))
    return rows


def _with_name(rows: QuerySet[CertificateRequest], part: str) -> QuerySet[CertificateRequest]:
    """Return the requests among `rows` with a name that contains the part.

    Few are looked through themselves. Among many, what has a certificate is found by the names of that,
    which are those of its request and have a narrow table; unless so many have the part that some turn
    up at once.
    """
    written = rows.alias(dns=Cast("dns_names", TextField()))
    named = Q(common_name__contains=part) | Q(dns__contains=part)
    if _IN_ADDRESS.fullmatch(part):  # else the addresses would be written as text in vain
        written = written.alias(ips=Cast("ip_addresses", TextField()))
        named |= Q(ips__contains=part)
    if len(rows.order_by().values_list("pk", flat=True)[: _FEW + 1]) <= _FEW:
        return written.filter(named)
    carriers = by_name(part).inside
    others = list(written.filter(_WITHOUT_CERTIFICATE, named).order_by().values_list("pk", flat=True)[: _FEW + 1])
    if not isinstance(carriers, tuple) or len(others) > _FEW:
        return written.filter(named)
    issued = Certificate.objects.filter(_among(carriers)).values_list("request_id", flat=True)
    return rows.filter(among("pk", [*others, *issued]))


def find_certificate(rows: QuerySet[Certificate], text: str) -> tuple[Certificate, str]:
    """Return the one certificate among `rows` of that id, serial number in any spelling, or name; and a note where the text could be
    read in more than one way.

    A name means the active certificate that has it. Raises NotFound; Conflict where a serial number means more than
    one certificate (two CAs, or decimal and hexadecimal), or a name is carried by several.
    """
    cleaned = text.strip()
    if cleaned.lower().startswith("cert-"):
        row = rows.filter(cert_id=cleaned.lower()).first()
        if row is not None:
            return row, ""
        if "." not in cleaned:
            raise NotFound(f"There is no certificate {cleaned[:40]} that you may see.", field="cert_id", next_step="Look it up by name.")
    try:
        readings = serial_readings(cleaned)
    except InputRefused:
        return _find_by_name(rows, cleaned)
    try:
        return find_by_serial(rows, *readings)
    except NotFound:
        if CertificateName.objects.filter(name=name_sought(cleaned)).exists():  # a label such as `cafe`
            return _find_by_name(rows, cleaned)
        raise


def _find_by_name(rows: QuerySet[Certificate], text: str) -> tuple[Certificate, str]:
    name, now = name_sought(text), database_now()
    carriers = CertificateName.objects.filter(name=name).values_list("certificate_id", flat=True)
    found = list(active(rows, now=now).filter(pk__in=carriers).select_related("issuer").order_by("pk")[:10])
    if not found:
        raise NotFound(
            f"No certificate in force that you may see has the name {name[:253]}, and it is neither a certificate id nor a serial number.",
            field="cert_id",
            next_step="Write its id (cert-…), its serial number (4A:3F:2B) or one of its names in full.",
        )
    if len(found) > 1:
        named = "; ".join(f"{one.cert_id} ({one.issuer.name}, until {one.not_after:%Y-%m-%d})" for one in found)
        raise Conflict(
            f"{len(found)} certificates in force have the name {name}: {named}.",
            field="cert_id",
            next_step="Name one of them by its id.",
        )
    return found[0], f"{name} is the name of {found[0].cert_id}."


def name_sought(text: str) -> str:
    """Return a name as certificates hold it: lower case, A-labels (RFC 5890), no final dot, canonical IP text.

    Takes what people paste: a URL, `DNS:name` and `CN = name` of OpenSSL, parts of a name.
    """
    name = _PREFIX.sub("", text.strip()).strip().lower()
    if "://" in name:
        name = name.partition("://")[2].partition("/")[0]
    address = parse_ip_address(name.strip("[]"))
    if address is not None:
        return address
    if not name.isascii():
        name = ".".join(_a_label(label) for label in re.split(r"[.\u3002\uff0e\uff61]", name))
    return name.removesuffix(".") or name


def _a_label(label: str) -> str:
    """Return the label in ASCII; as it is where it is no international name, which no certificate has."""
    if label.isascii():
        return label
    try:
        return idna.encode(label, uts46=True).decode()
    except idna.IDNAError:
        return label


def find_by_serial(rows: QuerySet[Certificate], *readings: int) -> tuple[Certificate, str]:
    """Return what `find_certificate` does, for a serial number already read, in one or two ways."""
    found = list(_with_serial(rows, readings).order_by("pk")[:10])
    if not found:
        raise NotFound("No certificate that you may see has this serial number.", field="serial_number", next_step=_spellings(readings))
    if len(found) > 1:
        named = "; ".join(f"{c.cert_id} ({c.issuer.name}, 0x{c.serial_number}, decimal {int(c.serial_number, 16)})" for c in found)
        raise Conflict(
            f"This serial number means {len(found)} certificates: {named}.",
            field="serial_number",
            next_step="Name it by its cert_id, or write 0x before a hexadecimal number.",
        )
    if len(readings) == 1:
        return found[0], ""
    reading = "hexadecimal" if found[0].serial_number == f"{readings[1]:x}" else "decimal"
    return found[0], f"Digits alone may be decimal or hexadecimal; only the {reading} reading is a certificate."


def _spellings(readings: Sequence[int]) -> str:
    if len(readings) > 1:
        return "It was looked for as decimal and as hexadecimal. Compare it with the certificate's page."
    return "Write it as in 4A:3F:2B, 0x4a3f2b or 4863787 (decimal)."


def sharing_key(certificate: Certificate) -> QuerySet[Certificate]:
    """Return every other certificate in the whole inventory on the same public key (SPKI SHA-256), oldest first."""
    rows = Certificate.objects.filter(spki_sha256=certificate.spki_sha256).exclude(pk=certificate.pk)
    return rows.select_related("team", "issuer").order_by("pk")


class Match(StrEnum):
    """How well a name matches a text."""

    EXACT = "exact"
    BEGINNING = "beginning"
    INSIDE = "inside"


_Found = QuerySet[CertificateName, int] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """What a text names: certificates by id, fingerprint, public key, serial number or request (`ids`); else by name.

    `inside` holds the ids of certificates with a name that contains the text, or the query for
    them where they are many; `matches` those that match exactly so well, and no better.
    """

    ids: tuple[int, ...]
    inside: _Found = ()
    matches: Mapping[Match, _Found] = field(default_factory=dict)

    def among(self, rows: QuerySet[Certificate]) -> QuerySet[Certificate]:
        """Return the certificates among `rows` that the text names."""
        return rows.filter(_among(self.ids or self.inside))

    def matching(self, rows: QuerySet[Certificate], match: Match) -> QuerySet[Certificate]:
        """Return those that match exactly so well, and no better."""
        if self.ids:
            return rows.filter(among("pk", self.ids)) if match is Match.EXACT else rows.none()
        found = self.matches[match]
        rows = rows.filter(_among(found))
        for better in Match:
            if better is match or isinstance(found, tuple):  # ids are of the best match alone
                break
            rows = rows.exclude(_among(self.matches[better]))
        return rows

    def has(self, match: Match) -> bool:
        """Whether anything can match so well: false where it is known that nothing does."""
        if self.ids:
            return match is Match.EXACT
        return self.matches[match] != ()


def _among(found: _Found) -> Any:
    """Return the condition on certificates that they are among those found."""
    return among("pk", found) if isinstance(found, tuple) else Q(pk__in=found)


def look_up(rows: QuerySet[Certificate], text: str) -> Named:
    """Return what the text names among `rows`: first as a whole id in any spelling, else as a part of a name."""
    ids = identified(rows, text)
    return Named(ids) if ids else by_name(text)


def by_name(text: str, *, ids: Sequence[int] | None = None) -> Named:
    """Return what the text names as a part of a name: among these certificates, or among all for None.

    One query where they are few. Among all it asks the index of parts of names. Not a join, which
    takes fifty times as long. The common name is always one of the names (RFC 9525, BR 7.1.4.3).
    """
    name, names = name_sought(text), CertificateName.objects.all()
    if ids is not None:
        inside = names.filter(among("certificate_id", ids), holds("name", name))
        return _as_pairs(list(inside.values_list("certificate_id", "name")), name)
    # A wildcard is a whole label, and the first one (RFC 9525 6.3).
    inside = names.filter(Q(name__startswith=name) if name.startswith("*") else held_by_index(NAME_PART, name))
    pairs = list(inside.values_list("certificate_id", "name")[: _NAMED + 1])
    if len(pairs) <= _NAMED:
        return _as_pairs(pairs, name)
    keys = names.values_list("certificate_id", flat=True)
    exact, beginning = keys.filter(name=name), keys.filter(name__startswith=name)
    found = inside.values_list("certificate_id", flat=True)
    return Named((), found, {Match.EXACT: exact, Match.BEGINNING: beginning, Match.INSIDE: found})


def _as_pairs(pairs: Sequence[tuple[int, str]], name: str) -> Named:
    """Return what pairs of certificate and name say: each certificate matches as well as its best name does."""
    whole = {pk for pk, one in pairs if one == name}
    beginning = {pk for pk, one in pairs if one.startswith(name)} - whole
    found = tuple(dict.fromkeys(pk for pk, _ in pairs))
    rest = tuple(pk for pk in found if pk not in whole and pk not in beginning)
    return Named((), found, {Match.EXACT: tuple(whole), Match.BEGINNING: tuple(beginning), Match.INSIDE: rest})


def identified(rows: QuerySet[Certificate], text: str) -> tuple[int, ...]:
    """Return ids of the certificates among `rows` with this id, fingerprint, public key, serial number or id of their request.

    Each kind of id is looked up in an index of its own: as alternatives beside a part of a name they would have every row looked at.
    """
    lowered = text.strip().lower()
    label = _FINGERPRINT.match(lowered)
    fingerprint = hash_sought(lowered[label.end() :] if label else lowered)
    found: list[QuerySet[Certificate]] = [
        rows.filter(cert_id=lowered),
        rows.filter(request__in=CertificateRequest.objects.filter(public_id=lowered)),
    ]
    if _SHA256.fullmatch(fingerprint):
        found += [rows.filter(sha256_fingerprint=fingerprint), rows.filter(spki_sha256=fingerprint)]
    with contextlib.suppress(InputRefused):
        found.append(_with_serial(rows, serial_readings(text)))
    return tuple(pk for queried in found for pk in queried.order_by().values_list("pk", flat=True))


def certificates_named(rows: QuerySet[Certificate], text: str) -> Any:
    """Return the condition on keys that they are of certificates among `rows` that this text names (`look_up`)."""
    named = look_up(rows, text)
    return _among(named.ids or named.inside)


def hash_sought(text: str) -> str:
    """Return a SHA-256 as rows hold it: hexadecimal, from what pages and `openssl dgst` print, or from base64."""
    bare = text.strip().rpartition("= ")[2].removeprefix("sha256//").removeprefix("sha256/")
    if len(bare) == _BASE64_OF_SHA256:
        with contextlib.suppress(ValueError):
            return base64.b64decode(bare, validate=True).hex()
    return re.sub(r"[:\s-]", "", bare).lower()


def _with_serial(rows: QuerySet[Certificate], readings: Sequence[int]) -> QuerySet[Certificate]:
    """Return those with a serial number. The index begins with the issuer, so all issuers are named."""
    issuers = list(Issuer.objects.values_list("pk", flat=True))
    return rows.filter(issuer__in=issuers, serial_number__in=[f"{number:x}" for number in readings])


def open_alerts() -> QuerySet[OperatorAlert]:
    return OperatorAlert.objects.filter(closed_at__isnull=True).order_by("-last_seen_at")
