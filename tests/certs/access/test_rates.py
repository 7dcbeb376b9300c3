"""Limits that every process counts together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection

from certs.access.rates import Limit, forget_old, use
from certs.errors import TooMany
from certs.models import RateCounter
from db.clock import database_now

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

HOUR = timedelta(hours=1)


def test_window_begins_with_its_first_use_and_ends() -> None:
    limit = Limit("x", "user:alice", 2, HOUR)
    use([limit], message="Too often.")
    use([limit], message="Too often.")
    with pytest.raises(TooMany) as caught:
        use([limit], message="Too often.")
    assert (caught.value.status, caught.value.message) == (429, "Too often.")
    assert 3500 < caught.value.retry_after <= 3600
    use([Limit("x", "user:bob", 2, HOUR)], message="")
    RateCounter.objects.filter(key="x:user:alice").update(ends_at=database_now())
    use([limit], message="")


def test_use_that_one_limit_refuses_counts_against_none() -> None:
    narrow, wide = Limit("x", "b", 1, HOUR), Limit("x", "a", 9, HOUR)
    use([narrow, wide], message="")
    with pytest.raises(TooMany):
        use([narrow, wide], message="")
    assert dict(RateCounter.objects.values_list("key", "used")) == {"x:a": 1, "x:b": 1}


def test_uses_at_the_same_moment_cannot_pass_the_limit_together() -> None:
    limit = Limit("x", "y", 3, HOUR)

    def try_one(_number: int) -> bool:
        try:
            use([limit], message="")
        except TooMany:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(try_one, range(8))) == 3


def test_counters_of_ended_windows_are_deleted() -> None:
    use([Limit("x", "y", 3, HOUR)], message="")
    assert forget_old(database_now()) == 0
    assert forget_old(database_now() + 2 * HOUR) == 1
