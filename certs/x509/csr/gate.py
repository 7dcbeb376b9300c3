"""The gate: every external CSR passes `read_csr`, at every channel, before any other code sees it. Pure.

Cheap checks come first, and the strict DER reader before any library: of 136 requests that must be
refused, a good parser alone accepted 89.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_public_key

from certs.enums import RefusalClass as R
from certs.errors import CSRRefused, sentence
from certs.x509.asn1.reader import NULL, PRINTABLE_DEVIATION, SEQUENCE, Node, NotDER, bits, dotted, in_set_order, integer, read
from certs.x509.csr.decode import WANTED, unpack
from certs.x509.csr.extensions import Requested, read_requested
from certs.x509.csr.names import read_names, too_many
from certs.x509.csr.other_objects import MAKE_ONE
from certs.x509.csr.public_key import NEW_KEY, check_public_key
from certs.x509.csr.signature import check_signature
from certs.x509.csr.subject import read_subject
from keys.interruptions import INTERRUPTIONS
from keys.spec import KeyFacts, spki_sha256

LARGEST_LOOKED_INTO = 1024 * 1024  # bytes: beyond this not even the reason is worth a parse
_ATTRIBUTES = 0xA0
_PSS = "1.2.840.113549.1.1.10"
_NO_PARAMETERS = ("1.2.840.10045.4.3.", "1.3.101.11", "2.16.840.1.101.3.4.3.17", "2.16.840.1.101.3.4.3.18", "2.16.840.1.101.3.4.3.19")
_PKCS1 = "1.2.840.113549.1.1."
_WEAK_SIGNATURES = {
    "1.2.840.113549.1.1.2": "MD2",
    "1.2.840.113549.1.1.3": "MD4",
    "1.2.840.113549.1.1.4": "MD5",
    "1.2.840.113549.1.1.5": "SHA-1",
    "1.3.14.3.2.29": "SHA-1",
    "1.3.14.3.2.3": "MD5",
    "1.3.36.3.3.1.2": "RIPEMD-160",
    "1.2.840.10040.4.3": "SHA-1",
    "1.2.840.10045.4.1": "SHA-1",
    "1.2.840.113549.1.1.14": "SHA-224",
    "1.2.840.10045.4.3.1": "SHA-224",
}
# What mends a malformed part of what certainly is a PKCS#10 request, by the field of the part.
_CURES = {
    "public_key": NEW_KEY,
    "signature": f"{MAKE_ONE} These sign with SHA-256 and write how they signed as the standards say.",
    "extensions": f"Ask for names only; the profile decides on the rest. {MAKE_ONE}",
    "san": f"Ask for DNS names such as api.example.com, or for IP addresses. {MAKE_ONE}",
    "subject": "A common name such as api.example.com is enough of a subject; make the request again with no more than that.",
}
_PSS_PARAMETERS = {0xA0, 0xA1, 0xA2, 0xA3}  # hash, mask, length of the salt, trailer
_PSS_HASHES = {"2.16.840.1.101.3.4.2.1", "2.16.840.1.101.3.4.2.2", "2.16.840.1.101.3.4.2.3"}  # SHA-256, SHA-384, SHA-512


@dataclass(frozen=True, slots=True)
class CSRFacts:
    """What a CSR that passed requests, in normal form.

    For people: `stripped` names what is left out of the certificate, `repairs` where the octets or the text
    differ from the standards although they have one meaning only, `notes` the repairs and the names that
    were normalised. `storable` is False when the CSR has a challenge password.
    """

    der: bytes
    spki_der: bytes
    spki_sha256: str
    key: KeyFacts
    common_name: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    stripped: tuple[str, ...]
    repairs: tuple[str, ...]
    notes: tuple[str, ...]
    storable: bool

    @property
    def verdict(self) -> str:
        """A repair comes first: the owner of the tool that wrote the request should know of it."""
        if self.repairs:
            return "accept_normalise"
        if self.stripped:
            return "accept_strip"
        return "accept_normalise" if self.notes else "accept"


def read_csr(data: bytes, *, domains: Sequence[str], max_names: int = 100, max_bytes: int = 64 * 1024) -> CSRFacts:
    """Check what was sent as a CSR and return what it requests.

    Args:
        domains: those of the team, which complete a bare label.
        max_bytes: of what was sent, PEM or DER.

    Raises CSRRefused with the class of the refusal and the next step, and nothing else. No text of an
    error quotes what was sent.
    """
    try:
        return _read(data, domains=domains, max_names=max_names, max_bytes=max_bytes)
    except NotDER as exc:
        raise _malformed(exc, "csr", WANTED) from exc
    except (CSRRefused, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except INTERRUPTIONS:
        raise
    except BaseException as exc:
        # Hostile octets in parsers of others: whatever these raise (a panic of Rust code is no Exception),
        # the sender gets a refusal, and the worker lives (docs/decisions/0036).
        raise CSRRefused(R.MALFORMED, "It cannot be read as a PKCS#10 request.", next_step=WANTED) from exc


def _malformed(exc: NotDER, field: str, next_step: str) -> CSRRefused:
    return CSRRefused(R.MALFORMED, sentence(f"It is not a well-formed PKCS#10 request: {exc}"), field=field, next_step=next_step)


@contextmanager
def _part(field: str) -> Iterator[None]:
    """Name the field of a part that is malformed, and what its owner can do about it.

    That the whole is a PKCS#10 request is known by then: to ask for one would be no help.
    """
    try:
        yield
    except NotDER as exc:
        raise _malformed(exc, field, _CURES[field]) from exc


def _read(data: bytes, *, domains: Sequence[str], max_names: int, max_bytes: int) -> CSRFacts:
    # 1. Find the one object in what was sent: PEM, base64 or DER, with the repairs that have one meaning only.
    #    Private keys are refused here, before a word about the rest; beyond the limit nothing is looked at.
    if len(data) > LARGEST_LOOKED_INTO:
        raise _too_large(len(data), max_bytes)
    unpacked = unpack(data)
    # 2. Read the DER strictly. A lenient parser and the CA may otherwise see two different requests in one.
    request = _Request(unpacked.der)
    # 3. A request that is too large because of its names is refused for its names: that can be mended.
    if len(data) > max_bytes:
        with _part("extensions"):
            _check_count(read_requested(request.attributes), max_names)
        raise _too_large(len(data), max_bytes)
    # 4. The public key: a kind that the portal certifies, not weak, not known to be compromised. From the DER, for a
    #    library may refuse to load the very keys whose fault should be named; only then by the library.
    with _part("public_key"):
        key = check_public_key(request.spki)
    # 5. The signature's hash, before the signature is verified: a weak one would prove nothing.
    with _part("signature"):
        _check_signature_algorithm(request.algorithm)
    with _part("public_key"):
        public_key = _loaded(request.spki)
    # 6. The requested extensions. Names are counted here, for counting is cheap and a signature is not.
    with _part("extensions"):
        requested = read_requested(request.attributes)
    _check_count(requested, max_names)
    # 7. Proof of possession of the private key (RFC 2986 4.2), over the octets that were sent: a request that was written anew
    #    by a library could verify although the one that was sent does not. It is the dearest check, so it comes late.
    with _part("signature"):
        check_signature(public_key, request.algorithm, request.info.raw, request.signature)
    # 8. The names, in normal form. A common name must be one of them. All else in the subject is left behind: organization and
    #    country come from the team or the profile, never from a CSR.
    with _part("subject"):
        subject = read_subject(request.subject)
    with _part("san"):
        names = read_names(requested.san, subject.common_names, domains=domains, max_names=max_names)
    repairs = tuple(dict.fromkeys((*unpacked.notes, *request.notes, *requested.notes)))
    notes = [*repairs, *names.notes]
    if not subject.common_names:
        notes.append("the subject has no common name; the first name takes its place")
    # An address is the common name only of a request that wrote it there and has no DNS name, as at every channel.
    first = names.dns_names or (names.ip_addresses if subject.common_names else ())
    return CSRFacts(
        der=unpacked.der,
        spki_der=request.spki.raw,
        spki_sha256=spki_sha256(request.spki.raw),
        key=key,
        common_name=first[0] if first else "",
        dns_names=names.dns_names,
        ip_addresses=names.ip_addresses,
        stripped=(*requested.stripped, *subject.stripped),
        repairs=repairs,
        notes=tuple(notes),
        storable=not requested.has_password,
    )


class _Request:
    """The parts of a CertificationRequest (RFC 2986 4). Raises NotDER when it is something else."""

    def __init__(self, der: bytes) -> None:
        # 1. CertificationRequest: info, algorithm, signature, and nothing more. A fourth part could be read by one parser only.
        root, deviations = read(der)
        if root.tag != SEQUENCE or len(root.children) != 3:
            raise NotDER("it is not request, algorithm and signature")
        # 2. CertificationRequestInfo: version, subject, key, and attributes that some tools leave out.
        self.info, self.algorithm = root.child(0, SEQUENCE), root.child(1, SEQUENCE)
        if len(self.info.children) not in (3, 4):
            raise NotDER("its parts are not those of a request")
        if integer(self.info.child(0)) != 0:
            raise NotDER("its version is not v1(0)")
        self.subject, self.spki = self.info.child(1, SEQUENCE), self.info.child(2, SEQUENCE)
        self.signature = bits(root.child(2))
        # A character in the subject changes nothing here: the subject is written anew.
        notes = [f"{what}; it was read all the same" for what in deviations if what != PRINTABLE_DEVIATION]
        self.attributes: list[Node] = []
        if len(self.info.children) == 3:  # RFC 2986 4.1 wants an empty [0], which some tools leave out
            notes.append("the request has no attributes at all; that was read as none")
        else:
            attributes = self.info.child(3, _ATTRIBUTES)
            self.attributes = attributes.children
            if not in_set_order(attributes):
                notes.append("the attributes are not in order; they were read all the same")
        self.notes = tuple(notes)


def _loaded(spki: Node) -> PublicKeyTypes:
    try:
        return load_der_public_key(spki.raw)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise NotDER("its public key is not a point of its curve or not a key at all") from exc


def _too_large(size: int, max_bytes: int) -> CSRRefused:
    return CSRRefused(
        R.TOO_LARGE,
        f"It has {size:,} bytes, more than the {max_bytes:,} that one CSR may have.",
        next_step="Ask for names only, without other extensions.",
    )


def _check_count(requested: Requested, max_names: int) -> None:
    if requested.san is not None and len(requested.san.children) > max_names:
        raise too_many(len(requested.san.children), max_names)


def _check_signature_algorithm(algorithm: Node) -> None:
    """Raises CSRRefused for a weak hash, NotDER for parameters that do not belong to the algorithm."""
    kind, parameters = dotted(algorithm.child(0)), algorithm.children[1:]
    # None for ECDSA, EdDSA and ML-DSA; NULL or none for RSA (RFC 4055 5, RFC 5758 3.2, RFC 8410 3, RFC 9881 2).
    if len(parameters) > 1 or (kind.startswith(_NO_PARAMETERS) and parameters):
        raise NotDER("the signature's algorithm has parameters that do not belong to it")
    if kind.startswith(_PKCS1) and kind != _PSS and parameters and parameters[0].tag != NULL:
        raise NotDER("the signature's algorithm has parameters other than NULL")
    weak = _WEAK_SIGNATURES.get(kind)
    if weak is None and kind == _PSS and not _pss_hash_is_strong(algorithm):
        weak = "SHA-1 or another weak hash in PSS"
    if weak:
        raise CSRRefused(
            R.WEAK_SIGNATURE_HASH, f"It is signed with {weak}.", field="signature", next_step="Sign it with SHA-256 or better."
        )


def _pss_hash_is_strong(algorithm: Node) -> bool:
    """Return whether both hashes of RSASSA-PSS-params, [0] and that of the mask in [1], are strong. Absent means SHA-1 (RFC 4055 3.1)."""
    if len(algorithm.children) < 2:
        return False
    tags = [node.tag for node in algorithm.child(1).children]
    if tags != sorted(set(tags)) or not set(tags) <= _PSS_PARAMETERS:
        # A reader that takes the first of two and one that takes the last would verify with different hashes.
        raise NotDER("the parameters of the PSS signature are not each there once and in order (RFC 4055 3.1)")
    parameters = {node.tag: node for node in algorithm.child(1).children}
    if 0xA0 not in parameters or 0xA1 not in parameters:
        return False
    digest = dotted(parameters[0xA0].child(0).child(0))
    mask = dotted(parameters[0xA1].child(0).child(1).child(0))
    return digest in _PSS_HASHES and mask in _PSS_HASHES
