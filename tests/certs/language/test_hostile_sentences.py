"""Sentences made to break the reader: each is a plan or a refusal with a position, soon."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from certs.errors import InputRefused, NotUnderstood
from certs.language.grammar import parse, parse_key, parse_validity
from certs.language.reasons import reason_named
from certs.language.words import MAX_CHARS
from tests.certs.language.examples import DEFAULTS

BEGINNINGS = ("", "issue certificate for ", "renew ", "revoke cert-1 reason ")
# fmt: off
PIECES = (
    "cn=", "dns:", "a..", "a...", "…", "..", ".", "key:", "san=a:", "serial=", "serial_number:",
    '"', "'", "“", "„a", "«", "`", "(", ")", "{", "}", "{{", "{1..2}", "{a,b}.", "[", "::", ":",
    "and ", "a,", "for a to ", "a through b ", "not ", "1 year ", "jan 1 ", "rsa ", "p-256 ",
    "9", "0x", "*.", "-", "_", "é", "ß", "ﬀ", "İ", "\U0001f600", "\u200b", "\ud800", "\x00", "\t",
)
# fmt: on


def position_of_refusal(read: Callable[..., object], text: str) -> int:
    """Where reading stopped; 0 for a text that was understood."""
    try:
        read(text, DEFAULTS)
    except NotUnderstood as refused:
        return refused.position
    return 0


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_four_kilobytes_of_any_piece_are_read_or_refused(beginning: str) -> None:
    """S13: 1,365 times `cn=`, 1,360 times `a..` and 1,000 times `dns:` exhausted the stack."""
    for piece in PIECES:
        length = len(piece.encode("utf-8", "surrogatepass"))
        for times in (MAX_CHARS // length - len(beginning), 1000, 5000):
            text = beginning + piece * times
            begun = time.monotonic()
            assert 0 <= position_of_refusal(parse, text) <= len(text)
            assert time.monotonic() - begun < 5, piece


@given(st.lists(st.sampled_from((*BEGINNINGS, *PIECES, "a ", "api.example.com ")), max_size=400))
@settings(max_examples=60, deadline=None)
@example(["cn="] * 400)
def test_any_mixture_of_pieces_is_read_or_refused(pieces: list[str]) -> None:
    text = "".join(pieces)
    for read in (parse, parse_key, parse_validity):
        assert 0 <= position_of_refusal(read, text) <= max(len(text), MAX_CHARS)
    with contextlib.suppress(InputRefused):
        reason_named(text)


def test_pieces_of_one_word_keep_their_order_and_place() -> None:
    with pytest.raises(NotUnderstood) as refused:
        parse("issue certificate for cn=api fancy", DEFAULTS)
    assert refused.value.position == len("issue certificate for cn=api ")
