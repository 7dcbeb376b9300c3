"""What common tools, mails and settings files make of a request, and is accepted because it can mean one thing only."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7

from certs.errors import CSRRefused
from certs.x509.csr.gate import CSRFacts, read_csr
from tests.certs.x509.csr.requests import (
    CN,
    COUNTRY,
    GOOD_ATTRIBUTES,
    KEY,
    KU,
    MS_EXTENSION_REQUEST,
    ORGANIZATION,
    SAN,
    attribute,
    dns,
    extension,
    judge,
    oid,
    pem,
    rdn,
    request,
    requested,
    san,
    seq,
    tlv,
)
from tests.certs.x509.csr.test_gate import CERTIFICATE

FALSE = b"\x01\x01\x00"
LIST = (extension(KU, b"\x03\x02\x05\xa0"), san("a.example.test"))
CERTREQ = attribute("1.3.6.1.4.1.311.13.2.3", tlv(0x16, b"10.0.20348.2"))  # what Windows certreq adds
CERTREQ_CLIENT = attribute("1.3.6.1.4.1.311.21.20", seq(tlv(2, b"\x05"), tlv(0x0C, b"HOST"), tlv(0x0C, b"A\\b"), tlv(0x0C, b"certreq")))


def facts(data: bytes) -> CSRFacts:
    return read_csr(data, domains=("example.test",))


def subject(*parts: bytes) -> bytes:
    return request(subject=(*parts, rdn(CN, b"a.example.test")))


def ordered(*attributes: bytes) -> bytes:
    return request(attributes=sorted(attributes))


STRUCTURES: dict[str, tuple[bytes, str]] = {
    # G1: the same octets twice
    "the same list under both numbers": (ordered(requested(*LIST), requested(*LIST, kind=MS_EXTENSION_REQUEST)), "accept"),
    "the same list twice under one number": (ordered(requested(*LIST), requested(*LIST)), "accept"),
    "the same list twice in one set": (
        request(attributes=(attribute("1.2.840.113549.1.9.14", seq(*LIST), seq(*LIST)),)),
        "accept",
    ),
    "a list with another order under the other number": (
        ordered(requested(*LIST), requested(*reversed(LIST), kind=MS_EXTENSION_REQUEST)),
        "duplicate_extension",
    ),
    "a subset under the other number": (
        ordered(requested(*LIST), requested(LIST[1], kind=MS_EXTENSION_REQUEST)),
        "duplicate_extension",
    ),
    "the same unstructured name twice": (
        ordered(*GOOD_ATTRIBUTES, *[attribute("1.2.840.113549.1.9.2", tlv(0x0C, b"x"))] * 2),
        "accept_strip",
    ),
    "two challenge passwords": (
        ordered(*GOOD_ATTRIBUTES, *[attribute("1.2.840.113549.1.9.7", tlv(0x0C, text)) for text in (b"x", b"y")]),
        "duplicate_extension",
    ),
    "what Windows certreq adds": (ordered(*GOOD_ATTRIBUTES, CERTREQ, CERTREQ_CLIENT), "accept_strip"),
    # G3: characters of a PrintableString
    **{
        f"{character} in a PrintableString": (subject(rdn(ORGANIZATION, b"a" + character.encode() + b"b", 0x13)), "accept")
        for character in "*&@!_#;"
    },
    "a letter beyond ASCII in a PrintableString": (subject(rdn(ORGANIZATION, b"B\xfcro", 0x13)), "malformed"),
    "markup in a PrintableString": (subject(rdn(ORGANIZATION, b"<b>x</b>", 0x13)), "unsafe_subject"),
    "a wildcard in a PrintableString": (
        request(subject=(rdn(CN, b"*.apps.example.test", 0x13),), attributes=(requested(san("*.apps.example.test")),)),
        "accept",
    ),
    "TeletexString": (subject(rdn(ORGANIZATION, b"B\xfcro", 0x14)), "accept"),
    "common name in UCS-2": (
        request(subject=(rdn(CN, "a.example.test".encode("utf-16-be"), 0x1E),)),
        "accept",
    ),
    # G4: what is not DER and means one thing only
    "no attributes": (request(attribute_set=b""), "accept_normalise"),
    "empty attributes": (request(attribute_set=b"\xa0\x00"), "accept_normalise"),
    "an empty list of extensions": (request(attributes=(requested(),)), "accept_normalise"),
    "attributes out of order": (
        request(attribute_set=tlv(0xA0, *sorted([*GOOD_ATTRIBUTES, CERTREQ], reverse=True))),
        "accept_normalise",
    ),
    "values of an attribute out of order": (
        ordered(*GOOD_ATTRIBUTES, attribute("1.2.3.4", tlv(0x0C, b"b"), tlv(0x0C, b"a"))),
        "accept_normalise",
    ),
    "every criticality false written out": (
        request(
            attributes=(
                requested(
                    *(extension(kind, value, critical=FALSE) for kind, value in ((SAN, dns("a.example.test")), (KU, b"\x03\x02\x05\xa0")))
                ),
            )
        ),
        "accept_normalise",
    ),
    "country in lower case": (subject(rdn(COUNTRY, b"de", 0x13)), "accept_strip"),
    # G7: names as tools and people write them
    "common name with the root's dot": (
        request(subject=(rdn(CN, b"a.example.test."),)),
        "accept_normalise",
    ),
    "only a common name with the root's dot": (request(subject=(rdn(CN, b"a.example.test."),), attributes=()), "accept_normalise"),
    "DNS: before a name": (request(attributes=(requested(san("DNS:a.example.test")),)), "accept_normalise"),
    "DNS= before a common name": (request(subject=(rdn(CN, b"DNS=a.example.test"),)), "accept_normalise"),
    # G2
    "an address beside the name": (
        request(attributes=(requested(extension(SAN, seq(tlv(0x82, b"a.example.test"), tlv(0x87, bytes([10, 0, 0, 1]))))),)),
        "accept",
    ),
    "nothing but an address": (
        request(subject=(), attributes=(requested(extension(SAN, seq(tlv(0x87, bytes(15) + b"\x01")))),)),
        "accept_normalise",
    ),
}


@pytest.mark.parametrize("kind", STRUCTURES)
def test_request_with_one_meaning_is_accepted(kind: str) -> None:
    """Findings G1, G2, G3, G4 and G7."""
    data, expected = STRUCTURES[kind]
    assert judge(data) == ((expected, "") if expected.startswith("accept") else ("reject", expected))


def test_addresses_of_a_request_are_read_for_the_policy_to_decide() -> None:
    """Finding G2."""
    read = facts(STRUCTURES["an address beside the name"][0])
    assert (read.common_name, read.dns_names, read.ip_addresses) == ("a.example.test", ("a.example.test",), ("10.0.0.1",))
    alone = facts(STRUCTURES["nothing but an address"][0])
    assert (alone.common_name, alone.dns_names, alone.ip_addresses) == ("", (), ("::1",))


def test_signature_of_a_repaired_request_is_still_demanded() -> None:
    whole = request(attribute_set=b"")
    changed = whole.replace(b"a.example.test", b"b.example.test")
    assert judge(changed) == ("reject", "bad_signature")


PEM = pem(request())
TEXT = PEM.decode()
TEXTS: dict[str, str] = {
    "line ends written out": TEXT.replace("\n", "\\n"),
    "Windows line ends written out": TEXT.replace("\n", "\\r\\n"),
    "line ends escaped twice": TEXT.replace("\n", "\\\\n"),
    "a JSON string": json.dumps(TEXT),
    "a JSON object": json.dumps({"csr": TEXT, "profile": "x"}),
    "a line of a settings file": 'CSR="' + TEXT.replace("\n", "\\n") + '"\n',
    "quoted mail": "".join(f"> {line}\n" for line in TEXT.splitlines()),
    "mail quoted twice": "Hello,\n" + "".join(f"> > {line}\n" for line in TEXT.splitlines()) + "\nBye\n",
    "mail quoted without blanks": "".join(f">{line}\n" for line in TEXT.splitlines()),
    "mail quoted by bars": "".join(f"| {line}\n" for line in TEXT.splitlines()),
    "a comment of a script": "".join(f"# {line}\n" for line in TEXT.splitlines()),
    "non-breaking spaces": TEXT.replace("\n", "\u00a0\n"),
    "blanks without width": TEXT.replace("MII", "M\u200bII", 1).replace("\n", "\n\u2060"),
    "line ends lost": TEXT.replace("\n", ""),
    "byte order mark in the middle": "Dear all\n\ufeff" + TEXT,
    "JSON of PHP": json.dumps(TEXT).replace("/", "\\/"),
    "JSON of .NET": json.dumps(TEXT).replace("+", "\\u002B").replace("=", "\\u003D"),
    "base64 once more, as in a Kubernetes manifest": base64.b64encode(PEM).decode(),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_text_that_lost_its_form_on_the_way_is_accepted(kind: str) -> None:
    """Finding G6."""
    read = facts(TEXTS[kind].encode())
    assert (read.verdict, read.der) == ("accept_normalise", facts(PEM).der)
    assert read.repairs


def test_padding_in_the_source_of_a_mail_is_read() -> None:
    """Quoted-printable writes an equals sign as =3D (RFC 2045 6.7). Finding G6."""
    several = (pem(request(subject=(rdn(CN, b"a.example.test"), rdn(ORGANIZATION, b"x" * n)))) for n in range(1, 9))
    padded = next(text for text in several if b"=" in text)
    read = facts(padded.replace(b"=", b"=3D"))
    assert (read.verdict, read.der) == ("accept_normalise", facts(padded).der)


@pytest.mark.parametrize(
    "text",
    [TEXT.replace("BEGIN CERT", "BEGIN NEW CERT"), TEXT.partition("-----END")[0], TEXT.replace("M", "!", 1)],
    ids=["two labels", "no end", "another character"],
)
def test_damaged_text_is_to_be_copied_again(text: str) -> None:
    """Finding G5: that a CSR is wanted is right only for what is none."""
    assert "copy or send it again" in str(_refusal(text.encode()).next_step)


def test_quotation_marks_beside_the_armour_lines_are_accepted() -> None:
    assert facts(f"'{TEXT.strip()}\n'".encode()).der == facts(PEM).der


def test_blanks_in_latin_1_are_accepted() -> None:
    assert facts(PEM.replace(b"\n", b"\xa0\n")).verdict == "accept_normalise"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n"])
def test_binary_request_with_a_line_end_is_accepted(end: bytes) -> None:
    """Finding G6."""
    assert facts(request() + end).verdict == "accept_normalise"


@pytest.mark.parametrize("tail", [b"\x00", b"x", b"\n\x00", b" ", b"\n0"])
def test_binary_request_with_anything_else_behind_it_is_refused(tail: bytes) -> None:
    assert judge(request() + tail) == ("reject", "malformed")


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"{'>' if n % 2 else ''}{line}\n" for n, line in enumerate(TEXT.splitlines())),
        TEXT.replace("M", "!", 1),
        TEXT.replace("-----", "\u2013\u2013\u2013"),
    ],
    ids=["marks before some lines", "another character", "typographic dashes"],
)
def test_text_with_more_than_one_meaning_is_refused(text: str) -> None:
    assert judge(text.encode()) == ("reject", "malformed")


def _refusal(data: bytes) -> CSRRefused:
    with pytest.raises(CSRRefused) as caught:
        facts(data)
    return caught.value


def test_typographic_dashes_are_named() -> None:
    assert "typographic" in _refusal(TEXT.replace("-----", "\u2014\u2014").encode()).message


CMC = seq(
    oid("1.2.840.113549.1.7.2"),
    tlv(0xA0, seq(tlv(2, b"\x03"), tlv(0x31), seq(oid("1.3.6.1.5.5.7.12.2"), tlv(0xA0, tlv(4, request()))))),
)
CERT = CERTIFICATE.public_bytes(Encoding.DER)
P7 = pkcs7.serialize_certificates([CERTIFICATE], Encoding.DER)
SPKI = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
CRMF = seq(seq(seq(tlv(2, b"\x01"), seq())))
# label, content, class, what the message says, what the cure says
OTHERS: dict[str, tuple[bytes, str, str, str]] = {
    "CMC": (pem(CMC, "PKCS7"), "wrong_object", "CMC request", "RequestType = PKCS10"),
    "CMC under the label of a certificate": (pem(CMC, "CERTIFICATE"), "wrong_object", "CMC request", "RequestType = PKCS10"),
    "CMC in the armour of a request": (pem(CMC, "NEW CERTIFICATE REQUEST"), "malformed", "CMC request", "RequestType = PKCS10"),
    "CMC in binary": (CMC, "wrong_object", "CMC request", "RequestType = PKCS10"),
    "PKCS#7 in the armour of a request": (pem(P7, "NEW CERTIFICATE REQUEST"), "malformed", "PKCS#7", "openssl req"),
    "certificate": (pem(CERT, "CERTIFICATE"), "wrong_object", "a certificate", "openssl req -new"),
    "certificate in the armour of a request": (pem(CERT), "malformed", "a certificate", "keytool -certreq"),
    "public key in the armour of a request": (pem(SPKI), "malformed", "a public key", "private key of the pair"),
    "CRMF": (pem(CRMF, "CERTIFICATE REQUEST"), "malformed", "CRMF", "PKCS10"),
    "SSH key": (KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH), "wrong_object", "SSH", "openssl req"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_object_is_named_with_the_command_that_makes_a_request(kind: str) -> None:
    """Finding G5."""
    data, refusal, message, cure = OTHERS[kind]
    refused = _refusal(data)
    assert str(refused.refusal) == refusal
    assert message in refused.message
    assert cure in refused.next_step


def run(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def openssl(folder: Path, *more: str) -> bytes:
    run(folder, "openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "k.pem", "-out", "r.csr", *more)
    return (folder / "r.csr").read_bytes()


CN_ONLY, WITH_SAN = ("-subj", "/CN=a.example.test"), ("-addext", "subjectAltName=DNS:a.example.test,IP:10.0.0.1")
OPENSSL: dict[str, Sequence[str]] = {
    "names in the common name alone": CN_ONLY,
    "DNS name and address": (*CN_ONLY, *WITH_SAN),
    "PSS signature": (*CN_ONLY, "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1", "-sha384"),
    "SHA-3": (*CN_ONLY, "-sha3-256"),
    "binary": (*CN_ONLY, "-outform", "DER"),
    "old label": (*CN_ONLY, "-newhdr"),
    "text before it": (*CN_ONLY, "-text"),
    "two values in one part": ("-subj", "/CN=a.example.test/OU=x+OU=a"),
    "letters beyond ASCII": ("-utf8", "-subj", "/O=Büro & Söhne/CN=a.example.test"),
    "flags": (*CN_ONLY, *WITH_SAN, "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "tlsfeature=status_request"),
}


@pytest.mark.parametrize("kind", OPENSSL)
def test_request_of_openssl_is_accepted(kind: str, tmp_path: Path) -> None:
    assert facts(openssl(tmp_path, *OPENSSL[kind])).dns_names == ("a.example.test",)


def test_requests_of_keytool_are_accepted(tmp_path: Path) -> None:
    store = ("-keystore", "ks", "-storepass", "changeit", "-alias", "a")
    run(tmp_path, "keytool", "-genkeypair", *store, "-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN=a.example.test, O=A*B")
    for more in ((), ("-ext", "san=dns:a.example.test,ip:10.0.0.1", "-ext", "eku=serverAuth")):
        run(tmp_path, "keytool", "-certreq", *store, "-file", "r.csr", *more)
        assert facts((tmp_path / "r.csr").read_bytes()).common_name == "a.example.test"


def test_requests_of_gnutls_are_accepted(tmp_path: Path) -> None:
    run(tmp_path, "certtool", "--generate-privkey", "--key-type", "ecdsa", "--outfile", "k.pem")
    template = 'cn = "a.example.test"\ndns_name = "a.example.test"\nip_address = "10.0.0.1"\nchallenge_password = 1\ntls_www_server\n'
    (tmp_path / "t").write_text(template)
    for form in ((), ("--outder",)):
        run(tmp_path, "certtool", "--generate-request", "--load-privkey", "k.pem", "--template", "t", "--outfile", "r.csr", *form)
        read = facts((tmp_path / "r.csr").read_bytes())
        assert (read.ip_addresses, read.storable) == (("10.0.0.1",), False)


def test_repaired_request_is_kept_byte_for_byte() -> None:
    whole = request(attribute_set=b"")
    assert facts(base64.b64encode(whole)).der == whole
    assert x509.load_der_x509_csr(request()).is_signature_valid  # the octets that the other tests begin with


def test_backslashes_in_the_text_before_a_request_change_nothing() -> None:
    assert judge(b"C:\\new\\r.csr\n" + PEM) == ("accept", "")
