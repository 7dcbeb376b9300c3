"""A key or token anywhere refuses the whole upload, and nothing of it is said."""

from __future__ import annotations

import base64
import logging

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from certs.errors import CSRRefused
from keys.spec import spki_sha256
from tests.certs.uploads.examples import KEY, PRIVATE_PEM, csr, refusal, workbook, zipped

TOKEN = "hvs." + "CAESIJ0123456789abcdefghijklmnop"
DER = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
BARE = base64.b64encode(DER)
A = csr("a.example.com")

UPLOADS = {
    "key in a cell": b'name,sans\napi,"' + PRIVATE_PEM + b'"\n',
    "key in the csr column": b'csr\n"' + PRIVATE_PEM + b'"\n',
    "key under another label": b'csr\n"' + PRIVATE_PEM.replace(b"PRIVATE KEY", b"CERTIFICATE REQUEST") + b'"\n',
    "bare key in a cell": b"name,sans\napi," + BARE + b"\n",
    "token in a cell": f"name,sans\napi,{TOKEN}\n".encode(),
    "token in an unknown column": f"name,token\napi,{TOKEN}\n".encode(),
    "password in a remark": b"# password=correct-horse\nname\napi\n",
    "key far down": b"name\n" + b"".join(b"host-%d\n" % n for n in range(9000)) + PRIVATE_PEM,
    "key among CSRs": A + PRIVATE_PEM + A,
    "bare key behind CSRs": A * 9 + b"\n" + BARE + b"\n",
    "token between CSRs": A + TOKEN.encode() + b"\n" + A,
    "bare key in a huge CSR": A[:-40] + b"A" * 64 + (b"\n" + b"A" * 64) * 20_000 + b"\n\n--\n" + BARE,
    "token as a title of a workbook": workbook((TOKEN, "name"), ("x", "api")),
    "token in a name in a zip": zipped({f"{TOKEN}.csr": A}),
    "bare key over the rows of a workbook": workbook(("name",), *((BARE[at : at + 64].decode(),) for at in range(0, len(BARE), 64))),
    "key alone": PRIVATE_PEM,
    "key in DER": DER,
    "key in UTF-16": PRIVATE_PEM.decode().encode("utf-16"),
    "key in a table in UTF-16": ('name,sans\napi,"' + PRIVATE_PEM.decode() + '"\n').encode("utf-16"),
    "key in Latin-1": "bücher\n".encode("latin-1") + PRIVATE_PEM,
    "key store": serialize_key_and_certificates(b"x", KEY, None, None, BestAvailableEncryption(b"secret")),
    "token in plain text": f"please use {TOKEN}".encode(),
}


@pytest.mark.parametrize("data", UPLOADS.values(), ids=UPLOADS)
def test_secret_refuses_the_whole_upload(data: bytes) -> None:
    refused = refusal(data)
    assert isinstance(refused, CSRRefused)
    assert refused.problem == "secret_pasted"
    told = " ".join(map(str, (*vars(refused).values(), refused)))
    assert TOKEN not in told
    assert "correct-horse" not in told
    assert BARE.decode()[:20] not in told


@pytest.mark.parametrize("name", ["key in a cell", "key in the csr column", "key far down", "key among CSRs", "key alone", "key in DER"])
def test_proven_key_is_named_so_that_it_can_be_blocked(name: str) -> None:
    refused = refusal(UPLOADS[name], own_process=True)
    assert isinstance(refused, CSRRefused)
    assert refused.exposed_keys == (spki_sha256(KEY.public_key()),)


def test_secret_is_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    refusal(UPLOADS["key among CSRs"], own_process=True)
    assert "PRIVATE" not in caplog.text
    assert BARE.decode()[:20] not in caplog.text
