"""A certificate's parts, each decoded once however many checks look at it. Pure.

What the own CA signs is looked at twice: by the linter before it is signed, and by the verification of what came back. Both
judge for themselves, but bytes that are the same need not be decoded twice.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from keys.spec import spki_der

MOST_KEPT = 512  # a batch of one CA


class Reading:
    """Of one TBSCertificate. Raises pyca's ValueError for one of which a part cannot be decoded.

    `names` are those of the SAN, in order, with the kind of each; empty when there is none. `spki` is SubjectPublicKeyInfo in DER.
    """

    def __init__(self, certificate: x509.Certificate) -> None:
        self.certificate = certificate
        self.serial_number = certificate.serial_number
        self.not_before = certificate.not_valid_before_utc
        self.not_after = certificate.not_valid_after_utc
        self.issuer_der = certificate.issuer.public_bytes()
        self.subject = certificate.subject
        self.common_names = tuple([str(one.value) for one in self.subject.get_attributes_for_oid(NameOID.COMMON_NAME)])
        self.public_key = certificate.public_key()
        self.spki = spki_der(self.public_key)
        self.extensions: dict[x509.ObjectIdentifier, x509.Extension[Any]] = {one.oid: one for one in certificate.extensions}
        names = self.value(x509.SubjectAlternativeName) or ()
        self.names: tuple[tuple[type[x509.GeneralName], Any], ...] = tuple([(type(name), name.value) for name in names])

    def value(self, kind: type[x509.ExtensionType]) -> Any:
        """The value of an extension, None where there is none."""
        extension = self.extensions.get(kind.oid)
        return extension.value if extension is not None else None


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
