"""A session with PostgreSQL whose other end is gone ends within minutes, at both ends."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

import psycopg
import pytest

from db.sql import one_process_at_a_time
from pkiportal.env_services import end_lost_sessions
from tests.pkiportal.test_settings import GOOD, production


def options(**more: Any) -> dict[str, Any]:
    database: dict[str, Any] = {"OPTIONS": {}} | more
    end_lost_sessions(database)
    return dict(database["OPTIONS"])


@pytest.fixture
def url() -> str:
    if not (url := os.environ.get("PKI_TEST_DATABASE_URL")):
        pytest.skip("needs PostgreSQL")
    return url


def test_both_ends_look_for_the_other_one(url: str) -> None:
    """A request waited a quarter of an hour for a host that was gone; locks of a worker whose host was gone stayed for two hours."""
    with psycopg.connect(url, **options()) as session:
        with socket.socket(fileno=os.dup(session.fileno())) as own:
            assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
        shown = {name: session.execute(f"SHOW {name}").fetchone() for name in ("tcp_keepalives_idle", "tcp_user_timeout")}
        assert shown == {"tcp_keepalives_idle": ("30",), "tcp_user_timeout": ("60000",)}
        assert session.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("10min",)


def test_lock_of_a_stopped_process_is_free_again(url: str) -> None:
    """It answers the network's probes as long as it is stopped: the sealer's lock would be held as long."""
    short = options()["options"].replace("=600000", "=300")
    stopped = psycopg.connect(url, **(options() | {"options": short}))
    try:
        stopped.execute("SELECT pg_advisory_xact_lock(7007)")  # and then it does nothing more
        with psycopg.connect(url, autocommit=True) as other:
            end = time.monotonic() + 10
            while other.execute("SELECT pg_try_advisory_lock(7007)").fetchone() != (True,):
                assert time.monotonic() < end, "the lock is still held"
                time.sleep(0.05)
    finally:
        stopped.close()


def test_what_the_url_says_stays_and_a_pooler_is_given_no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    given = production(monkeypatch, DATABASE_URL=f"{GOOD['DATABASE_URL']}?keepalives_idle=5&connect_timeout=9")["DATABASES"]["default"]
    assert (given["OPTIONS"]["keepalives_idle"], given["OPTIONS"]["connect_timeout"]) == (5, 9)
    assert "idle_in_transaction_session_timeout" in given["OPTIONS"]["options"]
    pooled = production(monkeypatch, DATABASE_URL=f"{GOOD['DATABASE_URL']}?DISABLE_SERVER_SIDE_CURSORS=True")["DATABASES"]["default"]
    assert "options" not in pooled["OPTIONS"]
    assert pooled["OPTIONS"]["keepalives_idle"] == 30


@pytest.mark.django_db(transaction=True)
def test_lock_of_a_long_bootstrap_is_not_taken_from_it(settings: Any, url: str) -> None:
    del url
    settings.DATABASES["default"].setdefault("OPTIONS", {})["options"] = "-c idle_in_transaction_session_timeout=200"
    try:
        with one_process_at_a_time(7008, lambda: None):
            time.sleep(0.6)
            waited: list[int] = []

            class Held(Exception):
                """Another one would wait."""

            def waiting() -> None:
                waited.append(1)
                raise Held

            with pytest.raises(Held), one_process_at_a_time(7008, waiting):
                pass
            assert waited
    finally:
        del settings.DATABASES["default"]["OPTIONS"]["options"]
