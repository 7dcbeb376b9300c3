"""DER to PEM (RFC 7468) and what can be read of a certificate without trusting it. Pure."""

from __future__ import annotations

import base64

from cryptography import x509


def pem_of(der: bytes) -> str:
    """Return a CERTIFICATE in PEM, 64 characters a line."""
    return _armoured(der, "CERTIFICATE")


def csr_pem(der: bytes) -> str:
    """Return a CERTIFICATE REQUEST in PEM. Not parsed: the gate read it, and it may hold what a library refuses."""
    return _armoured(der, "CERTIFICATE REQUEST")


def _armoured(der: bytes, label: str) -> str:
    text = base64.b64encode(der).decode()
    lines = [text[n : n + 64] for n in range(0, len(text), 64)]
    return f"-----BEGIN {label}-----\n" + "\n".join(lines) + f"\n-----END {label}-----\n"


def serial_of(der: bytes) -> int | None:
    """Return the serial number of what may be a certificate; None when it cannot be parsed."""
    try:
        return x509.load_der_x509_certificate(der).serial_number
    except (ValueError, x509.InvalidVersion):
        return None


def tbs_of(der: bytes) -> bytes:
    """Return the TBSCertificate of what may be a certificate: all but its signature. What cannot be
    parsed is returned as it is.
    """
    try:
        return x509.load_der_x509_certificate(der).tbs_certificate_bytes
    except (ValueError, x509.InvalidVersion):
        return der
