"""Work beside the test, with a database connection of its own that is closed when it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connections


def in_thread(work: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread
