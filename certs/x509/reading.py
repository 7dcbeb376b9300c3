"""A certificate's parts, each decoded once however many checks look at it. Pure.

What the own CA signs is looked at twice: by the linter before it is signed, and by the verification of what came back. Both
judge for themselves, but bytes that are the same need not be decoded twice.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID

from keys.spec import spki_der

MOST_KEPT = 512  # a batch of one CA


class Reading:
    """Of one TBSCertificate. Parts that cannot be decoded raise pyca's ValueError when they are asked for."""

    def __init__(self, certificate: x509.Certificate) -> None:
        self.certificate = certificate
        self.serial_number = certificate.serial_number
        self.not_before = certificate.not_valid_before_utc
        self.not_after = certificate.not_valid_after_utc

    @cached_property
    def extensions(self) -> dict[x509.ObjectIdentifier, x509.Extension[Any]]:
        return {extension.oid: extension for extension in self.certificate.extensions}

    def value(self, kind: type[x509.ExtensionType]) -> Any:
        """The value of an extension, None where there is none."""
        extension = self.extensions.get(kind.oid)
        return extension.value if extension is not None else None

    @cached_property
    def public_key(self) -> CertificatePublicKeyTypes:
        return self.certificate.public_key()

    @cached_property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo in DER."""
        return spki_der(self.public_key)

    @cached_property
    def subject(self) -> x509.Name:
        return self.certificate.subject

    @cached_property
    def common_names(self) -> tuple[str, ...]:
        return tuple(str(attribute.value) for attribute in self.subject.get_attributes_for_oid(NameOID.COMMON_NAME))

    @cached_property
    def names(self) -> tuple[tuple[type[x509.GeneralName], Any], ...]:
        """Of the SAN, in order, with the kind of each; empty when there is none."""
        return tuple((type(name), name.value) for name in self.value(x509.SubjectAlternativeName) or ())

    @cached_property
    def issuer_der(self) -> bytes:
        return self.certificate.issuer.public_bytes()


_kept: OrderedDict[bytes, Reading] = OrderedDict()
_lock = threading.Lock()


def keep(reading: Reading) -> Reading:
    """Remember a reading until its signed certificate comes back."""
    with _lock:
        _kept[reading.certificate.tbs_certificate_bytes] = reading
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    return reading


def reading_of(certificate: x509.Certificate) -> Reading:
    """The reading of its TBSCertificate, the one remembered if there is one."""
    with _lock:
        kept = _kept.pop(certificate.tbs_certificate_bytes, None)
    return kept or Reading(certificate)
