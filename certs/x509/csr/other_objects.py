"""What people send in place of a CSR: recognised, and what its owner can do to get one. Pure."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from certs.x509.csr.private_keys import body_of

_OPENSSL = "openssl req -new -key KEY.pem -out request.csr"
_KEYTOOL = "keytool -certreq -alias NAME -keystore FILE"
MAKE_ONE = f"Make a CSR on the machine that has the private key: {_OPENSSL}, or {_KEYTOOL}."
_PKCS10 = f"Have your tool write PKCS#10: in the .inf file of Windows certreq set RequestType = PKCS10; with OpenSSL: {_OPENSSL}."


@dataclass(frozen=True, slots=True)
class OtherObject:
    """`name` with its article, for a sentence; `next_step` for the owner of the tool that wrote it."""

    name: str
    next_step: str = MAKE_ONE


CERTIFICATE = OtherObject(
    "a certificate",
    "A certificate cannot be turned into a request without its private key. "
    f"{MAKE_ONE} To renew a certificate of this portal, use Renew on its page.",
)
PKCS7 = OtherObject(
    "a PKCS#7 file",
    f"A PKCS#7 file holds certificates, or a request in an envelope. {_PKCS10}",
)
CMC = OtherObject("a CMC request (a request in a PKCS#7 envelope)", _PKCS10)
PUBLIC_KEY = OtherObject("a public key", f"A request is signed by the private key of the pair. {MAKE_ONE}")
SSH_PUBLIC_KEY = OtherObject("an SSH public key", f"SSH keys are not for certificates of servers. {MAKE_ONE}")
CRL = OtherObject("a CRL")
JWK = OtherObject("a JWK", f"A request is signed by the private key of the pair. {MAKE_ONE}")
SPKAC = OtherObject("a SPKAC, not a PKCS#10 request", MAKE_ONE)
CRMF = OtherObject("a CRMF request (RFC 4211)", _PKCS10)

_BY_LABEL = {
    "CERTIFICATE": CERTIFICATE,
    "TRUSTED CERTIFICATE": CERTIFICATE,
    "X509 CERTIFICATE": CERTIFICATE,
    "PKCS7": PKCS7,
    "PKCS #7 SIGNED DATA": PKCS7,
    "CMS": OtherObject("a CMS file", PKCS7.next_step),
    "X509 CRL": CRL,
    "PUBLIC KEY": PUBLIC_KEY,
    "RSA PUBLIC KEY": PUBLIC_KEY,
    "SSH2 PUBLIC KEY": SSH_PUBLIC_KEY,
}
_SSH_STARTS = (
    b"ssh-",
    b"\x00\x00\x00\x07ssh-",
    b"\x00\x00\x00\x13ecdsa-sha2-",
    b"\x00\x00\x00\x0bssh-",
)
_PKCS7 = bytes.fromhex("06092a864886f70d0107")
_CMC_CONTENT = bytes.fromhex("06082b06010505070c02")  # id-cct-PKIData (RFC 5272 3.2.1)
_CMC_WITHIN = 120  # octets: the signers of a CMC request stand behind its content


def by_label(label: str, body: bytes) -> OtherObject:
    """Return the object under that PEM label (RFC 7468), looking inside where the label is not
    enough.
    """
    try:
        inside = recognised(base64.b64decode(b"".join(body.split()), validate=True))
    except binascii.Error:
        inside = None
    return inside or _BY_LABEL.get(label, OtherObject("something else"))


def recognised(der: bytes) -> OtherObject | None:
    """Return what other object its first elements show it to be; None when it may be a CSR."""
    if der.startswith(_SSH_STARTS):
        return SSH_PUBLIC_KEY
    if der[:1] != b"\x30":
        return None
    outer = body_of(der)  # what follows a header; a cut-off object is recognised too
    if outer.startswith(_PKCS7):
        return CMC if _CMC_CONTENT in der[:_CMC_WITHIN] else PKCS7
    inner = body_of(outer)
    if outer[:1] == b"\x30":
        if inner[:1] == b"\x06":
            return PUBLIC_KEY
        if inner[:4] == b"\xa0\x03\x02\x01":
            return CERTIFICATE
        if len(inner) > 2 and inner[:1] == b"\x02" and body_of(inner[2 + inner[1] :])[:1] == b"\x06":
            # an INTEGER, then an AlgorithmIdentifier: version 2 of a CRL, or the serial number of a
            # certificate without a version
            return CRL if inner[:3] == b"\x02\x01\x01" else CERTIFICATE
        if inner[:1] == b"\x30" and body_of(inner)[:1] == b"\x02":
            return CRMF
    if outer[:1] == b"\x02" and outer[1:2] != b"\x01":
        return PUBLIC_KEY  # PKCS#1: a long modulus comes first
    return None
