"""Reads that are sent together, in one round trip on PostgreSQL, and long reads that overlap with the work on their results.

A function that describes a read returns a `Read`; `read` sends one, `read_together` several. Most
code calls functions that send their read themselves, such as `db.rows.select`. Functions that read at
the beginning of a transaction for which many callers wait return a `Read`, to be sent with others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from django.db import connection, connections

from db.backend import on_postgresql
from db.pipeline import Row, Statement, run

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Read(Generic[T_co]):
    """A read that has not been sent: statements for PostgreSQL, what their rows mean, and the same read for SQLite."""

    statements: Sequence[Statement]
    result: Callable[[Sequence[list[Row]]], T_co]  # of the rows of each statement
    on_sqlite: Callable[[], T_co]


def rows_of(statement: Statement, result: Callable[[list[Row]], T]) -> Read[T]:
    """Return a read by one statement that both databases understand."""
    return Read([statement], lambda rows: result(rows[0]), lambda: result(run([statement])[0][0]))


def read(one: Read[T]) -> T:
    """Send a read alone. Raises Django's database errors."""
    if not on_postgresql():
        return one.on_sqlite()
    return one.result([rows for rows, _ in run(one.statements)])


@overload
def read_together(a: Read[A], b: Read[B], /) -> tuple[A, B]: ...
@overload
def read_together(a: Read[A], b: Read[B], c: Read[C], /) -> tuple[A, B, C]: ...
@overload
def read_together(a: Read[A], b: Read[B], c: Read[C], d: Read[D], e: Read[E], /) -> tuple[A, B, C, D, E]: ...
def read_together(*reads: Read[Any]) -> tuple[Any, ...]:
    """Send several reads, in this order; locks are taken in it. Raises Django's database errors."""
    if not on_postgresql():
        return tuple(one.on_sqlite() for one in reads)
    rows = iter([rows for rows, _ in run([statement for one in reads for statement in one.statements])])
    return tuple(one.result([next(rows) for _ in one.statements]) for one in reads)


def combined(reads: Sequence[Read[Any]], make: Callable[..., T]) -> Read[T]:
    """Return several reads as one, whose results `make` is called with."""

    def result(rows: Sequence[list[Row]]) -> T:
        left = iter(rows)
        return make(*(one.result([next(left) for _ in one.statements]) for one in reads))

    statements = [statement for one in reads for statement in one.statements]
    return Read(statements, result, lambda: make(*(one.on_sqlite() for one in reads)))


FEW = 2  # reads for which another connection is not worth its opening


@contextmanager
def one_ahead(reads: Sequence[Callable[[], T]]) -> Iterator[Iterator[T]]:
    """Return the results of several long reads, in order; PostgreSQL works on the next one while the caller uses the last.

    The reads run on a connection of their own, in another thread, so they see what is committed. A
    few, and reads within an open transaction, run one after the other on the caller's connection;
    so do all on SQLite.
    """
    if len(reads) <= FEW or not on_postgresql() or connection.in_atomic_block:
        yield (one() for one in reads)
        return
    with ThreadPoolExecutor(1) as reader:
        try:
            yield _ahead(reader, reads)
        finally:
            reader.submit(connections.close_all).result()  # those of that thread


def _ahead(reader: Executor, reads: Sequence[Callable[[], T]]) -> Iterator[T]:
    waiting: Future[T] | None = None
    for one in reads:
        coming = reader.submit(one)
        if waiting is not None:
            yield waiting.result()
        waiting = coming
    if waiting is not None:
        yield waiting.result()
