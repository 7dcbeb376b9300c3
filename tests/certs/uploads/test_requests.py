"""CSRs one after another, alone, in PEM or DER: each judged by the gate, none lost to another's fault."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from certs.uploads.formats.pem_bundle import split_requests
from tests.certs.uploads.examples import PROFILE_NOTE, VALIDITY_NOTE, csr, one, read, refusal, upload

A, B, C = (csr(f"{letter}.example.com") for letter in "abc")
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def names(data: bytes) -> list[str]:
    return [line.spec.common_name if line.spec else line.problem_class for line in read(data)]


def test_many_csrs_are_numbered_by_position() -> None:
    lines = read(A + B + C)
    assert [(line.number, line.source) for line in lines] == [(1, "CSR 1"), (2, "CSR 2"), (3, "CSR 3")]
    assert names(A + B + C) == ["a.example.com", "b.example.com", "c.example.com"]


def test_a_csr_gets_the_defaults_for_what_it_does_not_say() -> None:
    line = one(A)
    assert line.spec is not None
    assert (line.spec.key, line.spec.validity_days, line.spec.profile) == ("ec-p256", 90, "tls-server")
    assert line.notes == (VALIDITY_NOTE, PROFILE_NOTE)


def test_der_and_bare_base64_are_single_csrs() -> None:
    assert names(csr("a.example.com", encoding=Encoding.DER)) == ["a.example.com"]
    assert names(b"".join(A.splitlines(keepends=True)[1:-1])) == ["a.example.com"]


def test_a_single_csr_is_named_by_its_file() -> None:
    (line,) = upload(A, filename="api\x1b[31m.csr")
    assert line.source == "api?[31m.csr"


def test_text_around_csrs_is_no_csr() -> None:
    assert names(b"Certificate Request:\n    Data:\n" + A + b"# the second\n" + B + b"bye\n") == ["a.example.com", "b.example.com"]


def test_files_joined_without_a_line_end_between_them() -> None:
    assert names(A.rstrip() + B.rstrip() + C) == ["a.example.com", "b.example.com", "c.example.com"]


def test_a_damaged_csr_loses_no_other() -> None:
    cut = A[: len(A) // 2] + b"\n"
    assert names(cut + B + A.replace(b"M", b"!", 1) + C) == ["malformed", "b.example.com", "malformed", "c.example.com"]


def test_other_objects_among_csrs_are_told() -> None:
    assert names(A + CERTIFICATE + B) == ["a.example.com", "wrong_object", "b.example.com"]


def test_utf16_text_is_understood() -> None:
    assert names((A + B).decode().encode("utf-16")) == ["a.example.com", "b.example.com"]


def test_more_csrs_than_the_limit_are_counted_before_any_is_judged() -> None:
    assert refusal((A + b"-----BEGIN X-----\n" * 3), max_lines=3).message == "The file asks for more than 3 certificates."


def test_what_is_stripped_is_told_and_a_challenge_password_is_not_kept() -> None:
    from tests.certs.x509.csr.test_corpus import CORPUS  # noqa: PLC0415 - the one file of the corpus that is needed

    line = one((CORPUS / "136_attr_challenge_password.pem").read_bytes())
    assert line.spec is not None
    assert line.spec.csr_der == b""
    assert line.spec.spki_der
    assert any(note.startswith("Not taken over from the CSR: ") for note in line.notes)


@given(st.lists(st.sampled_from([A, B, CERTIFICATE, b"-----BEGIN X-----\n", b"-----END X-----", b"-----", b"text\n"])))
def test_no_byte_is_lost_when_text_is_taken_apart(parts: list[bytes]) -> None:
    assert b"".join(split_requests(b"".join(parts))) == b"".join(parts)
