"""Uploads that the tests share, and the two ways to read them: in this process, or as every channel does, in one of its own."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from datetime import date

import openpyxl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certs.errors import InputRefused
from certs.spec import IntakeDefaults
from certs.uploads import Limits, Line, read_upload
from certs.uploads.formats.detect import find, judge
from certs.uploads.limits import Rules

DEFAULTS = IntakeDefaults(domain="example.com", today=date(2026, 11, 24))
DOMAINS = ("example.com", "example.test")
RULES = Rules(DEFAULTS, DOMAINS, Limits())
KEY = ec.generate_private_key(ec.SECP256R1())
PRIVATE_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
KEY_NOTE = "Key RSA 3072: the policy's default"
VALIDITY_NOTE = "Validity 90 days: the policy's default"
PROFILE_NOTE = "Profile tls-server: the policy's default"


def read(data: bytes, **limits: int) -> list[Line]:
    """In this process: for what needs no limit on time or memory."""
    rules = Rules(DEFAULTS, DOMAINS, Limits(**limits))
    return [judge(found, rules) for found in find(data, rules)]


def upload(data: bytes, *, filename: str = "", **limits: int) -> list[Line]:
    return list(read_upload(data, filename=filename, defaults=DEFAULTS, domains=DOMAINS, limits=Limits(**limits)))


def refusal(data: bytes, *, own_process: bool = False, **limits: int) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        _ = upload(data, filename="", **limits) if own_process else read(data, **limits)
    assert caught.value.field == "file"
    assert caught.value.next_step
    return caught.value


def one(data: bytes) -> Line:
    (line,) = read(data)
    return line


def csr(*names: str, encoding: Encoding = Encoding.PEM) -> bytes:
    builder = x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(encoding)


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def workbook(*rows: tuple[object, ...], title: str = "Certificates") -> bytes:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.title = title
    for row in rows:
        sheet.append(list(row))
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()
