"""Many ids as one parameter of a query: a list of thousands costs the database and Django a millisecond for each few ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import F, Lookup

from db.sql import among_ids, id_list


class _AnyOf(Lookup):
    """`column = ANY(ids)`; of SQLite, `column IN (ids)`."""

    lookup_name = "any_of"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[str | int, ...]]:
        """Return the condition, with all ids in one parameter."""
        column, parameters = self.process_lhs(compiler, connection)
        return among_ids(column), (*parameters, self.rhs)


def among(column: str, ids: Sequence[int]) -> Any:
    """Return the condition that an integer column is among these ids, for `filter` and `exclude`."""
    return _AnyOf(F(column), id_list(ids))
