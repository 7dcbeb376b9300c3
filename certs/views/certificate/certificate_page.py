"""The page of one certificate: five tabs, each with an address of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, SignatureAlgorithmOID
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from certs.access.owners import current_owner
from certs.ca.registry import capabilities_of
from certs.enums import RevocationReason
from certs.installation.places import places_that_serve
from certs.inventory import CertificateState, Renewal, listed_state, renewal_of, state_of, with_state
from certs.inventory.download import FORMS, file_stem
from certs.inventory.key_places import place_of
from certs.inventory.keystores import jks_command, pkcs12_command, truststore_command
from certs.inventory.servers import server_of
from certs.models import Certificate, Issuer, Reissue, Revocation
from certs.renewal.planned_revocation import open_plan
from certs.renewal.replacement import newer_of
from certs.requests.facts.decisions import waivers_used_by
from certs.requests.lineage import lineage_of, stops_lineage
from certs.servers.files import FileNames
from certs.servers.kinds import CLIENT_PROFILE, amount_for
from certs.views.access import authority_of, page
from certs.views.certificate.history import history_of
from certs.views.numbers import id_of
from certs.x509.asn1.pem import pem_of
from certs.x509.certificate.chain import links_of
from certs.x509.certificate.serial import format_serial
from db.clock import database_now
from keys.models import PublicKey

TABS = (
    ("certificate", "Overview"),
    ("certificate-install", "Install"),
    ("certificate-renewals", "Renewals"),
    ("certificate-history", "History"),
    ("certificate-technical", "Technical"),
)
NAMES_SHOWN = 5
_OIDS = {
    SignatureAlgorithmOID.RSA_WITH_SHA256: "sha256WithRSAEncryption",
    SignatureAlgorithmOID.RSA_WITH_SHA384: "sha384WithRSAEncryption",
    SignatureAlgorithmOID.RSA_WITH_SHA512: "sha512WithRSAEncryption",
    SignatureAlgorithmOID.RSASSA_PSS: "RSASSA-PSS",
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: "ecdsa-with-SHA256",
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: "ecdsa-with-SHA384",
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: "ecdsa-with-SHA512",
    SignatureAlgorithmOID.ED25519: "Ed25519",
    ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
    ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
    ExtendedKeyUsageOID.CODE_SIGNING: "codeSigning",
    ExtendedKeyUsageOID.EMAIL_PROTECTION: "emailProtection",
    AuthorityInformationAccessOID.OCSP: "OCSP",
    AuthorityInformationAccessOID.CA_ISSUERS: "caIssuers",
}
_FILES = {
    "fullchain.pem": ("Certificate and intermediates (PEM)", "What a TLS server needs: nginx, Apache, HAProxy, Caddy."),
    "cert.pem": ("Certificate (PEM)", "For programs that want the chain in another file."),
    "chain.pem": ("Chain with the root (PEM)", "For programs that verify the certificate."),
    "root.pem": ("Root (PEM)", "What clients must trust."),
    "cert.der": ("Certificate (DER)", "For Java, Windows and devices."),
    "chain.p7b": ("Certificate and intermediates (PKCS #7)", "For IIS, Windows and Java keystores."),
}


def certificate_seen_by(request: HttpRequest, cert_id: str) -> Certificate:
    """Return the certificate with what its page shows. Raises Http404 for one that the person may not see."""
    related = ("team", "issuer", "request", "key", "chain", "body", "requester", "owner", "renewed_from")
    rows = Certificate.objects.visible_to(request.user).select_related(*related)
    row = rows.filter(cert_id=cert_id).first()
    if row is None:
        raise Http404
    return row


@dataclass(frozen=True, slots=True)
class File:
    """A file to download: its form, what it is and what it is for."""

    form: str
    label: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Generation:
    """One certificate of a lineage. `new_key`: its key is another than that of the one before."""

    certificate: Certificate
    state: CertificateState
    new_key: bool


@page
@require_safe
def overview(request: HttpRequest, cert_id: str) -> HttpResponse:
    """What it is for, who answers for it, and what needs to be done."""
    row, now = certificate_seen_by(request, cert_id), database_now()
    more = {
        "key_place": place_of(row.key),
        "links": links_of(row.chain.pem),
        "owner": current_owner(row),
        "places": places_that_serve(row),
        "waivers": waivers_used_by(row.request_id),
    }
    return _tab(request, row, "certificate", now, more)


@page
@require_safe
def install(request: HttpRequest, cert_id: str) -> HttpResponse:
    """The files, and the commands that make a keystore of them."""
    row, now = certificate_seen_by(request, cert_id), database_now()
    stem, server = file_stem(row), server_of(row) if row.key is None else None
    more = {
        "files": [File(form, *_FILES[form]) for form in FORMS] if row.status == Certificate.Status.GOOD else [],
        "stem": stem,
        "named": FileNames.of(tuple(row.request.names)),
        "server": server,
        "is_client": row.profile == CLIENT_PROFILE,
        "amount": amount_for(server, row.profile),
        "pkcs12": pkcs12_command(stem),
        "jks": jks_command(stem),
        "truststore": truststore_command(stem),
    }
    return _tab(request, row, "certificate-install", now, more)


@page
@require_safe
def renewals(request: HttpRequest, cert_id: str) -> HttpResponse:
    """The certificates before and after it, with the changes of the key."""
    row, now = certificate_seen_by(request, cert_id), database_now()
    return _tab(request, row, "certificate-renewals", now, {"lineage": _generations(row, now)})


@page
@require_safe
def history(request: HttpRequest, cert_id: str) -> HttpResponse:
    """What happened to it, newest first."""
    row, now = certificate_seen_by(request, cert_id), database_now()
    entries, older = history_of(row, before=id_of(request.GET.get("before")))
    return _tab(request, row, "certificate-history", now, {"entries": entries, "older": older})


@page
@require_safe
def technical(request: HttpRequest, cert_id: str) -> HttpResponse:
    """Numbers, fingerprints, extensions and the certificate in PEM."""
    row, now = certificate_seen_by(request, cert_id), database_now()
    der = bytes(row.body.der)
    serial = int(row.serial_number, 16)
    more = {
        "serial": format_serial(serial),
        "serial_decimal": str(serial),
        "fingerprint": bytes.fromhex(row.sha256_fingerprint).hex(":").upper(),
        "pem": pem_of(der),
        "facts": _facts(x509.load_der_x509_certificate(der)),
    }
    return _tab(request, row, "certificate-technical", now, more)


def _tab(request: HttpRequest, row: Certificate, tab: str, now: datetime, more: dict[str, Any]) -> HttpResponse:
    revocation = Revocation.objects.filter(certificate=row).first()
    following = row.renewals.order_by("pk").first()
    state = state_of(row, now)
    names = row.request.names
    in_use = row.status == Certificate.Status.GOOD and following is None and row.not_after > now
    distrusted = in_use and row.issuer.state == Issuer.State.DISTRUSTED
    under_way = Reissue.objects.select_related("target").filter(issuer=row.issuer, state__in=Reissue.UNDER_WAY)
    reissue = under_way.first() if in_use else None
    in_force = row.status == Certificate.Status.GOOD and row.not_after >= now
    context = {
        "row": row,
        "tabs": [(label, reverse(name, args=[row.cert_id]), name == tab) for name, label in TABS],
        "names": names[:NAMES_SHOWN],
        "more_names": names[NAMES_SHOWN:],
        "state": state,
        # Both are due at once, whatever day was planned.
        "renews": "" if distrusted or reissue else _renews(row, state),
        # Only while clients would accept the certificate.
        "blocked_key": PublicKey.objects.filter(pk=row.spki_sha256, blocked_at__isnull=False).first() if in_force else None,
        "distrusted": distrusted,
        "reissue": reissue,
        "superseded_by": following,
        "newer": newer_of([row]).get(row.pk) if state == CertificateState.NEEDS_YOU and following is None else None,
        "revocation": revocation if row.status != Certificate.Status.GOOD else None,
        "reason_stays_here": revocation is not None and not capabilities_of(row.issuer.alias).reports_reason,
        "may_act": authority_of(request).may_act_on(row),
        "may_revoke": _may_be_revoked(row, revocation),
        "may_release": _may_be_released(row, revocation),
        "may_renew": following is None and not stops_lineage(row),
        "planned": open_plan(row) if row.status == Certificate.Status.GOOD else None,
        "now": now,
    }
    template = f"certificate/{tab.removeprefix('certificate').removeprefix('-') or 'overview'}.html"
    return render(request, template, context | more)


def _renews(row: Certificate, state: CertificateState) -> str:
    """When and how it is renewed, in words; empty where nothing will renew it any more."""
    if state not in (CertificateState.VALID, CertificateState.RENEW_SOON):
        return ""
    how = renewal_of(row)
    if how is Renewal.ITSELF and row.alert_at is not None:
        return f"Renews automatically on {row.alert_at.day} {row.alert_at:%b %Y}"
    return f"Renewal: {how.label}"


def _may_be_revoked(row: Certificate, revocation: Revocation | None) -> bool:
    """Whether the button makes sense: keyCompromise can be added to all but itself, anything else only to what is good."""
    if row.status != Certificate.Status.GOOD and revocation is not None:
        return revocation.reason != RevocationReason.KEY_COMPROMISE
    return True


def _may_be_released(row: Certificate, revocation: Revocation | None) -> bool:
    if revocation is None or row.status != Certificate.Status.REVOKED:
        return False
    return revocation.reason == RevocationReason.CERTIFICATE_HOLD and revocation.release_requested_at is None


def _generations(row: Certificate, now: datetime) -> list[Generation]:
    lineage = lineage_of(row)
    listed = with_state(Certificate.objects.filter(pk__in=[one.pk for one in lineage]), now)
    states = {one.pk: listed_state(one) for one in listed}
    before: Sequence[Certificate | None] = [None, *lineage[:-1]]
    return [
        Generation(one, states[one.pk], new_key=earlier is not None and earlier.spki_sha256 != one.spki_sha256)
        for earlier, one in zip(before, lineage, strict=True)
    ]


def _facts(certificate: x509.Certificate) -> list[tuple[str, list[str]]]:
    """The fields that people compare, by the names of RFC 5280. What a certificate does not have is left out."""
    found = [
        ("Issuer", [certificate.issuer.rfc4514_string()]),
        ("Subject", [certificate.subject.rfc4514_string() or "(empty: the names are in subjectAltName)"]),
        ("Signature algorithm", [_oid(certificate.signature_algorithm_oid)]),
    ]
    for label, kind, read in _EXTENSIONS:
        try:
            extension = certificate.extensions.get_extension_for_class(kind)
        except x509.ExtensionNotFound:
            continue
        found.append((f"{label}{' (critical)' if extension.critical else ''}", read(extension.value)))
    return found


def _oid(oid: x509.ObjectIdentifier) -> str:
    return _OIDS.get(oid, oid.dotted_string)


def _key_usage(value: Any) -> list[str]:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return [name.replace("_", " ") for name in names if getattr(value, name)]


def _access(value: Any) -> list[str]:
    return [f"{_oid(one.access_method)}: {one.access_location.value}" for one in value]


def _points(value: Any) -> list[str]:
    return [name.value for point in value for name in point.full_name or ()]


_EXTENSIONS: tuple[tuple[str, Any, Callable[[Any], list[str]]], ...] = (
    ("Key usage", x509.KeyUsage, _key_usage),
    ("Extended key usage", x509.ExtendedKeyUsage, lambda value: [_oid(usage) for usage in value]),
    ("Basic constraints", x509.BasicConstraints, lambda value: ["CA" if value.ca else "not a CA"]),
    ("Authority information access", x509.AuthorityInformationAccess, _access),
    ("CRL distribution points", x509.CRLDistributionPoints, _points),
    ("Subject key identifier", x509.SubjectKeyIdentifier, lambda value: [value.digest.hex(":")]),
)
