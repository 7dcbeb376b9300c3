"""What one transaction writes, collected in an object that is passed and written at its end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from django.db import models, transaction

from db import rows
from db.backend import on_postgresql
from db.pipeline import Row, Statement
from db.rows import NewRows, Values


class StaleRow(RuntimeError):
    """A row that a unit of work updates is not as it was read: the caller had not locked it. Nothing was written."""


class UnitOfWork:
    """`with UnitOfWork() as work:` opens the transaction; what is added to `work` is written at the end of the block.

    Small units are written as multi-row INSERTs in one round trip, large ones by COPY. Until the
    end nobody can read the new rows, and an IntegrityError that they cause is raised there. An
    exception within the block rolls everything back. Within another transaction it is a savepoint.
    """

    def __init__(self) -> None:
        self._transaction = ExitStack()
        self._new: dict[type[models.Model], list[models.Model]] = {}
        self._new_rows: set[int] = set()  # by identity: a model that has no id yet cannot be hashed
        self._changes: dict[tuple[type[models.Model], Any], _Change] = {}
        self._before: list[tuple[models.Model, str, Any]] = []

    def __enter__(self) -> Self:
        self._transaction.enter_context(transaction.atomic())
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None:
            self._take_back()
            self._transaction.__exit__(kind, exc, tb)
            return
        try:
            with self._transaction:
                self.write()
        except BaseException:
            self._take_back()
            raise

    def _take_back(self) -> None:
        """Set rows that were changed in memory back to what is stored, so that the caller may repeat the work."""
        for row, name, value in reversed(self._before):
            setattr(row, name, value)

    def insert(self, *groups: Sequence[models.Model]) -> None:
        """Add new rows, each group of one model. They are written as they are at the end of the block.

        Rows without an id get one at the end; call `db.rows.give_ids` before for those to which others refer.
        """
        for group in groups:
            if group:
                self._new.setdefault(type(group[0]), []).extend(group)
                self._new_rows.update(map(id, group))

    def is_new(self, row: models.Model) -> bool:
        """Return whether the row was added to this unit, so that nobody else can know it."""
        return id(row) in self._new_rows

    def update(self, row: models.Model, values: Values, *, was: Values | None = None) -> None:
        """Set attributes of a row that this transaction has locked, and write them at the end; of a new row nothing more.

        `was`: values that the stored row must still have; if it has not, `StaleRow` is raised at the
        end. Several updates of one row are written once, and the first `was` counts.
        """
        # In memory at once: steps of the same unit that come later see the new state.
        for name, value in values.items():
            self._before.append((row, name, getattr(row, name)))
            setattr(row, name, value)
        if self.is_new(row):
            return
        change = self._changes.setdefault((type(row), row.pk), _Change({}, was or {}))
        change.values.update({name: value.pk if isinstance(value, models.Model) else value for name, value in values.items()})

    def write(self) -> None:
        """Write what was collected. Called at the end of the block."""
        self.number(())
        self.write_with(())

    def number(self, first: Sequence[Statement], *, also: Sequence[tuple[str, int]] = ()) -> tuple[list[list[Row]], list[Sequence[int]]]:
        """Give ids to the new rows, as `db.rows.number` does."""
        return rows.number(list(self._new.values()), first=first, also=also)

    def write_with(self, more: Sequence[NewRows]) -> None:
        """Write what was collected and `more` rows; on PostgreSQL in one round trip, as far as they do not go by COPY."""
        new, changes = list(self._new.values()), self._by_guard()
        self._new, self._changes = {}, {}
        self._new_rows.clear()
        # Updates come first: they may free what is unique for a new row, such as the one open attempt.
        if not on_postgresql():
            for (model, was), values in changes.items():
                _check(model, rows.update(model, values, only_if=dict(was)), len(values))
            rows.insert(*new)
            rows.write_new(more)
            return
        updates = {key: rows.update_statements(key[0], values, only_if=dict(key[1])) for key, values in changes.items()}
        statements = [statement for group in updates.values() for statement in group]
        written = iter(rows.write_new([*map(rows.new_rows, new), *more], first=statements))
        for key, group in updates.items():
            _check(key[0], sum(next(written) for _ in group), len(changes[key]))

    def _by_guard(self) -> dict[tuple[type[models.Model], tuple[tuple[str, Any], ...]], dict[Any, Values]]:
        """Return the changes that are written together: of one model, under one condition."""
        groups: dict[tuple[type[models.Model], tuple[tuple[str, Any], ...]], dict[Any, Values]] = {}
        for (model, pk), change in self._changes.items():
            groups.setdefault((model, tuple(change.was.items())), {})[pk] = change.values
        return groups


class _Change:
    __slots__ = ("values", "was")

    def __init__(self, values: dict[str, Any], was: Values) -> None:
        self.values, self.was = values, was


def _check(model: type[models.Model], written: int, expected: int) -> None:
    if written != expected:
        raise StaleRow(
            f"{expected - written} of {expected} rows of {model.__name__} were changed by another transaction; nothing was written."
        )
