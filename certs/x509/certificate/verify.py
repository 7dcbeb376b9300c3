"""Verify what a CA returned: every difference between the certificate and the order is named. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import SignatureAlgorithmOID

from certs.errors import SignerMismatch
from certs.x509.asn1.reader import inside
from certs.x509.certificate.decoded import Reading
from certs.x509.certificate.profiles import EKU_NAMES
from certs.x509.unreadable import UNREADABLE
from db.tolerance import CLOCK_TOLERANCE
from keys.signing import ecdsa_with
from keys.spec import KeyFacts, facts_of, facts_of_spki, spki_sha256

_MAY_BE_CRITICAL = {x509.BasicConstraints.oid, x509.KeyUsage.oid, x509.ExtendedKeyUsage.oid, x509.SubjectAlternativeName.oid}
_STRONG_HASHES = {"sha256", "sha384", "sha512"}
_SMALLEST_CA_RSA = 2048
_ECDSA = {SignatureAlgorithmOID.ECDSA_WITH_SHA256, SignatureAlgorithmOID.ECDSA_WITH_SHA384, SignatureAlgorithmOID.ECDSA_WITH_SHA512}


class Expectation(NamedTuple):
    """What was ordered. `validity_max` is the whole life, both ends included, `not_after_max` the
    latest end. A certificate may leave the common name out (it stands among the names, and a long
    one does not fit into a subject); it may not have another.
    """

    spki_sha256: str
    common_name: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    ekus: tuple[str, ...]
    not_before_min: datetime
    validity_max: timedelta | None
    not_after_max: datetime | None = None


class CertificateFacts(NamedTuple):
    """The content of a verified certificate."""

    serial_number: int
    not_before: datetime
    not_after: datetime
    common_name: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    spki_sha256: str
    sha256_fingerprint: str
    key: KeyFacts
    crl_url: str = ""  # its first CRL distribution point


def verify_issued(
    certificate_der: bytes, chain_der: tuple[bytes, ...], expectation: Expectation, *, now: datetime, trusted_roots: tuple[bytes, ...] = ()
) -> CertificateFacts:
    """Verify a certificate that a CA returned against what was ordered: encoding, key, names, dates,
    purposes and serial number, then signature and chain (RFC 5280 6.1). The CA is not trusted: it may be
    compromised, or configured to change what it is asked for.

    Args:
        chain_der: the issuing CA first.
        trusted_roots: roots pinned for this CA. Empty for the own CA, whose chain is its own.

    Returns what the certificate says. Raises SignerMismatch with every difference found.
    """
    # 1. Decode all of it, each part once. What cannot be decoded is no certificate, whatever else is true.
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        tbs, algorithm_der, _ = inside(certificate_der)
        read = Reading(certificate, tbs)
        # Another encoding of the same values has another fingerprint, and other programs may refuse it.
        if certificate.public_bytes(Encoding.DER) != certificate_der:
            raise ValueError("not the DER that was sent")
        facts = _facts(read, certificate_der, expectation.spki_sha256)
    except UNREADABLE as exc:
        raise SignerMismatch([f"it is not a readable certificate ({type(exc).__name__})"]) from exc
    # 2. Compare it with the order.
    wrong = _differences(facts, expectation, now)
    # 3. Look for rights that nobody ordered: a CA certificate in the wrong hands signs for every name.
    wrong += _extension_problems(read, expectation)
    # 4. Verify the signature and the chain. Extensions of the chain are decoded here for the first time.
    try:
        wrong += _chain_problems(certificate, read, algorithm_der, chain_der, trusted_roots, now)
    except UNREADABLE as exc:
        raise SignerMismatch([f"its chain cannot be judged ({type(exc).__name__})"]) from exc
    if wrong:
        raise SignerMismatch(wrong)
    return facts


def _facts(read: Reading, der: bytes, expected_key: str) -> CertificateFacts:
    """Return the content. Raises ValueError for a certificate that could not be one of ours, whatever was ordered."""
    key, as_written = facts_of_spki(read.spki_der), spki_sha256(read.spki_der)
    if key is None:
        raise ValueError("a key of no known kind")
    if x509.SubjectAlternativeName.oid not in read.extensions:
        raise ValueError("no names")
    if any(kind not in (x509.DNSName, x509.IPAddress) for kind, _ in read.names):
        raise ValueError("names that are neither DNS nor IP")
    # A CA may write the same key in another way, such as without the NULL of its algorithm. Only then is the key decoded and
    # hashed in its usual form; the octets as they stand are enough nearly always.
    return CertificateFacts(
        serial_number=read.serial_number,
        not_before=read.not_before,
        not_after=read.not_after,
        common_name=next(iter(read.common_names), ""),
        dns_names=tuple(name for kind, name in read.names if kind is x509.DNSName),
        ip_addresses=tuple(str(name) for kind, name in read.names if kind is x509.IPAddress),
        spki_sha256=as_written if as_written == expected_key else spki_sha256(read.public_key),
        sha256_fingerprint=hashlib.sha256(der).hexdigest(),
        key=key,
        crl_url=_crl_url(read),
    )


def _crl_url(read: Reading) -> str:
    """Return the address of the CRL, which says in which shard of the CA the certificate is; "" for none."""
    points = read.value(x509.CRLDistributionPoints) or ()
    return next((str(name.value) for point in points for name in point.full_name or ()), "")


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names and IP addresses of a certificate's SAN, as text; empty when it has none."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return []
    return [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]


def _differences(facts: CertificateFacts, expected: Expectation, now: datetime) -> list[str]:
    """Return every difference, not the first: a person who has to find a wrong setting of the CA needs all of them."""
    wrong: list[str] = []
    if facts.spki_sha256 != expected.spki_sha256:
        wrong.append("it certifies another public key")
    if sorted(facts.dns_names) != sorted(expected.dns_names):
        wrong.append(f"DNS names are {', '.join(facts.dns_names) or 'none'}")
    if sorted(facts.ip_addresses) != sorted(expected.ip_addresses):
        wrong.append(f"IP addresses are {', '.join(facts.ip_addresses) or 'none'}")
    if facts.common_name and facts.common_name != expected.common_name:
        wrong.append(f"the common name is {facts.common_name}")
    # Predictable serial numbers let an attacker prepare a collision; longer ones are not of RFC 5280 4.1.2.2.
    if not 0 < facts.serial_number < 1 << 159 or facts.serial_number.bit_length() < 64:
        wrong.append("the serial number is not between 64 and 159 bits")
    return wrong + _date_problems(facts, expected, now)


def _date_problems(facts: CertificateFacts, expected: Expectation, now: datetime) -> list[str]:
    wrong = []
    # An older one belongs to another order, or is back-dated further than any relying party needs.
    if facts.not_before < expected.not_before_min:
        wrong.append(f"notBefore {facts.not_before:%Y-%m-%dT%H:%M:%SZ} is before the order was made")
    if facts.not_before > now + CLOCK_TOLERANCE:
        wrong.append(f"notBefore {facts.not_before:%Y-%m-%dT%H:%M:%SZ} is in the future")
    if facts.not_after <= now:
        wrong.append(f"it expired at {facts.not_after:%Y-%m-%dT%H:%M:%SZ}")
    # Both ends belong to the validity (RFC 5280 4.1.2.5), hence the second.
    life = facts.not_after - facts.not_before + timedelta(seconds=1)
    if expected.not_after_max is not None and facts.not_after > expected.not_after_max:
        wrong.append(f"it ends at {facts.not_after:%Y-%m-%dT%H:%M:%SZ}, after the {expected.not_after_max:%Y-%m-%dT%H:%M:%SZ} ordered")
    if expected.validity_max is not None and life > expected.validity_max:
        wrong.append(f"it is valid for {life}, longer than the {expected.validity_max} ordered")
    return wrong


def chain_problems(chain_der: tuple[bytes, ...], *, now: datetime) -> list[str]:
    """Return what is wrong with the chain of a CA itself, issuing CA first and root last (RFC 5280 6.1): signatures, CA bit, key
    usage, path length, validity, keys. Empty for one that certificates can be verified with.
    """
    if not chain_der or _loaded(chain_der[-1]) is None:
        return ["the chain cannot be read"]
    chain = _chain(chain_der)
    wrong = list(chain.wrong)
    for not_before, not_after, name in chain.validities:
        if not not_before - CLOCK_TOLERANCE <= now <= not_after:
            wrong.append(f"the chain's {name} is not valid now")
    root = x509.load_der_x509_certificate(chain_der[-1])
    if root.subject != root.issuer:
        wrong.append("the chain does not end in a self-issued root")
    return wrong


def name_constraints_of(chain_der: tuple[bytes, ...]) -> list[str]:
    """Return the name constraints along a chain in words: what the CA may certify (RFC 5280 4.2.1.10)."""
    found = []
    for constraints, name in _chain(chain_der).name_constraints:
        permitted = ", ".join(str(tree.value) for tree in constraints.permitted_subtrees or ())
        excluded = ", ".join(str(tree.value) for tree in constraints.excluded_subtrees or ())
        found.append(f"{name} may certify {f'only {permitted}' if permitted else 'everything'}{f' but not {excluded}' if excluded else ''}")
    return found


def _extension_problems(read: Reading, expected: Expectation) -> list[str]:
    # 1. A client that does not know a critical extension refuses the certificate (RFC 5280 4.2).
    wrong = [
        f"it has the critical extension {oid.dotted_string}"
        for oid, extension in read.extensions.items()
        if extension.critical and oid not in _MAY_BE_CRITICAL
    ]
    # 2. The rights of a CA, in either of the two places that give them.
    constraints = read.value(x509.BasicConstraints)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        wrong.append("it is a CA certificate")
    # 3. Exactly the purposes ordered. An absent list means every purpose (RFC 5280 4.2.1.12), code signing among them.
    eku = read.value(x509.ExtendedKeyUsage)
    found = {EKU_NAMES.get(oid, oid.dotted_string) for oid in eku} if isinstance(eku, x509.ExtendedKeyUsage) else set()
    if found != set(expected.ekus):
        wrong.append(f"extended key usages are {', '.join(sorted(found)) or 'absent'}")
    usage = read.value(x509.KeyUsage)
    if isinstance(usage, x509.KeyUsage) and (usage.key_cert_sign or usage.crl_sign):
        wrong.append("its key usage would let it sign certificates or CRLs")
    return wrong


def _chain_problems(
    certificate: x509.Certificate,
    read: Reading,
    algorithm_der: bytes,
    chain_der: tuple[bytes, ...],
    roots: tuple[bytes, ...],
    now: datetime,
) -> list[str]:
    """Return what is wrong between the certificate and a root.

    `algorithm_der` is the AlgorithmIdentifier outside of what is signed.
    """
    if not chain_der:
        return ["no chain came with it"]
    # 1. The links among themselves: signatures, CA bits, path lengths. The same for every certificate beneath them.
    chain = _chain(chain_der)
    wrong = [*chain.wrong]
    if chain.issuer is None:
        return [*wrong, "its issuer's certificate cannot be read"]
    # 2. The signature of the issuing CA. Without it nothing else means anything.
    if not _is_signed_by(certificate, read, algorithm_der, chain.issuer):
        wrong.append("it is not signed by the CA's certificate")
    digest = certificate.signature_hash_algorithm
    if digest is not None and digest.name not in _STRONG_HASHES:
        wrong.append(f"it is signed with {digest.name}")
    # 3. Clients build chains by key identifiers (RFC 5280 4.2.1.1): a wrong one hides a right signature from them.
    aki = read.value(x509.AuthorityKeyIdentifier)
    ski = chain.issuer.key_identifier
    if isinstance(aki, x509.AuthorityKeyIdentifier) and ski is not None and aki.key_identifier != ski:
        wrong.append("its authority key identifier is not its issuer's")
    # 4. The validity and the name constraints of the links.
    for not_before, not_after, name in chain.validities:
        if not not_before - CLOCK_TOLERANCE <= now <= not_after:
            wrong.append(f"the chain's {name} is not valid now")
    for constraints, link_name in chain.name_constraints:
        wrong += [f"{name} is outside what {link_name} may certify" for kind, name in read.names if not _permits(constraints, kind, name)]
    # 5. The root that was pinned when the CA was added: a chain to any other root proves nothing.
    if roots and chain_der[-1] not in roots:
        wrong.append("the chain does not end in the root pinned for this CA")
    return wrong


def _is_signed_by(certificate: x509.Certificate, read: Reading, algorithm_der: bytes, issuer: _Issuer) -> bool:
    digest = certificate.signature_hash_algorithm if certificate.signature_algorithm_oid in _ECDSA else None
    # RFC 5280 4.1.1.2: the algorithm outside must be the one that is signed, or it could be exchanged for another.
    same = (read.algorithm_der, read.issuer_der) == (algorithm_der, issuer.subject_der)
    try:
        if same and issuer.ec_key is not None and digest is not None:
            # What pyca's method checks, with a key that is not loaded anew for each certificate.
            issuer.ec_key.verify(certificate.signature, read.tbs, ecdsa_with(digest))
        else:
            certificate.verify_directly_issued_by(issuer.certificate)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


class _Issuer(NamedTuple):
    """What is the same for every certificate of an issuer."""

    certificate: x509.Certificate
    subject_der: bytes
    ec_key: ec.EllipticCurvePublicKey | None
    key_identifier: bytes | None


class _Chain(NamedTuple):
    """What is the same for every certificate beneath a chain: the issuer, what is wrong with the links, their validities (with
    their names), and their name constraints.
    """

    issuer: _Issuer | None
    wrong: tuple[str, ...]
    validities: tuple[tuple[datetime, datetime, str], ...]
    name_constraints: tuple[tuple[x509.NameConstraints, str], ...]


@lru_cache(maxsize=256)
def _chain(chain_der: tuple[bytes, ...]) -> _Chain:
    """Decode and verify a chain once for all certificates beneath it."""
    # Nothing that depends on the time is decided here: the result is kept, and a link may expire.
    links = [link for der in chain_der if (link := _loaded(der)) is not None]
    names = [link.subject.rfc4514_string() for link in links]
    issuer = _loaded(chain_der[0])
    return _Chain(
        _issuer(issuer) if issuer is not None else None,
        _links_problems(chain_der),
        tuple((link.not_valid_before_utc, link.not_valid_after_utc, name) for link, name in zip(links, names, strict=True)),
        tuple(
            (e.value, name)
            for link, name in zip(links, names, strict=True)
            for e in link.extensions
            if isinstance(e.value, x509.NameConstraints)
        ),
    )


def _issuer(certificate: x509.Certificate) -> _Issuer:
    read = Reading(certificate, certificate.tbs_certificate_bytes)
    ski = read.value(x509.SubjectKeyIdentifier)
    key = read.public_key if isinstance(read.public_key, ec.EllipticCurvePublicKey) else None
    return _Issuer(certificate, read.subject_der, key, ski.digest if ski is not None else None)


def _permits(found: x509.NameConstraints, kind: type[x509.GeneralName], name: Any) -> bool:
    """Return whether name constraints allow a DNS name or an IP address (RFC 5280 4.2.1.10)."""

    def within(tree: x509.GeneralName) -> bool:
        if kind is x509.IPAddress:
            return name in tree.value
        host, domain = name.removeprefix("*."), str(tree.value).lstrip(".")
        return domain in ("", host) or host.endswith("." + domain)

    # Constraints restrict only names of their own form: a CA that is held to a domain may certify every address.
    permitted = [tree for tree in found.permitted_subtrees or () if isinstance(tree, kind)]
    excluded = [tree for tree in found.excluded_subtrees or () if isinstance(tree, kind)]
    return (not permitted or any(map(within, permitted))) and not any(map(within, excluded))


@lru_cache(maxsize=256)
def _loaded(der: bytes) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(der)
    except UNREADABLE:
        return None


def _links_problems(chain_der: tuple[bytes, ...]) -> tuple[str, ...]:
    """Return what is wrong along a chain (signatures, CA bits, path lengths): the same for every certificate beneath
    it, so verified once.
    """
    links = [_loaded(der) for der in chain_der]
    if any(link is None for link in links):
        return ("the chain cannot be read",)
    wrong: list[str] = []
    for depth, link in enumerate(links):
        assert link is not None
        # The last link is compared with itself: the root signs itself.
        parent = links[min(depth + 1, len(links) - 1)]
        assert parent is not None
        try:
            link.verify_directly_issued_by(parent)
        except (InvalidSignature, ValueError, TypeError):
            wrong.append(f"the chain's {link.subject.rfc4514_string()} is not signed by the next link")
        wrong += _ca_problems(link, depth)
    return tuple(wrong)


def _ca_problems(link: x509.Certificate, depth: int) -> list[str]:
    name = link.subject.rfc4514_string()
    try:
        constraints = link.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = link.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return [f"the chain's {name} lacks basic constraints or key usage"]
    wrong = []
    if not constraints.ca or not usage.key_cert_sign:
        wrong.append(f"the chain's {name} is not a CA")
    key = facts_of(link.public_key())
    if key is None or (key.family == "rsa" and key.bits < _SMALLEST_CA_RSA):
        wrong.append(f"the chain's {name} has a weak or unknown key")
    # `depth`: how many CAs stand below it in the chain, which is what a path length counts (RFC 5280 4.2.1.9).
    if constraints.path_length is not None and constraints.path_length < depth:
        wrong.append(f"the chain is longer than {name} allows")
    return wrong
