"""Parts of texts found by trigrams on PostgreSQL, with its extension pg_trgm. SQLite has none.

To create the extension takes a right that the portal's login may not have, and a package that a server may not
have. So nothing depends on such an index but the time that a search takes: it is no part of the models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any

from django.db import NotSupportedError, ProgrammingError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Lookup, Q

from db.backend import on_postgresql
from db.sql import fetch

EXTENSION = "pg_trgm"
# The list of rows that are not in the tree yet is read by each search, and is worked in by the one INSERT
# that makes it longer than this: kB.
PENDING_LIST = 512
# A trigram that this share of all rows has costs a search more than it spares.
COMMON = 0.25


class IndexState(StrEnum):
    """What there is of an index."""

    READY = "ready"
    ABSENT = "absent"
    BEING_MADE = "being made"
    UNFINISHED = "unfinished"  # CREATE INDEX CONCURRENTLY was interrupted
    NOT_NEEDED = "not needed"  # the database is SQLite, or has not the table yet


@dataclass(frozen=True, slots=True)
class PartIndex:
    """An index in which PostgreSQL finds the rows whose column contains a text of three characters or more."""

    name: str
    table: str
    column: str


class IndexNotPossible(Exception):
    """The index cannot be made with what the login may do, or the server has.

    The text says what is missing; `statement` is what an administrator of the database runs.
    """

    def __init__(self, text: str, *, statement: str) -> None:
        super().__init__(text)
        self.statement = statement


_STATE = """
SELECT to_regclass(%s) IS NOT NULL, i.indisvalid AND i.indisready,
    EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
FROM (SELECT 1) AS one LEFT JOIN pg_index i ON i.indrelid = to_regclass(%s) AND i.indexrelid = to_regclass(%s)
"""
_EXTENSION = """
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = %s),
    (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = %s)
"""


def state_of_index(index: PartIndex, connection: BaseDatabaseWrapper) -> IndexState:
    """Return what there is of the index."""
    if connection.vendor != "postgresql":
        return IndexState.NOT_NEEDED
    with connection.cursor() as cursor:
        cursor.execute(_STATE, [index.table, index.table, index.name])
        has_table, is_whole, is_being_made = cursor.fetchone()
    if not has_table:
        return IndexState.NOT_NEEDED
    if is_whole is None:
        return IndexState.ABSENT
    if is_whole:
        return IndexState.READY
    return IndexState.BEING_MADE if is_being_made else IndexState.UNFINISHED


def make_index(index: PartIndex, connection: BaseDatabaseWrapper) -> None:
    """Make the extension and the index where they are missing; what an interrupted call left is made anew.

    Outside of a transaction nobody who reads or writes the table waits (CONCURRENTLY), and this call waits
    for transactions that are open. Raises IndexNotPossible, and Django's database errors.
    """
    state = state_of_index(index, connection)
    if state not in {IndexState.ABSENT, IndexState.UNFINISHED}:
        return
    quote = connection.ops.quote_name
    schema = quote(_make_extension(connection))
    concurrently = "" if connection.in_atomic_block else "CONCURRENTLY "
    what = f"make the index {index.name}"
    if state is IndexState.UNFINISHED:
        _execute(f"DROP INDEX {concurrently}IF EXISTS {quote(index.name)}", connection, what)
    statement = (
        f"CREATE INDEX {concurrently}IF NOT EXISTS {quote(index.name)} ON {quote(index.table)} "
        f"USING gin ({quote(index.column)} {schema}.gin_trgm_ops) WITH (gin_pending_list_limit = {PENDING_LIST})"
    )
    _execute(statement, connection, what)


def _make_extension(connection: BaseDatabaseWrapper) -> str:
    """Make the extension where it is missing. Returns the schema that it is in. Raises IndexNotPossible."""
    available, schema = _extension(connection)
    if schema is not None:
        return schema
    statement = f"CREATE EXTENSION IF NOT EXISTS {EXTENSION}"
    if not available:
        raise IndexNotPossible(
            f"This PostgreSQL server does not have the extension {EXTENSION}: its package postgresql-contrib is not installed.",
            statement=statement,
        )
    _execute(statement, connection, f"create the extension {EXTENSION}")
    return str(_extension(connection)[1])


def _extension(connection: BaseDatabaseWrapper) -> tuple[bool, str | None]:
    """Return whether the server has the extension, and the schema that it was created in; None where it was not."""
    with connection.cursor() as cursor:
        cursor.execute(_EXTENSION, [EXTENSION, EXTENSION])
        available, schema = cursor.fetchone()
        return available, schema


def _execute(statement: str, connection: BaseDatabaseWrapper, what: str) -> None:
    """Execute a statement. Raises IndexNotPossible where PostgreSQL refuses it; `what` is what the login may not do."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, current_database()")
        login, database = cursor.fetchone()
        try:
            if connection.in_atomic_block:
                with transaction.atomic(using=connection.alias):
                    cursor.execute(statement)
            else:
                cursor.execute(statement)
        except (NotSupportedError, ProgrammingError) as exc:
            refused = str(exc).splitlines()[0]
            raise IndexNotPossible(
                f"The login {login!r} may not {what} in the database {database!r}: {refused}.",
                statement=statement,
            ) from exc


class _Holds(Lookup):
    """The condition that a column contains a text; `pattern` is what its trigrams are asked for before, if anything."""

    lookup_name = "holds"
    prepare_rhs = False

    def __init__(self, column: str, text: str, pattern: str = "") -> None:
        super().__init__(F(column), text)
        self.pattern = pattern

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[str | int, ...]]:
        """Return the condition for PostgreSQL.

        Both forms keep the whole text from the index: of strpos it knows nothing, and it is made for
        another collation. The planner takes the first for true, and expects what the pattern has.
        """
        column, parameters = self.process_lhs(compiler, connection)
        if self.pattern:
            return f"{column} LIKE %s AND strpos({column}, %s) <> 0", (*parameters, self.pattern, *parameters, str(self.rhs))
        like = f"%{connection.ops.prep_for_like_query(str(self.rhs))}%"
        return f'{column} COLLATE "C" LIKE %s', (*parameters, like)


def holds(column: str, text: str) -> Any:
    """Return the condition that a column contains the text, to be read from rows that something else chooses."""
    return _Holds(column, text) if on_postgresql() else Q(**{f"{column}__contains": text})


def held_by_index(index: PartIndex, text: str) -> Any:
    """Return the condition that the column of an index contains the text, for a search through all rows.

    The index is asked for what few rows have, by the statistics of PostgreSQL. For each trigram that all
    have, it reads a million places for a million rows: the whole `host-1.t1.example.com` took 60 ms, and
    takes 1. A text of common trigrams that few rows have in this order took 350 ms, more than all rows
    do. So where nothing is rare, rows are read, as they are for one or two characters.
    """
    if not on_postgresql():
        return holds(index.column, text)
    parts = _rare_parts(text, _Sample.of(index))
    if not parts:
        return _Holds(index.column, text)
    escaped = (re.sub(r"([\\%_])", r"\\\1", part) for part in parts)
    return _Holds(index.column, text, f"%{'%'.join(escaped)}%")


_STATISTICS = """
SELECT most_common_vals::text::text[], most_common_freqs, histogram_bounds::text::text[] FROM pg_stats
WHERE schemaname = ANY (current_schemas(false)) AND tablename = %s AND attname = %s
"""


@dataclass(frozen=True, slots=True)
class _Sample:
    """Values of a column, with the share of the rows that each stands for."""

    values: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, index: PartIndex) -> _Sample:
        """Return what ANALYZE has kept: nothing before its first run."""
        values: list[tuple[str, float]] = []
        for common, shares, bounds in fetch(_STATISTICS, [index.table, index.column]):
            values = list(zip(common or (), shares or (), strict=True))
            rest = 1 - sum(share for _, share in values)
            values += [(one, rest / len(bounds)) for one in bounds or ()]
        return cls(tuple((_in_words(value), share) for value, share in values))

    def has_often(self, trigrams: Iterable[str]) -> bool:
        """Whether one of the trigrams is in many rows."""
        return any(sum(share for value, share in self.values if one in value) > COMMON for one in trigrams)


def _in_words(value: str) -> str:
    """Return a value so that it contains its trigrams as pg_trgm makes them: of words, with two blanks before and one behind."""
    return f"  {re.sub(r'[^a-z0-9]+', '   ', value)} "


def _trigrams(window: str) -> list[str]:
    """Return the trigrams that three characters within a text imply, whatever is beside them."""
    words = re.sub(r"[^a-z0-9]", " ", window)
    if words[1] != " ":
        return [words] if words[0] != " " else [f"  {words[1]}", words]
    return [f"  {words[2]}"] if words[2] != " " else []


def _rare_parts(text: str, sample: _Sample) -> list[str]:
    """Return the longest parts of the text all of whose trigrams are in few rows."""
    found = [_trigrams(text[place : place + 3]) for place in range(len(text) - 2)]
    parts = []
    for is_rare, group in groupby(range(len(found)), key=lambda place: not sample.has_often(found[place])):
        places = list(group)
        if is_rare and any(found[place] for place in places):
            parts.append(text[places[0] : places[-1] + 3])
    return parts
