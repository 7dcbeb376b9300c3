"""The TBSCertificate of an end entity, put together from parts that are the same for a whole profile and issuer. Pure.

pyca's builder makes the first one of its kind; from it come the parts that do not change. Only serial, validity, subject,
public key, names and key identifier are written for each certificate, byte for byte as the builder would write them (a
property test compares the two), in a fifth of its time. The linter parses the result like any other TBS.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_public_key

from certs.x509.asn1 import reader
from certs.x509.asn1.writer import extension, integer, time, tlv
from certs.x509.certificate.profiles import Profile
from certs.x509.certificate.tbs import UnsignedCertificate, build_tbs
from keys.spec import facts_of

_SAN, _SKI = bytes.fromhex("0603551d11"), bytes.fromhex("0603551d0e")
_COMMON_NAME, _ORGANIZATION = bytes.fromhex("0603550403"), bytes.fromhex("060355040a")
_UB_COMMON_NAME = 64


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where relying parties find the CRL, the OCSP responder and the issuer's certificate."""

    crl: str
    ocsp: str
    ca_issuers: str


class Subject(NamedTuple):
    """The names of a certificate, and the public key that it certifies."""

    spki_der: bytes
    common_name: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    organization: str


@dataclass(frozen=True, slots=True)
class _Template:
    version: bytes
    algorithm_and_issuer: tuple[bytes, bytes]
    extensions: tuple[bytes, ...]  # empty where the names and the key identifier go


def splice_tbs(
    *,
    profile: Profile,
    issuer_der: bytes,
    subject: Subject,
    serial: int,
    not_before: datetime,
    not_after: datetime,
    addresses: Addresses,
) -> UnsignedCertificate:
    """Return what `build_tbs` makes of the same, faster. `not_after` is the last second of validity (RFC 5280 4.1.2.5: inclusive)."""
    # 1. The parts that all certificates of this profile, issuer and kind of key share.
    algorithm, _ = reader.inside(subject.spki_der)
    template = _template(profile, issuer_der, _family(algorithm, subject.spki_der), addresses)
    # 2. The two extensions that are each certificate's own. The SAN is critical exactly where the subject is empty (RFC 5280
    #    4.2.1.6); an empty subject is the empty SEQUENCE.
    name = _name(subject)
    own = {
        _SAN: extension(_SAN, _general_names(subject), critical=name == b"\x30\x00"),
        _SKI: extension(_SKI, tlv(0x04, reader.key_identifier(subject.spki_der))),
    }
    extensions = b"".join(own.get(part, part) for part in template.extensions)
    # 3. TBSCertificate in the order of RFC 5280 4.1. The SPKI is copied as it was checked: the digest by which the key is known,
    #    owned and blocked here is over these octets.
    signature_algorithm, issuer_name = template.algorithm_and_issuer
    tbs = tlv(
        reader.SEQUENCE,
        template.version,
        integer(serial),
        signature_algorithm,
        issuer_name,
        tlv(reader.SEQUENCE, time(not_before), time(not_after)),
        name,
        subject.spki_der,
        tlv(0xA3, tlv(reader.SEQUENCE, extensions)),
    )
    return UnsignedCertificate(tbs, signature_algorithm)


@lru_cache(maxsize=256)
def _template(profile: Profile, issuer_der: bytes, sample: bytes, addresses: Addresses) -> _Template:
    issuer = x509.load_der_x509_certificate(issuer_der)
    # Names and dates of the sample are in none of the parts that are kept.
    made = build_tbs(
        profile=profile,
        issuer=issuer,
        spki_der=sample,
        common_name="template.invalid",
        dns_names=("template.invalid",),
        ip_addresses=(),
        organization="",
        serial=1 << 100,
        not_before=issuer.not_valid_before_utc,
        not_after=issuer.not_valid_after_utc,
        crl_url=addresses.crl,
        ocsp_url=addresses.ocsp,
        ca_issuers_url=addresses.ca_issuers,
    )
    version, _, algorithm, issuer_name, _, _, _, wrapped = reader.parse(made.tbs).children
    extensions = tuple(_part(node) for node in wrapped.child(0).children)
    return _Template(version.raw, (algorithm.raw, issuer_name.raw), extensions)


def _part(node: reader.Node) -> bytes:
    """Return an extension as it is, or only its OID when its value is each certificate's own."""
    oid = node.child(0).raw
    return oid if oid in (_SAN, _SKI) else node.raw


_samples: dict[bytes, bytes] = {}
_MOST_SAMPLES = 64


def _family(algorithm: bytes, spki: bytes) -> bytes:
    """Return one public key that stands for all of its algorithm: what a profile says about key usage depends on that alone."""
    if algorithm not in _samples:
        if facts_of(load_der_public_key(spki)) is None:
            raise ValueError("no certificate is made for this kind of key")
        if len(_samples) >= _MOST_SAMPLES:
            _samples.clear()
        _samples[algorithm] = spki
    return _samples[algorithm]


def _name(subject: Subject) -> bytes:
    """Return an RDNSequence: O, then CN unless it is longer than ub-common-name; UTF8String as the builder writes them."""
    common = subject.common_name if len(subject.common_name) <= _UB_COMMON_NAME else ""
    parts = [(_ORGANIZATION, subject.organization), (_COMMON_NAME, common)]
    return tlv(
        reader.SEQUENCE,
        *(tlv(reader.SET, tlv(reader.SEQUENCE, oid, tlv(reader.UTF8_STRING, text.encode()))) for oid, text in parts if text),
    )


def _general_names(subject: Subject) -> bytes:
    """Return GeneralNames: dNSName [2] IA5String, iPAddress [7] OCTET STRING (RFC 5280 4.2.1.6)."""
    dns = [tlv(0x82, name.encode("ascii")) for name in subject.dns_names]
    addresses = [tlv(0x87, ipaddress.ip_address(text).packed) for text in subject.ip_addresses]
    return tlv(reader.SEQUENCE, *dns, *addresses)
