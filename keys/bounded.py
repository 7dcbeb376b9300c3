"""Calls over the network that end in time, whatever the other side does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import requests

T = TypeVar("T")


class BoundedCalls:
    """Runs calls of `requests`, each with a limit on its total time.

    The time-outs of `requests` hold for one read: a server that sends a byte every few seconds, in
    the TLS handshake, the headers or the body, never exceeds them. So each call runs in a thread
    of its own that is given up at the limit. `most` bounds the threads that may hang so.
    """

    def __init__(self, *, most: int) -> None:
        self._free = threading.BoundedSemaphore(most)

    def run(self, act: Callable[[], T], *, seconds: float) -> T:
        """Return what `act` returns, or raise what it raises.

        Raises:
            requests.exceptions.ReadTimeout: the call did not end in time; what it sent may have
                arrived.
            requests.exceptions.ConnectTimeout: too many earlier calls still hang. `act` was not
                called, so nothing was sent.
        """
        # Not waited for: a caller that waits here would hold its worker as the hanging calls hold theirs.
        if not self._free.acquire(blocking=False):
            raise requests.exceptions.ConnectTimeout("too many earlier calls still wait for it")
        future: Future[T] = Future()

        def work() -> None:
            try:
                future.set_result(act())
            except BaseException as exc:  # noqa: BLE001 - the caller's thread raises it
                future.set_exception(exc)
            finally:
                self._free.release()

        threading.Thread(target=work, name="bounded-call", daemon=True).start()
        try:
            return future.result(timeout=seconds)
        except TimeoutError as exc:
            if future.done():  # a TimeoutError of `act` itself
                raise
            message = f"no complete answer within {seconds:g} s"
            raise requests.exceptions.ReadTimeout(message) from exc


class BoundedSession(requests.Session):
    """A session of `requests`, each request of which ends within `seconds` in all.

    For a library that makes the requests itself, such as hvac. `request` raises what
    `BoundedCalls.run` does.
    """

    def __init__(self, calls: BoundedCalls, *, seconds: float) -> None:
        super().__init__()
        self._calls, self._seconds = calls, seconds

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        def send() -> requests.Response:
            return super(BoundedSession, self).request(*args, **kwargs)

        return self._calls.run(send, seconds=self._seconds)
