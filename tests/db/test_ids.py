"""Ids for rows to come: as many as were asked for, rising, and nobody else's."""

from __future__ import annotations

from itertools import pairwise

import pytest
from django.db import connection, transaction

from db.backend import on_postgresql
from db.sql import ask, ids_of, ids_query, reserve_ids

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def taken(*wanted: tuple[str, int]) -> list[list[int]]:
    with transaction.atomic():
        return [list(ids) for ids in ids_of(ask(ids_query(*wanted))[0], len(wanted))]


@pytest.mark.parametrize("count", [0, 1, 2, 700])
def test_as_many_as_were_asked_for_of_each_table(count: int) -> None:
    events, leaves, more = taken(("audit_event", count), ("audit_checkpoint", 3), ("audit_event", 0))
    assert (len(events), len(leaves), more) == (count, 3, [])
    assert events == sorted(set(events))


def test_the_next_ones_are_others() -> None:
    if not on_postgresql():
        pytest.skip("SQLite's ids are taken by the rows that get them")
    first, second = reserve_ids("audit_event", 5), reserve_ids("audit_event", 5)
    assert first[-1] < second[0]


def test_ids_between_which_others_were_taken() -> None:
    """As when two transactions ask at once: simulated by a sequence that leaves some out."""
    if not on_postgresql():
        pytest.skip("SQLite has one writer at a time")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_serial_sequence('audit_event', 'id')")
        name = cursor.fetchone()[0]
        cursor.execute(f"ALTER SEQUENCE {name} INCREMENT BY 3")
        try:
            ids = taken(("audit_event", 4))[0]
        finally:
            cursor.execute(f"ALTER SEQUENCE {name} INCREMENT BY 1")
    assert [following - one for one, following in pairwise(ids)] == [3, 3, 3]
