"""A thread of each web process that looks at the machinery: what runs on a schedule is watched from outside that schedule."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.db import Error, connection

from certs.alone import Alone
from certs.schedules.alarm import check
from db.clock import database_now

log = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
FIRST_LOOK_AFTER = 4  # pauses: after a start of everything at once, beat and workers come up in that time
SUSPENDED_AFTER_SECONDS = 30.0


class MissedRunAlarm:
    """A WSGI application that starts the watch at its first request, so after the server has forked, and hands all on.

    Health checks come every few seconds, so the first request comes soon.
    """

    def __init__(self, behind: Application) -> None:
        self._behind = behind
        self._starting = threading.Lock()
        self._started = False

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not self._started:
            self._start()
        return self._behind(environ, start_response)

    def _start(self) -> None:
        with self._starting:
            if not self._started:
                self._started = True
                threading.Thread(target=watch, name="missed-run-alarm", daemon=True).start()


def watch() -> None:
    """Look every PKI_ALARM_EVERY_SECONDS until the process ends."""
    every, answers = float(settings.PKI_ALARM_EVERY_SECONDS), True
    wait(FIRST_LOOK_AFTER * every)
    while True:
        if wait(every):
            answers = look(answered=answers)


def wait(seconds: float) -> bool:
    """Wait. Returns whether it took about as long as it should.

    A machine that was suspended finds every sign of life old, beat's too, which has not had its turn
    yet.
    """
    before = time.time()
    time.sleep(seconds)
    return 0 <= time.time() - before < seconds + SUSPENDED_AFTER_SECONDS


def look(*, answered: bool) -> bool:
    """Check once. Returns whether the database answered; one that stopped is one log line."""
    with Alone() as outcome:
        try:
            check(database_now())
        finally:
            connection.close()  # a few milliseconds each time, and none is held in between
    error = outcome.error
    if isinstance(error, Error):
        if answered:
            log.warning("the missed-run alarm waits for the database: %s", type(error).__name__)
        return False
    if error is not None:  # a thread that ended would watch nothing
        log.error("the missed-run alarm could not look; it tries again", exc_info=error)
    return True
