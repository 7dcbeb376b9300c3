"""What was sent becomes DER, or the reason why not; a private key in it is found before anything else is said."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certs.errors import CSRRefused
from certs.x509.csr.decode import unpack
from tests.certs.x509.csr.requests import pem, request

CSR = request()
PEM = pem(CSR)
BEGIN, END = b"-----BEGIN CERTIFICATE REQUEST-----\n", b"-----END CERTIFICATE REQUEST-----\n"
BASE64 = base64.encodebytes(CSR)


@pytest.mark.parametrize(
    ("sent", "noted"),
    [
        (CSR, False),
        (PEM, False),
        (pem(CSR, "NEW CERTIFICATE REQUEST"), False),
        (b"\xef\xbb\xbf" + PEM, False),
        (PEM.replace(b"\n", b"\r\n"), False),
        (b"Subject: my request\n\n" + PEM + b"\nregards\n", False),
        (CSR + b"\n", True),
        (BASE64, True),
    ],
    ids=["DER", "PEM", "older label", "byte order mark", "Windows", "within a mail", "DER and a line end", "bare base64"],
)
def test_each_way_to_send_a_csr_leads_to_its_octets(sent: bytes, noted: bool) -> None:
    found = unpack(sent)
    assert found.der == CSR
    assert bool(found.notes) is noted


@pytest.mark.parametrize(
    ("sent", "refusal", "said"),
    [
        (b"", "malformed", "There is nothing in it"),
        (b" \r\n\t", "malformed", "There is nothing in it"),
        (PEM.decode().encode("utf-16"), "malformed", "saved as UTF-16"),
        (BEGIN + BASE64, "malformed", "do not go together"),
        (BASE64 + END, "malformed", "do not go together"),
        (BEGIN + BASE64 + b"-----END CERTIFICATE-----\n", "malformed", "name different things"),
        (pem(CSR, " CERTIFICATE REQUEST"), "malformed", "not written as RFC 7468 requires"),
        (BEGIN + b"@@@@" + BASE64 + END, "malformed", "other than base64"),
        (BEGIN + BASE64.rstrip()[:-3] + b"\n" + END, "malformed", "cut off or damaged"),
        (b"here: " + PEM, "malformed", "lines of their own"),
        ("\u2014\u2014BEGIN CERTIFICATE REQUEST\u2014\u2014\n".encode() + BASE64, "malformed", "typographic dashes"),
        (b"please give me a certificate", "malformed", "It is not a CSR"),
        (PEM + PEM, "multiple_objects", "several CSRs"),
        (PEM + pem(b"0\0", "CERTIFICATE"), "multiple_objects", "more than a CSR"),
        (PEM * 101, "multiple_objects", "far more than one object"),
        (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ someone@example", "wrong_object", "not a CSR"),
        (json.dumps({"kty": "EC", "crv": "P-256"}).encode(), "wrong_object", "not a CSR"),
        (b"SPKAC=MIIBXjCByDCB", "wrong_object", "not a CSR"),
        (pem(CSR, "X509 CRL"), "wrong_object", "not a CSR"),
    ],
)
def test_what_cannot_be_read_says_why_and_what_to_send(sent: bytes, refusal: str, said: str) -> None:
    with pytest.raises(CSRRefused) as refused:
        unpack(sent)
    assert (str(refused.value.refusal), said in refused.value.message) == (refusal, True), refused.value.message
    assert refused.value.next_step


KEY = ec.generate_private_key(ec.SECP256R1())
KEY_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
KEY_DER = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    "sent",
    [KEY_PEM, KEY_DER, PEM + KEY_PEM, KEY_PEM + PEM, base64.encodebytes(KEY_DER), pem(KEY_DER), KEY_PEM.replace(b"-----END", b"")],
    ids=["PEM", "DER", "behind a CSR", "before a CSR", "bare base64", "under the label of a CSR", "damaged"],
)
def test_a_private_key_is_refused_whatever_it_is_sent_with(sent: bytes) -> None:
    with pytest.raises(CSRRefused) as refused:
        unpack(sent)
    assert str(refused.value.refusal) == "secret_pasted"
    assert "new one" in refused.value.next_step


def test_a_whole_private_key_names_the_public_key_that_it_exposes() -> None:
    with pytest.raises(CSRRefused) as refused:
        unpack(KEY_PEM)
    assert len(refused.value.exposed_keys) == 1
