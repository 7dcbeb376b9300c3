"""One item that fails in an unforeseen way fails alone: a line, an order, a mail, a CA, a part of a run."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from django.db import InterfaceError, OperationalError

from keys.interruptions import INTERRUPTIONS

# What a database that is away raises. No item of a batch is at fault then: the batch is given up, not the item.
DATABASE_AWAY = (OperationalError, InterfaceError)


class Alone:
    """Runs a block as one item of a batch: `with Alone() as outcome: ...`.

    Whatever the block raises is in `outcome.error` (None when it ended well), and the items behind it
    follow. The caller reports the error, in the log and in an alert or a result: nothing is hidden.

    A time limit of the worker and exhausted memory concern the process, not the item, and pass through.
    This is the only place where a batch catches every error (docs/decisions/0036).
    """

    __slots__ = ("error",)

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, raised: BaseException | None, _traceback: TracebackType | None) -> bool:
        if not isinstance(raised, Exception) or isinstance(raised, INTERRUPTIONS):
            return False
        self.error = raised
        return True
