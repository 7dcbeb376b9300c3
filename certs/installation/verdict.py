"""What a look at a server says about the certificate that should be there. No network, no database."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from audit.events import recordable
from certs.models import PlaceOutcome


@dataclass(frozen=True, slots=True)
class Expected:
    """The certificate that should be served.

    `older`: fingerprints of those before it in its lineage. `ours`: whether the one that was served
    is in the inventory. `chain`: PEM, issuing CA first. `names`: its subject alternative names.
    """

    sha256: str
    older: Collection[str]
    ours: bool
    chain: str
    names: Collection[str]


@dataclass(frozen=True, slots=True)
class Served:
    """What is known of the certificate that was served, from its own words."""

    sha256: str
    issuer: str
    not_after: datetime | None


def served_by(chain: tuple[bytes, ...]) -> Served:
    """Return what the first certificate of a chain says. It may be anybody's, and say anything."""
    digest = hashlib.sha256(chain[0]).hexdigest()
    try:
        certificate = x509.load_der_x509_certificate(chain[0])
        issuer = certificate.issuer.rfc4514_string()
        not_after = certificate.not_valid_after_utc
    except ValueError:
        return Served(digest, "", None)
    return Served(digest, recordable(issuer), not_after)


def judge(served: Served, chain: tuple[bytes, ...], expected: Expected, host: str) -> PlaceOutcome:
    """Return the outcome. `host` is the name that clients use; empty where the name does not matter."""
    if served.sha256 != expected.sha256:
        if served.sha256 in expected.older:
            return PlaceOutcome.OLD
        return PlaceOutcome.ANOTHER if expected.ours else PlaceOutcome.OTHER_CA
    if host and not any(covers(name, host) for name in expected.names):
        return PlaceOutcome.WRONG_NAME
    return PlaceOutcome.NO_INTERMEDIATE if lacking(chain, expected.chain) else PlaceOutcome.SERVED


def covers(name: str, host: str) -> bool:
    """Whether a name of a certificate is that of the host; `*` stands for one label (RFC 9525 6.3)."""
    name, host = name.lower(), host.lower().removesuffix(".")
    if not name.startswith("*."):
        return name == host
    label, dot, rest = host.partition(".")
    return bool(label and dot) and name[2:] == rest


def lacking(sent: tuple[bytes, ...], chain: str) -> list[str]:
    """Return the names of the intermediates that the server did not send.

    The root does not count: a client has it, or would not trust it for being sent (RFC 8446
    4.4.2). An intermediate counts as sent when its name and key were: it may have been renewed or
    cross-signed.
    """
    found = set(_identities(sent[1:]))
    above = x509.load_pem_x509_certificates(chain.encode()) if chain else []
    needed = [one for one in above if one.subject != one.issuer]
    return [one.subject.rfc4514_string() for one in needed if _identity(one) not in found]


def _identities(chain: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes]]:
    """Yield those that can be read: a strange certificate beside the right ones hinders no client."""
    for der in chain:
        with suppress(ValueError, UnsupportedAlgorithm):
            yield _identity(x509.load_der_x509_certificate(der))


def _identity(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return certificate.subject.public_bytes(), key
