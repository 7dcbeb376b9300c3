"""The signature of a PKCS#10 request, verified over the octets that were sent (RFC 2986 4.2). Pure.

Not by a library's CSR object: that refuses to load requests which common tools write and which can be
read in one way only, such as one without attributes or with attributes out of order.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from certs.enums import RefusalClass as R
from certs.errors import CSRRefused
from certs.x509.asn1.reader import SEQUENCE, Node, NotDER, dotted, integer

_MLDSA = mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey
_RSA = {
    "1.2.840.113549.1.1.11": hashes.SHA256(),
    "1.2.840.113549.1.1.12": hashes.SHA384(),
    "1.2.840.113549.1.1.13": hashes.SHA512(),
    "2.16.840.1.101.3.4.3.14": hashes.SHA3_256(),
    "2.16.840.1.101.3.4.3.15": hashes.SHA3_384(),
    "2.16.840.1.101.3.4.3.16": hashes.SHA3_512(),
}
_ECDSA = {
    "1.2.840.10045.4.3.2": hashes.SHA256(),
    "1.2.840.10045.4.3.3": hashes.SHA384(),
    "1.2.840.10045.4.3.4": hashes.SHA512(),
    "2.16.840.1.101.3.4.3.10": hashes.SHA3_256(),
    "2.16.840.1.101.3.4.3.11": hashes.SHA3_384(),
    "2.16.840.1.101.3.4.3.12": hashes.SHA3_512(),
}
_HASHES = {
    "2.16.840.1.101.3.4.2.1": hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
}
_PSS = "1.2.840.113549.1.1.10"
_LONGEST_SALT = 1024  # octets: as many as the largest key that is certified has
_MGF1 = "1.2.840.113549.1.1.8"
# algorithms that name their hash themselves
_PLAIN: dict[str, tuple[type[ed25519.Ed25519PublicKey | _MLDSA], ...]] = {
    "1.3.101.112": (ed25519.Ed25519PublicKey,),
    "2.16.840.1.101.3.4.3.17": (mldsa.MLDSA44PublicKey,),
    "2.16.840.1.101.3.4.3.18": (mldsa.MLDSA65PublicKey,),
    "2.16.840.1.101.3.4.3.19": (mldsa.MLDSA87PublicKey,),
}


def check_signature(key: PublicKeyTypes, algorithm: Node, signed: bytes, signature: bytes) -> None:
    """Check the proof that the sender has the private key. `signed` are the octets of the CertificationRequestInfo.

    Raises CSRRefused (`bad_signature`), also for an algorithm that does not belong to the key.
    """
    kind = dotted(algorithm.child(0))
    try:
        known = _verified(key, kind, algorithm, signed, signature)
    except NotDER:
        raise
    except (InvalidSignature, UnsupportedAlgorithm, ValueError) as exc:
        raise _bad_signature() from exc
    if not known:
        raise CSRRefused(
            R.BAD_SIGNATURE,
            "It is signed with an algorithm that its key does not have, or that is not known here.",
            field="signature",
            next_step="Sign it with its own key and SHA-256, SHA-384 or SHA-512, as openssl req does.",
        )


def _verified(key: PublicKeyTypes, kind: str, algorithm: Node, signed: bytes, signature: bytes) -> bool:
    """Raises InvalidSignature; returns False where key and algorithm do not belong together."""
    # The kind of the key decides which algorithms count: what the request names as its algorithm is not trusted alone.
    if isinstance(key, rsa.RSAPublicKey) and kind in _RSA:
        key.verify(signature, signed, padding.PKCS1v15(), _RSA[kind])
    elif isinstance(key, rsa.RSAPublicKey) and kind == _PSS:
        scheme, digest = _pss(algorithm)
        key.verify(signature, signed, scheme, digest)
    elif isinstance(key, ec.EllipticCurvePublicKey) and kind in _ECDSA:
        key.verify(signature, signed, ec.ECDSA(_ECDSA[kind]))
    elif isinstance(key, _PLAIN.get(kind, ())):
        key.verify(signature, signed)
    else:
        return False
    return True


def _pss(algorithm: Node) -> tuple[padding.PSS, hashes.HashAlgorithm]:
    """Return the scheme of RSASSA-PSS-params (RFC 4055 3.1). That hash and mask are strong was checked before."""
    parameters = {node.tag: node.child(0) for node in algorithm.child(1, SEQUENCE).children}
    mask = parameters[0xA1]
    if dotted(mask.child(0)) != _MGF1:
        raise NotDER("the mask of the PSS signature is not MGF1")
    digest = _HASHES[dotted(parameters[0xA0].child(0))]
    mask_digest = _HASHES[dotted(mask.child(1).child(0))]
    salt = integer(parameters[0xA2]) if 0xA2 in parameters else 20
    if not 0 <= salt <= _LONGEST_SALT:
        raise NotDER("the salt of the PSS signature has no length that a key allows")
    if 0xA3 in parameters and integer(parameters[0xA3]) != 1:
        raise NotDER("the trailer of the PSS signature is not the usual one")
    return padding.PSS(padding.MGF1(mask_digest), salt), digest


def _bad_signature() -> CSRRefused:
    return CSRRefused(
        R.BAD_SIGNATURE,
        "Its signature is not by its own key.",
        field="signature",
        next_step="Make the CSR again; a CSR cannot be edited after it was signed.",
    )
