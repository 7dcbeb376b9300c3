"""The gate over requests made by a library: names, pastes, keys, subjects, extensions, and damaged octets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    pkcs7,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.errors import CSRRefused
from certs.x509.csr.gate import read_csr
from keys.spec import spki_sha256

P256 = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
Extension = tuple[x509.ExtensionType, bool]


def verdict(data: bytes, **options: Any) -> tuple[str, str]:
    try:
        return read_csr(data, domains=("example.test",), **options).verdict, ""
    except CSRRefused as refused:
        return "reject", str(refused.refusal)


def make(
    *names: str,
    cn: str | None = None,
    key: Any = P256,
    subject: list[x509.NameAttribute[str]] | None = None,
    extensions: list[Extension] | None = None,
    san: list[x509.GeneralName] | None = None,
    attributes: list[tuple[ObjectIdentifier, bytes]] | None = None,
    digest: Any = None,
) -> bytes:
    parts = (
        subject
        if subject is not None
        else [x509.NameAttribute(NameOID.COMMON_NAME, cn or names[0], _validate=False)]
        if (cn or names)
        else []
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(parts))
    general = san if san is not None else [x509.DNSName(name) for name in names]
    if general:
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    for extension, critical in extensions or []:
        builder = builder.add_extension(extension, critical=critical)
    for oid, value in attributes or []:
        builder = builder.add_attribute(oid, value)
    none = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return builder.sign(key, None if none else digest or hashes.SHA256()).public_bytes(Encoding.PEM)


GOOD = make("a.example.test", "b.example.test")


def test_good_csr_is_read_whole() -> None:
    facts = read_csr(GOOD, domains=("example.test",))
    assert (facts.common_name, facts.dns_names, facts.key.name) == ("a.example.test", ("a.example.test", "b.example.test"), "ec-p256")
    assert facts.spki_sha256 == spki_sha256(P256.public_key())
    assert (facts.verdict, facts.storable) == ("accept", True)


NAMES: list[tuple[str, tuple[str, str]]] = [
    ("*.apps.example.test", ("accept", "")),
    ("*.example.test", ("reject", "forbidden_name")),
    ("*.*.example.test", ("reject", "bad_name")),
    ("a*.example.test", ("reject", "bad_name")),
    ("x.*.example.test", ("reject", "bad_name")),
    ("*", ("reject", "bad_name")),
    ("under_score.example.test", ("reject", "bad_name")),
    ("-a.example.test", ("reject", "bad_name")),
    ("a-.example.test", ("reject", "bad_name")),
    (".example.test", ("reject", "bad_name")),
    ("a..example.test", ("reject", "bad_name")),
    ("a.example.test.", ("reject", "bad_name")),
    ("a.example.test:443", ("reject", "bad_name")),
    ("https://a.example.test", ("reject", "bad_name")),
    ("a.example.test/x", ("reject", "bad_name")),
    ("a.example.test\n", ("reject", "bad_name")),
    ("a.exa mple.test", ("reject", "bad_name")),
    ("10.0.0.1", ("reject", "bad_name")),
    ("xn--a.example.test", ("reject", "bad_name")),
    ("xn--bcher-kva.example.test", ("accept", "")),
    ("ab--cd.example.test", ("reject", "bad_name")),
    ("evilexample.test", ("reject", "forbidden_name")),
    ("example.test.evil.org", ("reject", "forbidden_name")),
    ("host.local", ("reject", "forbidden_name")),
    ("db.internal", ("reject", "forbidden_name")),
    ("*.co.uk", ("reject", "forbidden_name")),
    ("com", ("reject", "forbidden_name")),
    ("localhost", ("reject", "forbidden_name")),
    ("a" * 64 + ".example.test", ("reject", "bad_name")),
    (".".join(["a" * 60] * 5) + ".example.test", ("reject", "bad_name")),
    ("example.test", ("accept", "")),
]


@pytest.mark.parametrize(("name", "expected"), NAMES, ids=[name[:40] for name, _ in NAMES])
def test_each_name_is_judged(name: str, expected: tuple[str, str]) -> None:
    assert verdict(make("good.example.test", san=[x509.DNSName("good.example.test"), x509.DNSName(name)])) == expected


def test_upper_case_and_double_names_are_normalised() -> None:
    facts = read_csr(make("A.example.test", "a.example.test", "B.Example.Test"), domains=("example.test",))
    assert (facts.dns_names, facts.verdict) == (("a.example.test", "b.example.test"), "accept_normalise")


def test_common_name_becomes_the_name_of_an_old_csr() -> None:
    facts = read_csr(make(cn="old.example.test"), domains=("example.test",))
    assert (facts.dns_names, facts.verdict) == (("old.example.test",), "accept_normalise")


def _self_signed() -> x509.Certificate:
    now = datetime.now(tz=UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example.test")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(P256.public_key()).serial_number(1)
    return builder.not_valid_before(now).not_valid_after(now + timedelta(1)).sign(P256, hashes.SHA256())


CERTIFICATE = _self_signed()
OTHERS: dict[str, tuple[bytes, str]] = {
    "certificate": (CERTIFICATE.public_bytes(Encoding.PEM), "wrong_object"),
    "pkcs7": (pkcs7.serialize_certificates([CERTIFICATE], Encoding.PEM), "wrong_object"),
    "pkcs7 der": (pkcs7.serialize_certificates([CERTIFICATE], Encoding.DER), "wrong_object"),
    "public key": (P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "wrong_object"),
    "ssh key": (P256.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH), "wrong_object"),
    "public jwk": (b'{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}', "wrong_object"),
    "two csrs": (GOOD + GOOD, "multiple_objects"),
    "csr and certificate": (GOOD + CERTIFICATE.public_bytes(Encoding.PEM), "multiple_objects"),
    "empty": (b"", "malformed"),
    "spaces": (b" \n\t", "malformed"),
    "html": (b"<html><body>404</body></html>", "malformed"),
    "json": (b'{"csr": "x"}', "malformed"),
    "utf-16": (GOOD.decode().encode("utf-16"), "malformed"),
    "zeros": (bytes(5000), "malformed"),
    "end only": (b"-----END CERTIFICATE REQUEST-----", "malformed"),
    "no end": (GOOD[:200], "malformed"),
    "label mismatch": (GOOD.replace(b"END CERTIFICATE REQUEST", b"END CERTIFICATE"), "malformed"),
    "lower case label": (GOOD.replace(b"BEGIN CERTIFICATE REQUEST", b"begin certificate request"), "malformed"),
    "bad base64": (GOOD.replace(b"M", b"!", 1), "malformed"),
    "cut base64": (b"\n".join(line for n, line in enumerate(GOOD.split(b"\n")) if n != 2), "malformed"),
    "pem headers": (GOOD.replace(b"-----\n", b"-----\nProc-Type: 4,ENCRYPTED\n\n", 1), "malformed"),
    "too large": (b"x" * 70_000 + b"\n" + GOOD, "too_large"),
    "huge": (b"A" * 3_000_000, "too_large"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_things_are_refused_for_what_they_are(kind: str) -> None:
    data, expected = OTHERS[kind]
    assert verdict(data) == ("reject", expected)


FINE: dict[str, tuple[bytes, str]] = {
    "crlf": (GOOD.replace(b"\n", b"\r\n"), "accept"),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, "accept"),
    "text before and after": (b"Certificate Request:\n    Data: x\n" + GOOD + b"\nend of mail\n", "accept"),
    "one long line": (
        b"-----BEGIN CERTIFICATE REQUEST-----\n" + b"".join(GOOD.split(b"\n")[1:-2]) + b"\n-----END CERTIFICATE REQUEST-----\n",
        "accept",
    ),
    "old label": (GOOD.replace(b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST"), "accept"),
    "bare": (b"".join(GOOD.split(b"\n")[1:-2]), "accept_normalise"),
    "indented": (
        b"\n".join(b"  " + line if n not in (0, len(GOOD.split(b"\n")) - 2) else line for n, line in enumerate(GOOD.split(b"\n"))),
        "accept",
    ),
}


@pytest.mark.parametrize("kind", FINE)
def test_what_people_really_paste_is_taken(kind: str) -> None:
    data, expected = FINE[kind]
    assert verdict(data) == (expected, "")


def _public_number(modulus: int, exponent: int = 65537) -> bytes:
    """A CSR whose key is any RSA numbers at all; its signature is by another key, so key checks must answer first."""
    good = x509.load_pem_x509_csr(make("a.example.test", key=RSA_KEY)).public_bytes(Encoding.DER)
    numbers = RSA_KEY.public_key().public_numbers()
    old = numbers.n.to_bytes(256, "big")
    assert good.count(old) == 1
    data = good.replace(old, modulus.to_bytes(256, "big"))
    if exponent != numbers.e:
        data = data.replace(bytes.fromhex("0203010001"), bytes.fromhex("0203") + exponent.to_bytes(3, "big"))
    return data


def _primes_near(bits: int) -> tuple[int, int]:
    from itertools import count  # noqa: PLC0415 - only here

    p = RSA_KEY.private_numbers().p
    q = next(p + 2 * n for n in count(1) if pow(2, p + 2 * n - 1, p + 2 * n) == 1)
    assert p.bit_length() == bits
    return p, q


def test_close_primes_are_a_compromised_key() -> None:
    p, q = _primes_near(1024)
    assert verdict(_public_number(p * q)) == ("reject", "key_compromised")


def test_square_of_a_prime_is_a_weak_key() -> None:
    p, _ = _primes_near(1024)
    assert verdict(_public_number(p * p)) == ("reject", "weak_key")


def test_modulus_with_a_small_factor_is_a_weak_key() -> None:
    modulus = RSA_KEY.public_key().public_numbers().n
    assert verdict(_public_number(modulus - modulus % (2 * 751) + 751)) == ("reject", "weak_key")


@pytest.mark.parametrize("exponent", [65536, 65539 - 2, 0x800003])
def test_exponent_is_judged(exponent: int) -> None:
    expected = {65536: ("reject", "weak_key"), 65537: ("accept", ""), 0x800003: ("reject", "weak_key")}[exponent]
    if exponent == 0x800003:
        data = _public_number(RSA_KEY.public_key().public_numbers().n, 0x7FFFFF)
        assert verdict(data) == expected
        return
    assert verdict(_public_number(RSA_KEY.public_key().public_numbers().n, exponent)) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (rsa.generate_private_key(3, 2048), "weak_key"),
        (rsa.generate_private_key(65537, 1024), "weak_key"),  # noqa: S505 - what is refused
        (ec.generate_private_key(ec.SECP256K1()), "unsupported_key"),
        (ec.generate_private_key(ec.SECP224R1()), "unsupported_key"),
        (ed448.Ed448PrivateKey.generate(), "unsupported_key"),
    ],
    ids=["rsa e=3", "rsa 1024", "secp256k1", "p224", "ed448"],
)
def test_key_is_refused_for_what_it_is(key: Any, expected: str) -> None:
    assert verdict(make("a.example.test", key=key)) == ("reject", expected)


def test_key_agreement_key_is_unsupported() -> None:
    good = x509.load_pem_x509_csr(make("a.example.test", key=ed25519.Ed25519PrivateKey.generate())).public_bytes(Encoding.DER)
    spki = x25519.X25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    start = good.index(bytes.fromhex("302a300506032b6570"))
    assert verdict(good[:start] + spki + good[start + len(spki) :]) == ("reject", "unsupported_key")


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP521R1()), RSA_KEY, ed25519.Ed25519PrivateKey.generate()],
    ids=["p384", "p521", "rsa", "ed25519"],
)
def test_good_keys_are_taken(key: Any) -> None:
    assert verdict(make("a.example.test", key=key)) == ("accept", "")


def test_sha1_signature_is_weak() -> None:
    der = x509.load_pem_x509_csr(make("a.example.test", key=RSA_KEY)).public_bytes(Encoding.DER)
    sha256, sha1 = bytes.fromhex("06092a864886f70d01010b"), bytes.fromhex("06092a864886f70d010105")
    assert verdict(der.replace(sha256, sha1)) == ("reject", "weak_signature_hash")


SUBJECTS: list[tuple[str, str, tuple[str, str]]] = [
    ("markup", "<b>x</b>", ("reject", "unsafe_subject")),
    ("template", "{{7*7}}", ("reject", "unsafe_subject")),
    ("shell template", "${jndi:ldap://x}", ("reject", "unsafe_subject")),
    ("nul", "a\x00b", ("reject", "unsafe_subject")),
    ("newline", "a\r\nBcc: x@y", ("reject", "unsafe_subject")),
    ("bidi", "a\u202eb", ("reject", "unsafe_subject")),
    ("zero width", "a\u200bb", ("reject", "unsafe_subject")),
    ("tag characters", "a\U000e0041b", ("reject", "unsafe_subject")),
    ("hangul filler", "a\u3164b", ("reject", "unsafe_subject")),
    ("escape sequence", "a\x1b[31mb", ("reject", "unsafe_subject")),
    ("formula", "=1+1", ("accept_strip", "")),
    ("at formula", "@SUM(A1)", ("accept_strip", "")),
    ("plain", "Example Ltd.", ("accept", "")),
    ("umlaut", "Bücher GmbH & Co. KG", ("accept", "")),
    ("65 characters", "x" * 65, ("reject", "subject_too_long")),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in SUBJECTS], ids=[kind for kind, _, _ in SUBJECTS])
def test_subject_text_is_judged(text: str, expected: tuple[str, str]) -> None:
    parts = [
        x509.NameAttribute(NameOID.COMMON_NAME, "a.example.test"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, text, _validate=False),
    ]
    assert verdict(make("a.example.test", subject=parts)) == expected


EXTENSIONS: dict[str, tuple[Extension, tuple[str, str]]] = {
    "ca": ((x509.BasicConstraints(ca=True, path_length=0), True), ("reject", "forbidden_extension")),
    "cert sign": ((x509.KeyUsage(True, False, False, False, False, True, False, False, False), True), ("reject", "forbidden_extension")),
    "crl sign": ((x509.KeyUsage(True, False, False, False, False, False, True, False, False), True), ("reject", "forbidden_extension")),
    "usual usage": ((x509.KeyUsage(True, False, True, False, False, False, False, False, False), True), ("accept", "")),
    "server auth": ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False), ("accept", "")),
    "ocsp signing": ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False), ("reject", "forbidden_extension")),
    "smart card": (
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.SMARTCARD_LOGON]), False),
        ("reject", "forbidden_extension"),
    ),
    "unknown critical": (
        (x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), True),
        ("reject", "forbidden_extension"),
    ),
    "unknown": ((x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), False), ("accept_strip", "")),
    "policies": (
        (x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("2.23.140.1.2.2"), None)]), False),
        ("accept_strip", ""),
    ),
    "template": ((x509.MSCertificateTemplate(ObjectIdentifier("1.3.6.1.4.1.311.21.8.1"), 1, 1), False), ("accept_strip", "")),
    "sid": ((x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.311.25.2"), b"\x30\x00"), False), ("reject", "forbidden_extension")),
}


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_extension_is_refused_granted_or_left_behind(kind: str) -> None:
    extension, expected = EXTENSIONS[kind]
    assert verdict(make("a.example.test", extensions=[extension])) == expected


def test_challenge_password_is_left_behind_and_forbids_keeping_the_bytes() -> None:
    csr = make("a.example.test", attributes=[(ObjectIdentifier("1.2.840.113549.1.9.7"), b"hunter2")])
    facts = read_csr(csr, domains=("example.test",))
    assert (facts.verdict, facts.storable) == ("accept_strip", False)
    assert "hunter2" not in " ".join(facts.stripped)


@pytest.mark.parametrize(
    "name",
    [
        x509.RFC822Name("a@example.test"),
        x509.UniformResourceIdentifier("https://example.test"),
        x509.RegisteredID(ObjectIdentifier("1.2.3")),
    ],
    ids=["mail", "uri", "id"],
)
def test_names_of_other_kinds_are_forbidden(name: x509.GeneralName) -> None:
    assert verdict(make("a.example.test", san=[x509.DNSName("a.example.test"), name])) == ("reject", "forbidden_name")


def test_too_many_names_are_refused_quickly_and_the_limit_is_exact() -> None:
    names = [f"n{n}.example.test" for n in range(101)]
    assert verdict(make(*names)) == ("reject", "too_many_names")
    assert verdict(make(*names[:100])) == ("accept", "")


DER = x509.load_pem_x509_csr(GOOD).public_bytes(Encoding.DER)


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_damaged_csr_is_accepted_whole_or_refused_cleanly(data: st.DataObject) -> None:
    """Mutations of a good CSR: nothing but CSRRefused may come out, and nothing that was changed under its signature is accepted."""
    source = bytearray(data.draw(st.sampled_from([DER, GOOD])))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(source) - 1))
        how = data.draw(st.sampled_from(["flip", "cut", "double", "zero"]))
        if how == "flip":
            source[position] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "cut":
            del source[position : position + data.draw(st.integers(1, 8))]
        elif how == "double":
            source[position:position] = source[position : position + 4]
        else:
            source[position] = 0
        if not source:
            source = bytearray(b"0")
    try:
        facts = read_csr(bytes(source), domains=("example.test",))
    except CSRRefused:
        return
    assert facts.der == DER


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_cleanly(data: bytes) -> None:
    assert verdict(data)[0] == "reject"
