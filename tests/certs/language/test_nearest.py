"""What to try after a text that was not understood is made of that text (B25)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.language.nearest import nearest_sentence
from tests.certs.language.examples import DEFAULTS, issued


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("https for shop.example.com with a banana on nginx", "Issue certificate for shop.example.com on nginx"),
        ("shop.example.com", "Issue certificate for shop.example.com"),
        (
            "hey, my box shop.example.com needs 4096 rsa RSA 4096 asap 60 days",
            "Issue certificate for shop.example.com with RSA 4096 for 60 days",
        ),
        ("give billing.example.com one of those mTLS things", "Issue TLS client certificate for billing.example.com"),
        ("a.example.com ~ b.example.com !! P-256", "Issue certificate for a.example.com and b.example.com with P-256"),
        ("hello world", ""),
        ("", ""),
        ("a\u200bb.example.com", ""),
    ],
)
def test_sentence_is_made_of_what_was_understood(text: str, nearest: str) -> None:
    assert nearest_sentence(text, DEFAULTS) == nearest


PIECES = ("for", "a.example.com", "rsa", "4096", "p-256", "90", "days", "until", "on", "nginx", "in", "vault", "and", ",", "client")


@given(st.text(max_size=200) | st.lists(st.sampled_from(PIECES)).map(" ".join))
@settings(max_examples=300, deadline=None)
def test_it_is_always_understood(text: str) -> None:
    sentence = nearest_sentence(text, DEFAULTS)
    if sentence:
        assert issued(sentence).specs
