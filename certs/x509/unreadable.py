"""What pyca's X.509 parser raises for octets that it cannot read. Pure."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import DuplicateExtension, InvalidVersion, UnsupportedGeneralNameType

# Parts are decoded when they are first looked at, so each access may raise. `certs.x509.asn1.reader.NotDER` is
# a ValueError. The tests change certificates octet by octet and find nothing else.
UNREADABLE: tuple[type[Exception], ...] = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    InvalidVersion,
    DuplicateExtension,
    UnsupportedGeneralNameType,
)
