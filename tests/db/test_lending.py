"""The process's one connection goes from thread to thread, and what happens to it is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from db import lending
from db.lending import lent_connection
from tests.portal.threads import in_thread

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="on SQLite nothing is lent"),
]


@pytest.fixture(autouse=True)
def kept(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in production: a connection lives for a minute."""
    monkeypatch.setattr(lending, "_lent", lending._Lent())
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 60)
    monkeypatch.setitem(connection.settings_dict, "CONN_HEALTH_CHECKS", True)
    yield
    if lending._lent.wrapper is not None:
        lending._lent.wrapper.close()


def session() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def lent_session() -> int:
    with lent_connection():
        return session()


def test_threads_share_it_and_keep_their_own() -> None:
    mine, seen = session(), []
    threads = [in_thread(lambda: seen.append((lent_session(), session()))) for _ in range(3)]
    for thread in threads:
        thread.join(30)
    lent, own = {pair[0] for pair in seen}, {pair[1] for pair in seen}
    assert (len(seen), len(lent), len(own)) == (3, 1, 3)
    assert lent_session() in lent
    assert session() == mine


def test_open_transaction_goes_on_where_it_began() -> None:
    with transaction.atomic():
        assert lent_session() == session()
    with lent_connection():
        assert lent_session() == session()


def end(pid: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_lost_session_fails_once_and_is_made_anew() -> None:
    lost = lent_session()
    end(lost)
    with pytest.raises(OperationalError):
        lent_session()
    assert lent_session() not in (lost, session())


def test_session_lost_while_nobody_used_it_is_noticed_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = lent_session()
    end(lost)
    monkeypatch.setattr(lending, "TRUSTED_SECONDS", 0.0)
    assert lent_session() != lost


def test_it_is_given_back_after_a_failure() -> None:
    mine = session()
    with pytest.raises(ZeroDivisionError), lent_connection():
        raise ZeroDivisionError
    assert session() == mine


def test_no_session_outlives_its_turn_where_none_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)
    lent_session()
    assert lending._lent.wrapper.connection is None
