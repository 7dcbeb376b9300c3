"""Many ids as one parameter of a query: as a list they cost Django and the database a millisecond for each fifty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import F, Lookup

from db.backend import on_postgresql
from db.sql import among_ids, id_list


class _AnyOf(Lookup):
    """The condition that the column is one of the ids.

    On PostgreSQL by a subquery, from which the planner begins. Beside `= ANY` of thousands it
    expects next to nothing of other conditions, and reads the whole table by one of them.
    """

    lookup_name = "any_of"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[str | int, ...]]:
        """Return the condition, with all ids in one parameter."""
        column, parameters = self.process_lhs(compiler, connection)
        if on_postgresql():
            return f"{column} IN (SELECT unnest(CAST(%s AS bigint[])))", (*parameters, self.rhs)
        return among_ids(column), (*parameters, self.rhs)


def among(column: str, ids: Sequence[int]) -> Any:
    """Return the condition that an integer column is among these ids, for `filter` and `exclude`."""
    return _AnyOf(F(column), id_list(ids))
