"""Published CRLs and their points, as the tests look at them."""

from __future__ import annotations

from cryptography import x509

from certs.models import CRLPoint
from certs.status.crl import points_of
from tests.portal.authority import issuing_ca


def serials(crl: x509.CertificateRevocationList) -> list[str]:
    return sorted(f"{entry.serial_number:x}" for entry in crl)


def point() -> CRLPoint:
    return points_of(issuing_ca())[0]


def number_of(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
