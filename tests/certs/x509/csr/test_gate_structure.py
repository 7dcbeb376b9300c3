"""Truly signed requests whose octets break a rule: encodings, attributes, extensions, subjects, names."""

from __future__ import annotations

import pytest

from tests.certs.x509.csr.requests import (
    BC,
    CHALLENGE_PASSWORD,
    CN,
    COUNTRY,
    EKU,
    EMAIL,
    GOOD_ATTRIBUTES,
    KU,
    MS_EXTENSION_REQUEST,
    ORGANIZATION,
    OU,
    SAN,
    SPKI,
    attribute,
    dns,
    extension,
    judge,
    oid,
    rdn,
    request,
    requested,
    san,
    seq,
    tlv,
    with_extensions,
    with_names,
)

TRUE, FALSE = b"\x01\x01\xff", b"\x01\x01\x00"
SERVER_AUTH, CLIENT_AUTH = oid("1.3.6.1.5.5.7.3.1"), oid("1.3.6.1.5.5.7.3.2")
PASSWORD = attribute(CHALLENGE_PASSWORD, tlv(0x0C, b"hunter2"))
NAME = rdn(CN, b"a.example.test")


def subject(*parts: bytes) -> bytes:
    return request(subject=(*parts, NAME))


CASES: dict[str, tuple[bytes, str]] = {
    "plain": (request(), "accept"),
    # --- the frame
    "version 1": (request(version=b"\x02\x01\x01"), "malformed"),
    "version -1": (request(version=b"\x02\x01\xff"), "malformed"),
    "version 0 in two octets": (request(version=b"\x02\x02\x00\x00"), "malformed"),
    "version left out": (request(version=b""), "malformed"),
    "version as boolean": (request(version=b"\x01\x01\x00"), "malformed"),
    "attributes left out": (request(attribute_set=b""), "accept_normalise"),
    "attributes in [1]": (request(attribute_set=tlv(0xA1, *GOOD_ATTRIBUTES)), "malformed"),
    "no attribute": (request(attributes=()), "accept_normalise"),
    "unused bits in the signature": (request(unused_bits=b"\x01"), "malformed"),
    "something behind the signature": (request(behind=b"\x05\x00"), "malformed"),
    "octets behind the request": (request() + b"\x00", "malformed"),
    "length in long form": (b"\x30\x84\x00\x00" + request()[2:], "malformed"),
    "cut off": (request()[:-1], "malformed"),
    "attributes out of order": (
        request(attribute_set=tlv(0xA0, *sorted([*GOOD_ATTRIBUTES, PASSWORD], reverse=True))),
        "accept_normalise",
    ),
    "nested 5000 deep": (request(attributes=(attribute("1.2.3.4", b"\x30\x80" * 2500),)), "malformed"),
    "signature parameters": (request(algorithm=seq(oid("1.2.840.10045.4.3.2"), b"\x05\x00")), "malformed"),
    "signature algorithm of another key": (request(algorithm=seq(oid("1.2.840.113549.1.1.11"), b"\x05\x00")), "bad_signature"),
    "unknown signature algorithm": (request(algorithm=seq(oid("1.2.3.4.5"))), "bad_signature"),
    "ecdsa with sha-1": (request(algorithm=seq(oid("1.2.840.10045.4.1"))), "weak_signature_hash"),
    "ecdsa with sha-224": (request(algorithm=seq(oid("1.2.840.10045.4.3.1"))), "weak_signature_hash"),
    "key with unused bits": (request(spki=SPKI.replace(b"\x03\x42\x00", b"\x03\x42\x01")), "malformed"),
    "point not on the curve": (request(spki=SPKI[:-1] + bytes([SPKI[-1] ^ 1])), "malformed"),
    # --- attributes
    "challenge password": (request(attributes=sorted([*GOOD_ATTRIBUTES, PASSWORD])), "accept_strip"),
    "unknown attribute": (request(attributes=sorted([*GOOD_ATTRIBUTES, attribute("1.2.3.4", b"\x05\x00")])), "accept_strip"),
    "extension request twice": (request(attributes=sorted([*GOOD_ATTRIBUTES, requested(san("b.example.test"))])), "duplicate_extension"),
    "extension request by both its numbers": (
        request(attributes=sorted([*GOOD_ATTRIBUTES, requested(san("b.example.test"), kind=MS_EXTENSION_REQUEST)])),
        "duplicate_extension",
    ),
    "two values in the extension request": (
        request(attributes=(attribute("1.2.840.113549.1.9.14", *sorted([seq(san("a.example.test")), seq(san("b.example.test"))])),)),
        "duplicate_extension",
    ),
    "no value in the extension request": (request(attributes=(attribute("1.2.840.113549.1.9.14"),)), "malformed"),
    # --- extensions
    "same name extension twice": (with_extensions(san("a.example.test")), "duplicate_extension"),
    "unknown extension twice": (with_extensions(*[extension("1.2.3.4", b"\x05\x00")] * 2), "duplicate_extension"),
    "criticality false written out": (with_extensions(extension(BC, b"\x30\x00", critical=FALSE)), "accept_normalise"),
    "criticality 01": (with_extensions(extension(BC, b"\x30\x00", critical=b"\x01\x01\x01")), "malformed"),
    "basic constraints empty": (with_extensions(extension(BC, b"\x30\x00", critical=TRUE)), "accept"),
    "basic constraints false written out": (with_extensions(extension(BC, seq(FALSE))), "accept_strip"),
    "basic constraints true": (with_extensions(extension(BC, seq(TRUE))), "forbidden_extension"),
    "basic constraints true in BER": (with_extensions(extension(BC, seq(b"\x01\x01\x01"))), "malformed"),
    "basic constraints with a tail": (with_extensions(extension(BC, b"\x30\x00\x00")), "malformed"),
    "key usage of a server": (with_extensions(extension(KU, b"\x03\x02\x05\xa0", critical=TRUE)), "accept"),
    "key usage with non-repudiation": (with_extensions(extension(KU, b"\x03\x02\x05\xe0")), "accept_strip"),
    "key usage of a CA": (with_extensions(extension(KU, b"\x03\x02\x01\x06")), "forbidden_extension"),
    "key usage with a set unused bit": (with_extensions(extension(KU, b"\x03\x02\x05\xa1")), "malformed"),
    "server purpose": (with_extensions(extension(EKU, seq(SERVER_AUTH))), "accept"),
    "client purpose": (with_extensions(extension(EKU, seq(SERVER_AUTH, CLIENT_AUTH))), "accept_strip"),
    "no purpose": (with_extensions(extension(EKU, seq())), "malformed"),
    "signing time stamps": (with_extensions(extension(EKU, seq(SERVER_AUTH, oid("1.3.6.1.5.5.7.3.8")))), "forbidden_extension"),
    "policy constraints": (with_extensions(extension("2.5.29.36", b"\x30\x00")), "forbidden_extension"),
    "inhibit any policy": (with_extensions(extension("2.5.29.54", b"\x02\x01\x00")), "forbidden_extension"),
    "unknown and critical": (with_extensions(extension("1.2.3.4", b"\x05\x00", critical=TRUE)), "forbidden_extension"),
    "extension with an endless identifier": (with_extensions(seq(tlv(6, b"\x2a" + b"\x81" * 200 + b"\x01"), tlv(4, b""))), "malformed"),
    # --- subject
    "organizational unit": (subject(rdn(OU, b"Web")), "accept_strip"),
    "mail address": (subject(rdn(EMAIL, b"root@example.test", 0x16)), "accept_strip"),
    "mail address beyond ASCII": (subject(rdn(EMAIL, b"r\xf6ot@example.test", 0x16)), "malformed"),
    "country": (subject(rdn(COUNTRY, b"DE", 0x13)), "accept_strip"),
    "country of one letter": (subject(rdn(COUNTRY, b"D", 0x13)), "malformed"),
    "country of digits": (subject(rdn(COUNTRY, b"49", 0x13)), "malformed"),
    "printable string with a star": (subject(rdn(ORGANIZATION, b"a*b", 0x13)), "accept"),
    "organization as an integer": (subject(rdn(ORGANIZATION, b"\x05", 0x02)), "malformed"),
    "organization as octets": (subject(rdn(ORGANIZATION, b"x", 0x04)), "malformed"),
    "constructed string": (subject(rdn(ORGANIZATION, tlv(0x0C, b"x"), 0x2C)), "malformed"),
    "UTF-8 surrogate": (subject(rdn(ORGANIZATION, b"\xed\xa0\x80")), "malformed"),
    "UTF-8 overlong": (subject(rdn(ORGANIZATION, b"\xc0\xaf")), "malformed"),
    "BMP surrogate pair": (subject(rdn(ORGANIZATION, b"\xd8\x3d\xde\x00", 0x1E)), "malformed"),
    "BMP text": (subject(rdn(ORGANIZATION, "Büro".encode("utf-16-be"), 0x1E)), "accept"),
    "BMP with a right-to-left override": (subject(rdn(ORGANIZATION, "a\u202eb".encode("utf-16-be"), 0x1E)), "unsafe_subject"),
    "universal string of three octets": (subject(rdn(ORGANIZATION, b"\x00\x00A", 0x1C)), "malformed"),
    "line separator": (subject(rdn(ORGANIZATION, "a\u2028b".encode())), "unsafe_subject"),
    "soft hyphen": (subject(rdn(ORGANIZATION, "a\u00adb".encode())), "unsafe_subject"),
    "delete": (subject(rdn(ORGANIZATION, b"a\x7fb")), "unsafe_subject"),
    "jinja comment": (subject(rdn(ORGANIZATION, b"{# x #}")), "unsafe_subject"),
    "server page": (subject(rdn(ORGANIZATION, b"<% x %>")), "unsafe_subject"),
    "tab before a formula": (subject(rdn(ORGANIZATION, b"\t=1+1")), "unsafe_subject"),
    "21 attributes": (subject(*[rdn(OU, b"x")] * 20), "unsafe_subject"),
    "20 attributes": (subject(*[rdn(OU, b"x")] * 19), "accept_strip"),
    "21 attributes in one part": (subject(tlv(0x31, *[seq(oid(OU), tlv(0x0C, b"%02d" % n)) for n in range(20)])), "unsafe_subject"),
    "empty part": (subject(tlv(0x31)), "malformed"),
    "two values in one part out of order": (
        subject(tlv(0x31, seq(oid(OU), tlv(0x0C, b"b")), seq(oid(OU), tlv(0x0C, b"a")))),
        "accept_normalise",
    ),
    "two common names, one not among the names": (subject(rdn(CN, b"evil.example.org")), "bad_name"),
    "organizational unit of 65": (subject(rdn(OU, b"x" * 65)), "subject_too_long"),
    "organization of 64": (subject(rdn(ORGANIZATION, b"x" * 64)), "accept"),
    # --- names
    "names without a common name": (with_names("a.example.test"), "accept_normalise"),
    "no names": (request(subject=(), attributes=()), "no_identity"),
    "subject without a common name, no names": (request(subject=(rdn(ORGANIZATION, b"x"),), attributes=()), "no_identity"),
    "common name of a person, no names": (request(subject=(rdn(CN, b"Jane Doe"),), attributes=()), "no_identity"),
    "common name of another domain, no names": (request(subject=(rdn(CN, b"a.example.org"),), attributes=()), "forbidden_name"),
    "common name is an address, no names": (request(subject=(rdn(CN, b"10.0.0.1"),), attributes=()), "accept_normalise"),
    "empty list of names": (request(attributes=(requested(extension(SAN, seq())),)), "malformed"),
    "names as a string": (request(attributes=(requested(extension(SAN, tlv(0x0C, b"a.example.test"))),)), "malformed"),
    "a tail behind the names": (request(attributes=(requested(extension(SAN, dns("a.example.test") + b"\x00")),)), "malformed"),
    "unknown kind of name": (request(attributes=(requested(extension(SAN, seq(tlv(0x89, b"x")))),)), "malformed"),
    "directory name": (request(attributes=(requested(extension(SAN, seq(tlv(0xA4, seq(NAME))))),)), "forbidden_name"),
    "address of 16 octets": (request(attributes=(requested(extension(SAN, seq(tlv(0x87, bytes(16))))),)), "bad_name"),
    "address of 8 octets": (request(attributes=(requested(extension(SAN, seq(tlv(0x87, bytes(8))))),)), "malformed"),
    "NUL in a name": (with_names("a.example.test\x00.evil.org"), "bad_name"),
    "percent escape in a name": (with_names("a%2eexample.test"), "bad_name"),
    "IPv6 as a name": (with_names("2001:db8::1"), "bad_name"),
    "bracketed IPv6 as a name": (with_names("[2001:db8::1]"), "bad_name"),
    "network as a name": (with_names("10.0.0.0/8"), "bad_name"),
    "254 octets": (with_names(".".join(["a" * 62] * 3 + ["b" * 52]) + ".example.test"), "bad_name"),
    "253 octets": (with_names(".".join(["a" * 62] * 3 + ["b" * 51]) + ".example.test"), "accept_normalise"),
    "mixed case A-label": (with_names("XN--BCHER-KVA.example.test"), "accept_normalise"),
    "A-label of plain letters": (with_names("xn--abc-.example.test"), "bad_name"),
    "A-label of a symbol": (with_names("xn--ls8h.example.test"), "bad_name"),
    "star in the domain": (with_names("a.*.test"), "bad_name"),
    "star and A-label": (with_names("*.xn--bcher-kva.example.test"), "accept_normalise"),
    "star above the domain": (with_names("*.test"), "forbidden_name"),
    "domain as a prefix": (with_names("example.test.org"), "forbidden_name"),
    "home network": (with_names("nas.lan"), "forbidden_name"),
}


@pytest.mark.parametrize("kind", CASES)
def test_signed_request_is_judged_for_what_it_breaks(kind: str) -> None:
    data, expected = CASES[kind]
    assert judge(data) == ((expected, "") if expected.startswith("accept") else ("reject", expected))


def test_criticality_true_in_the_request_is_taken() -> None:
    assert judge(request(attributes=(requested(extension(SAN, dns("a.example.test"), critical=TRUE)),))) == ("accept", "")
