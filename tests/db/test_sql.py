"""Blocks of which one process at a time is in one, on both databases."""

from __future__ import annotations

import threading

import pytest

from db.sql import one_process_at_a_time
from tests.portal.threads import in_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
NUMBER = 0x74657374


def nothing() -> None:
    """Wait on."""


def test_second_one_waits_and_says_so_until_the_first_has_ended() -> None:
    waits, order = threading.Event(), []

    def second() -> None:
        with one_process_at_a_time(NUMBER, waits.set):
            order.append("second")

    with one_process_at_a_time(NUMBER, nothing):
        other = in_thread(second)
        assert waits.wait(10)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]


def test_lock_ends_with_a_block_that_fails() -> None:
    with pytest.raises(RuntimeError), one_process_at_a_time(NUMBER, nothing):
        raise RuntimeError
    with one_process_at_a_time(NUMBER, lambda: pytest.fail("it is still held")):
        pass
