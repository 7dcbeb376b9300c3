"""What one transaction writes, held back to its end: new rows and events go to the database in one message, not one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from audit.events import Event
from db.backend import on_postgresql
from db.sql import Query, Rows, ask, insert_together

FRESH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What an earlier message of the transaction has found out, so that the end need not ask for it: the last number of subjects
    of which nobody else can write now, and ids for rows to come, by table. Which of those are not needed is no matter.
    """

    numbers: Mapping[str, int]
    ids: Mapping[str, Sequence[int]]


NOTHING = Foreseen({}, {})


class Afterwards:
    """Statements that are asked when the transaction is committed, in the message that commits it: what they answer is as young as
    that. Looked at later than `FRESH_SECONDS` after it, or where nothing was asked then, they are asked when they are looked at.
    """

    def __init__(self, queries: Sequence[Query]) -> None:
        self.queries = queries
        self._answers: list[list[Any]] | None = None
        self._at = 0.0

    def told(self, answers: list[list[Any]]) -> None:
        self._answers, self._at = answers, time.monotonic()

    def answers(self) -> list[list[Any]]:
        """Of each statement, once; whoever asks again wants to know it anew."""
        found, self._answers = self._answers, None
        return found if found is not None and time.monotonic() - self._at < FRESH_SECONDS else ask(*self.queries)


class _Gathering(threading.local):
    """Of one thread, as its connection is: how deep in savepoints it gathers, and what it has gathered."""

    def __init__(self) -> None:
        self.at_depth: int | None = None
        self.database: Any = None  # of this thread, while it gathers
        self.events: list[Event] = []
        self.groups: list[Group] = []
        self.afterwards: list[Afterwards] = []
        self.foreseen = NOTHING

    def goes_on(self) -> bool:
        """Whether what is written now may wait. Within a savepoint it may not, for that can be rolled back alone."""
        database = self.database
        return database is not None and self.at_depth == len(database.savepoint_ids) and bool(database.in_atomic_block)

    def begin(self) -> None:
        self.database = connections[DEFAULT_DB_ALIAS]
        self.at_depth = len(self.database.savepoint_ids)

    def end(self) -> None:
        self.database = self.at_depth = None
        self.events, self.groups, self.afterwards, self.foreseen = [], [], [], NOTHING

    def foresee(self, numbers: Mapping[str, int], ids: Mapping[str, Sequence[int]]) -> None:
        """Once in a transaction, right after its first message. SQLite's ids are not taken by asking for them, so they are asked for
        when all that need one are known.
        """
        if self.goes_on():
            self.foreseen = Foreseen(numbers, ids if on_postgresql() else {})

    def forget(self, subjects: Iterable[str]) -> None:
        """An event of theirs was not held back, but written at once."""
        if self.foreseen.numbers:
            gone = set(subjects)
            self.foreseen = Foreseen({s: last for s, last in self.foreseen.numbers.items() if s not in gone}, self.foreseen.ids)


class Group:
    """New rows of one table that are not written yet, or a statement that can wait. `give_ids` is called, with as many ids as
    `missing`, before `content`.
    """

    def __init__(self, table: str, missing: int, give_ids: Callable[[list[int]], None], content: Callable[[], Rows | Query]) -> None:
        self.table, self.missing, self.give_ids, self.content = table, missing, give_ids, content


gathering = _Gathering()


def ask_afterwards(queries: Sequence[Query]) -> Afterwards:
    """For within `audit.log.one_transaction()`; elsewhere they are asked when they are looked at."""
    afterwards = Afterwards(queries)
    if gathering.goes_on():
        gathering.afterwards.append(afterwards)
    return afterwards


def insert_later(rows: Rows) -> None:
    """Insert rows that need no ids: within `audit.log.together()` at its end."""
    if gathering.goes_on():
        gathering.groups.append(Group(rows.table, 0, lambda _ids: None, lambda: rows))
    else:
        insert_together([rows])
