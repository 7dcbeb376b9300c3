"""Binary COPY takes what text COPY took, and refuses what does not fit in place of cutting it off."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from django.db import DataError, IntegrityError, connection, transaction

from db.copy import copy_rows

pytestmark = pytest.mark.django_db(transaction=True)
COLUMNS = '"big", middle, small, word, long, "at", raw, data, flag, key'
NOW = datetime(2026, 11, 27, 12, 0, 0, 123456, tzinfo=UTC)
ROW: tuple[Any, ...] = (1 << 62, -5, 7, "a\tb\\n\u00fc", "", NOW, b"\x00\\x", json.dumps({"a": [1, "\u00fc"]}), True, uuid.UUID(int=5))


@pytest.fixture(autouse=True)
def _table() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE copied (big bigint PRIMARY KEY, middle integer, small smallint, word varchar(10), long text, "
            "at timestamptz, raw bytea, data jsonb, flag boolean, key uuid)"
        )
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE copied")


def stored() -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {COLUMNS} FROM copied ORDER BY big")
        return [tuple(bytes(value) if isinstance(value, memoryview) else value for value in row) for row in cursor.fetchall()]


def test_every_type_comes_back_as_it_went() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-9)))
    other = (2, 2**31 - 1, -(2**15), "", "x" * 100_000, elsewhere, memoryview(b"abc"), None, False, None)
    empty = (3, *[None] * 9)
    copy_rows("copied", COLUMNS, [ROW, other, empty])
    found = stored()
    assert found[0] == (2, 2**31 - 1, -(2**15), "", "x" * 100_000, NOW, b"abc", None, False, None)
    assert found[1] == empty
    assert (*found[2][:7], json.loads(found[2][7]), *found[2][8:]) == (*ROW[:7], {"a": [1, "\u00fc"]}, *ROW[8:])


@pytest.mark.parametrize(
    ("column", "value"),
    [(0, 1 << 63), (1, 1 << 31), (1, -(1 << 31) - 1), (2, 1 << 15), (3, "longer than ten"), (3, "nul\x00"), (7, "{no json")],
)
def test_what_does_not_fit_is_refused(column: int, value: Any) -> None:
    rows = [(n, *ROW[1:]) for n in range(40)] + [tuple(value if n == column else one for n, one in enumerate((99, *ROW[1:])))]
    with pytest.raises((DataError, OverflowError)), transaction.atomic():
        copy_rows("copied", COLUMNS, rows)
    assert stored() == []


def test_conflict_is_djangos_and_leaves_nothing() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        copy_rows("copied", COLUMNS, [ROW, ROW])
    assert stored() == []


def test_unknown_type_is_told_before_anything_is_sent() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE copied_money (id bigint, price numeric)")
    try:
        with pytest.raises(TypeError, match=r"numeric \(copied_money\)"):
            copy_rows("copied_money", "id, price", [(1, 2)])
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE copied_money")
