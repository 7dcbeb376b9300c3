"""CRLs written by hand are, octet for octet, what pyca's builder writes; it is only too slow for many entries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from certs.x509.asn1.writer import signature_algorithm
from certs.x509.crl import REASON_CODES, CRLFrame, Entry, crl_around, encode_entries, read_entries, stamp
from keys.signing import sign_message, signing_hash
from tests.certs.x509.certificate.chains import ISSUER_KINDS, NOW, Issuer, issuer_of, key_of

DATES = st.integers(631152000, 3786912000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))  # 1990 to 2089
ENTRIES = st.lists(
    st.builds(
        lambda serial, at, reason, since: (serial, at, reason, since),
        st.integers(1, (1 << 159) - 1),
        DATES,
        st.sampled_from(sorted(REASON_CODES)),
        st.none() | DATES,
    ),
    max_size=20,
    unique_by=lambda entry: entry[0],
)


def written(entries: list[Any]) -> bytes:
    return encode_entries(Entry(f"{serial:x}", stamp(at), reason, stamp(since) if since else "") for serial, at, reason, since in entries)


def signed(issuer: Issuer, run: bytes, *, number: int = 7, url: str = "", days: int = 4) -> bytes:
    frame = CRLFrame(issuer.certificate, number, NOW, NOW + timedelta(days=days), url)
    tbs = frame.before(len(run)) + run + frame.after()
    header, behind = crl_around(issuer.certificate.public_key(), len(tbs), sign_message(issuer.key, tbs))
    return header + tbs + behind


def by_pyca(issuer: Issuer, entries: list[Any], *, number: int, url: str, days: int = 4) -> x509.CertificateRevocationList:
    ski = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(NOW).next_update(NOW + timedelta(days=days))
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), critical=False)
    builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    if url:
        point = x509.IssuingDistributionPoint([x509.UniformResourceIdentifier(url)], None, False, False, None, False, False)
        builder = builder.add_extension(point, critical=True)
    for serial, at, reason, since in entries:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at)
        if reason != "unspecified":
            entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags(reason)), critical=False)
        if since is not None:
            entry = entry.add_extension(x509.InvalidityDate(since.replace(tzinfo=None)), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, signing_hash(issuer.key.public_key()))


@given(ENTRIES, st.integers(0, 1 << 62), st.sampled_from(["", "http://pki.example.com/pki/crl/a/1.crl"]))
def test_crl_is_what_the_library_writes(entries: list[Any], number: int, url: str) -> None:
    issuer = issuer_of("p-256")
    made = x509.load_der_x509_crl(signed(issuer, written(entries), number=number, url=url))
    assert made.tbs_certlist_bytes == by_pyca(issuer, entries, number=number, url=url).tbs_certlist_bytes


@pytest.mark.parametrize("kind", ISSUER_KINDS)
def test_signature_is_right_under_every_kind_of_key(kind: str) -> None:
    issuer = issuer_of(kind)
    made = x509.load_der_x509_crl(signed(issuer, written([(5, NOW, "superseded", None)])))
    assert made.is_signature_valid(issuer.key.public_key())


@pytest.mark.parametrize("kind", ["p-256", "p-384", "p-521", "rsa-2048", "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"])
def test_signature_algorithm_is_what_the_library_names(kind: str) -> None:
    key = key_of(kind)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, signing_hash(key.public_key()))
    assert signature_algorithm(key.public_key()) in csr.public_bytes(Encoding.DER)[len(csr.tbs_certrequest_bytes) :]


@given(ENTRIES)
def test_entries_are_read_back(entries: list[Any]) -> None:
    assert list(read_entries(written(entries))) == [(f"{serial:x}", REASON_CODES[reason]) for serial, _, reason, _ in entries]


def test_list_of_nobody_has_no_list() -> None:
    """RevokedCertificates must be absent when there are none (RFC 5280 5.1.2.6)."""
    issuer = issuer_of("p-256")
    made = x509.load_der_x509_crl(signed(issuer, b""))
    assert (len(made), made.tbs_certlist_bytes) == (0, by_pyca(issuer, [], number=7, url="").tbs_certlist_bytes)


def test_lengths_grow_by_every_octet() -> None:
    """Across the sizes at which a DER length takes one octet more."""
    issuer = issuer_of("p-256")
    for count in (1, 2, 3, 4, 5, 6, 1500, 1700, 1800, 2000):
        entries = [(serial, NOW, "unspecified", None) for serial in range(1 << 150, (1 << 150) + count)]
        assert len(x509.load_der_x509_crl(signed(issuer, written(entries)))) == count
