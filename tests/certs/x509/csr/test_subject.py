"""The subject of a CSR: what is kept of it, what is left behind in words, and what is refused."""

from __future__ import annotations

import pytest

from certs.errors import CSRRefused
from certs.x509.asn1.reader import NotDER, parse
from certs.x509.csr.subject import MAX_ATTRIBUTES, Subject, read_subject
from tests.certs.x509.csr.requests import CN, COUNTRY, EMAIL, ORGANIZATION, OU, oid, rdn, seq, tlv

BMP = 0x1E


def subject(*rdns: bytes) -> Subject:
    return read_subject(parse(seq(*rdns)))


def test_common_names_are_kept_and_the_organization_is_the_teams() -> None:
    assert subject(rdn(CN, b"a.example.com"), rdn(ORGANIZATION, b"Acme")) == Subject(("a.example.com",), ())
    assert subject() == Subject((), ())


def test_what_is_left_behind_is_named_once() -> None:
    found = subject(rdn(COUNTRY, b"DE", 0x13), rdn(OU, b"Web"), rdn(OU, b"Shop"), rdn(EMAIL, b"a@example.com", 0x16))
    assert len(found.stripped) == 3
    assert all(what.startswith("the subject's ") for what in found.stripped)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_what_begins_like_a_formula_is_news_even_of_an_organization(text: str) -> None:
    assert subject(rdn(ORGANIZATION, text.encode())).stripped == ("a subject attribute that begins like a formula",)


@pytest.mark.parametrize(
    "text",
    ["a\nb", "a\x00b", "a\u200bb", "a\u202eb", "<script>", "{{ 7 }}", "${x}"],
    ids=["line end", "NUL", "zero width", "right to left", "markup", "template", "expression"],
)
def test_what_a_page_or_a_log_would_act_on_is_refused(text: str) -> None:
    with pytest.raises(CSRRefused) as refused:
        subject(rdn(CN, text.encode()))
    assert (str(refused.value.refusal), refused.value.field) == ("unsafe_subject", "subject")


@pytest.mark.parametrize(("kind", "most"), [(CN, 64), (ORGANIZATION, 64), (OU, 64)])
def test_an_attribute_is_as_long_as_rfc_5280_allows(kind: str, most: int) -> None:
    subject(rdn(kind, b"a" * most))
    with pytest.raises(CSRRefused, match=f"{most + 1} characters, more than {most}") as refused:
        subject(rdn(kind, b"a" * (most + 1)))
    assert str(refused.value.refusal) == "subject_too_long"


def test_a_subject_of_very_many_attributes_is_refused() -> None:
    subject(*[rdn(OU, b"a")] * MAX_ATTRIBUTES)
    with pytest.raises(CSRRefused, match=f"{MAX_ATTRIBUTES + 1} attributes") as refused:
        subject(*[rdn(OU, b"a")] * (MAX_ATTRIBUTES + 1))
    assert refused.value.next_step == "A common name is enough."


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (tlv(0x31), "empty or malformed"),
        (tlv(0x30, oid(CN)), "empty or malformed"),
        (tlv(0x31, seq(oid(CN))), "not type and value"),
        (tlv(0x31, seq(oid(CN), tlv(0x02, b"\x01"))), "not a string"),
        (rdn(CN, b"\xff\xfe"), "is not UTF-8"),
        (rdn(CN, b""), "is empty"),
        (rdn(COUNTRY, b"DEU", 0x13), "two letters"),
        (rdn(CN, "\U0001f600".encode("utf-16-be"), BMP), "surrogate pair"),
    ],
)
def test_a_malformed_name_is_no_name(part: bytes, said: str) -> None:
    with pytest.raises(NotDER, match=said):
        subject(part)
