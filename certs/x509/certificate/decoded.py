"""A certificate's parts, each decoded once for all checks of one reader. Pure.

The linter reads what is about to be signed, the verifier what a CA returned: each for itself, so that
neither relies on what the other has read.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import NameOID

from certs.x509.asn1.reader import inside

_VERSION = 0xA0


class Reading:
    """The parts of one TBSCertificate. Raises ValueError (pyca's, or NotDER) where a part cannot be decoded.

    `names` are those of the SAN, in order, with the kind of each; empty when there is none. `algorithm_der`, `issuer_der`, `subject_der`
    and `spki_der` are the octets as they stand there; a CA may have written the same key in another way than others do.
    """

    def __init__(self, certificate: x509.Certificate, tbs: bytes) -> None:
        parts = inside(tbs)
        first = 2 if parts[0][0] == _VERSION else 1  # version [0] is left out of a v1 certificate
        self.certificate, self.tbs = certificate, tbs
        self.algorithm_der, self.issuer_der, _, self.subject_der, self.spki_der = parts[first : first + 5]
        self.serial_number = certificate.serial_number
        self.not_before = certificate.not_valid_before_utc
        self.not_after = certificate.not_valid_after_utc
        self.subject = certificate.subject
        self.common_names = tuple([str(one.value) for one in self.subject.get_attributes_for_oid(NameOID.COMMON_NAME)])
        self.extensions: dict[x509.ObjectIdentifier, x509.Extension[Any]] = {one.oid: one for one in certificate.extensions}
        names = self.value(x509.SubjectAlternativeName) or ()
        self.names: tuple[tuple[type[x509.GeneralName], Any], ...] = tuple([(type(name), name.value) for name in names])

    @cached_property
    def public_key(self) -> PublicKeyTypes:
        """The key, decoded when it is first needed. Its kind and size are known without that (`keys.spec.facts_of_spki`)."""
        return self.certificate.public_key()

    def value(self, kind: type[x509.ExtensionType]) -> Any:
        """Return the value of an extension, None where there is none."""
        extension = self.extensions.get(kind.oid)
        return extension.value if extension is not None else None
