"""A CA that sends its reply byte by byte holds nobody longer than the total time of one call."""

from __future__ import annotations

import time

import pytest

from certs.ca import rest
from certs.ca.base import CAUnreachable
from certs.ca.rest import RestCAClient
from tests.faults.dripping import REPLY, dripping


@pytest.mark.parametrize("at_once", [0, REPLY.index(b"\r\n\r\n") + 4], ids=["headers", "body"])
def test_reply_that_comes_byte_by_byte_ends_with_the_total_time_of_a_call(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """F6: a time-out for each read never ends a reply of which a byte comes in time."""
    monkeypatch.setattr(rest, "TOTAL_TIMEOUT", 0.5)
    with dripping(at_once) as url:
        client = RestCAClient("slow", url=url, token="t")
        began = time.monotonic()
        with pytest.raises(CAUnreachable, match=r"no complete answer within 0\.5 s"):
            client.release(1)
        assert time.monotonic() - began < 3


def test_calls_that_hang_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """F6: a call beyond the bound is not sent at all, so that it may be sent again."""
    monkeypatch.setattr(rest, "TOTAL_TIMEOUT", 0.2)
    monkeypatch.setattr(rest, "MOST_HANGING", 1)
    with dripping(0) as url:
        client = RestCAClient("slow", url=url, token="t")
        for expected in ("no complete answer", "too many earlier calls"):
            with pytest.raises(CAUnreachable, match=expected):
                client.release(1)
