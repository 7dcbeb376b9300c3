"""`pk` for the models that go by the hundred: Django looks up the primary key's field each time that it is asked."""

from __future__ import annotations

from operator import attrgetter
from typing import Any


def _set_id(row: Any, value: Any) -> None:
    row.id = value


class IdIsKey:
    """Before models.Model among a model's bases: its primary key is `id`."""

    pk = property(attrgetter("id"), _set_id)
