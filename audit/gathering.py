"""What one transaction writes, held back to its end: new rows and events go to the database in one message, not one by one."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connection

from audit.batches import Query, Rows
from audit.events import Event


class _Gathering(threading.local):
    """Of one thread, as its connection is: how deep in savepoints it gathers, and what it has gathered."""

    def __init__(self) -> None:
        self.at_depth: int | None = None
        self.events: list[Event] = []
        self.groups: list[Group] = []

    def goes_on(self) -> bool:
        """Whether what is written now may wait. Within a savepoint it may not, for that can be rolled back alone."""
        return self.at_depth == len(connection.savepoint_ids) and connection.in_atomic_block

    def begin(self) -> None:
        self.at_depth, self.events, self.groups = len(connection.savepoint_ids), [], []

    def end(self) -> None:
        self.at_depth, self.events, self.groups = None, [], []


class Group:
    """New rows of one table that are not written yet, or a statement that can wait. `give_ids` is called, with as many ids as
    `missing`, before `content`.
    """

    def __init__(self, table: str, missing: int, give_ids: Callable[[list[int]], None], content: Callable[[], Rows | Query]) -> None:
        self.table, self.missing, self.give_ids, self.content = table, missing, give_ids, content


gathering = _Gathering()
