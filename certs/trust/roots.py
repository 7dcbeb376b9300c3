"""The roots that clients are to trust: those above every CA that issues, or has issued and is not distrusted."""

from __future__ import annotations

import hashlib
import plistlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from django.utils.text import slugify

from certs.models import Issuer
from keys.spec import facts_of_spki, spki_der

TYPES = {
    "pem": "application/x-pem-file",
    "der": "application/pkix-cert",
    "mobileconfig": "application/x-apple-aspen-config",
}


@dataclass(frozen=True)
class Root:
    """One root certificate."""

    der: bytes

    @cached_property
    def certificate(self) -> x509.Certificate:
        """Return the parsed certificate."""
        return x509.load_der_x509_certificate(self.der)

    @cached_property
    def sha256(self) -> str:
        """Return the fingerprint, 64 lower-case hex digits."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint as OpenSSL, browsers and keytool show it."""
        return _pairs(self.sha256)

    @property
    def fingerprint_groups(self) -> list[str]:
        """Return the fingerprint in four parts, as people compare it."""
        return [self.fingerprint[at : at + 24] for at in range(0, len(self.fingerprint), 24)]

    @property
    def sha1(self) -> str:
        """Return the SHA-1 fingerprint, by which Windows lists certificates. Nothing relies on it."""
        return _pairs(self.certificate.fingerprint(hashes.SHA1()).hex())  # noqa: S303 - shown, not relied on

    @cached_property
    def name(self) -> str:
        """Return the common name of the root, or its whole name where it has none."""
        names = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else self.certificate.subject.rfc4514_string()

    @property
    def organization(self) -> str:
        """Return whose CA it is, as the certificate says; empty where it does not."""
        names = self.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        return str(names[0].value) if names else ""

    @property
    def not_after(self) -> datetime:
        """Return the end of the root."""
        return self.certificate.not_valid_after_utc

    @property
    def key_label(self) -> str:
        """Return the kind of key, as people write it."""
        facts = facts_of_spki(spki_der(self.certificate.public_key()))
        return facts.label if facts is not None else "unknown"

    @property
    def slug(self) -> str:
        """Return the name of its files: of letters that every system takes, and of no other root."""
        return f"{slugify(self.name)[:40] or 'root'}-{self.sha256[:8]}"

    @cached_property
    def pem(self) -> bytes:
        """Return the certificate in PEM, the same bytes each time."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def pem_sha256(self) -> str:
        """Return what `sha256sum` says of the PEM file."""
        return hashlib.sha256(self.pem).hexdigest()

    def content(self, form: str) -> bytes:
        """Return the file of one of TYPES."""
        return {"pem": lambda: self.pem, "der": lambda: self.der, "mobileconfig": self._profile}[form]()

    def _profile(self) -> bytes:
        """Return a configuration profile for iOS, iPadOS and macOS (payload com.apple.security.root).

        Its identifiers follow from the certificate, so that a second installation replaces the first.
        """

        def identifier(kind: str) -> str:
            return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind}:{self.sha256}")).upper()

        payload = {
            "PayloadType": "com.apple.security.root",
            "PayloadVersion": 1,
            "PayloadIdentifier": f"pki-portal.root.{self.sha256[:16]}",
            "PayloadUUID": identifier("root"),
            "PayloadDisplayName": self.name,
            "PayloadCertificateFileName": f"{self.slug}.cer",
            "PayloadContent": self.der,
        }
        profile = {
            "PayloadType": "Configuration",
            "PayloadVersion": 1,
            "PayloadIdentifier": f"pki-portal.trust.{self.sha256[:16]}",
            "PayloadUUID": identifier("profile"),
            "PayloadDisplayName": f"Trust {self.name}",
            "PayloadDescription": f"Adds the root certificate {self.name}. SHA-256 {self.fingerprint}",
            "PayloadContent": [payload],
        }
        return plistlib.dumps(profile)


def _pairs(digits: str) -> str:
    text = digits.upper()
    return ":".join(text[at : at + 2] for at in range(0, len(text), 2))


def roots() -> list[Root]:
    """Return the roots, each once: the longest valid first."""
    rows = Issuer.objects.filter(trust_anchor_der__isnull=False).exclude(alias="").exclude(state=Issuer.State.DISTRUSTED)
    ders = {bytes(der) for der in rows.values_list("trust_anchor_der", flat=True) if der}
    return sorted((Root(der) for der in ders), key=lambda root: (root.not_after, root.sha256), reverse=True)


def find_root(slug: str) -> Root | None:
    """Return the root whose files have that name."""
    return next((root for root in roots() if root.slug == slug), None)


def set_digest(some: Iterable[Root]) -> str:
    """Return a digest of a set of roots, by which a change is seen."""
    return hashlib.sha256("\n".join(sorted(root.sha256 for root in some)).encode()).hexdigest()
