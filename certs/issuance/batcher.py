"""Calls that arrive together are answered together: one batch for the database and the CA in place of several."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST_PATIENCE = 0.01  # seconds


class Caller(Generic[Item]):
    """Who waits for its turn, and then for nothing: what became of its item was noted by whoever had the turn. `answer` is a result or
    an exception. (A Future would bring a lock of its own, which nobody needs here.)
    """

    __slots__ = ("answer", "done", "item")

    def __init__(self, item: Item) -> None:
        self.item, self.answer, self.done = item, None, False

    item: Item
    answer: Any
    done: bool

    def told(self, answer: Any) -> None:
        self.answer, self.done = answer, True


class Joiner(Generic[Item, Result]):
    """One batch at a time in a process. Whoever gets its turn takes along all that came while it waited.

    Callers that come again as soon as they are answered would take turns for ever, each alone. So a batch waits a moment, at most
    half as long as the last one took, for as many as were there at the last one; who calls alone never waits.

    `run` takes items and answers a result or an exception for each, in order; it must not raise for one item's sake.
    """

    def __init__(self, run: Callable[[Sequence[Item]], Sequence[Result | Exception]], *, most: int) -> None:
        self._run, self._most = run, most
        self._turn = threading.Lock()
        self._came = threading.Condition()  # guards what follows
        self._waiting: list[Caller[Item]] = []
        self._expected, self._patience = 1, 0.0  # callers, seconds

    def __call__(self, item: Item) -> Result:
        """The item's result. Raises the exception that `run` answered for it, or that it raised."""
        mine = Caller(item)
        with self._came:
            self._waiting.append(mine)
            self._came.notify()
        try:
            while not mine.done:
                with self._turn:
                    if not mine.done:
                        self._run_next()
        except BaseException:  # this thread is being stopped: nobody waits for its item any more
            with self._came:
                self._waiting = [waiting for waiting in self._waiting if waiting is not mine]
            raise
        if isinstance(mine.answer, Exception):
            raise mine.answer
        result: Result = mine.answer
        return result

    def _next_batch(self) -> list[Caller[Item]]:
        with self._came:
            self._came.wait_for(lambda: len(self._waiting) >= self._expected, self._patience)
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        return batch

    def _note(self, size: int, seconds: float) -> None:
        """How many the next batch may hope for, and how long."""
        with self._came:
            self._expected = min(size + len(self._waiting), self._most)
            self._patience = min(seconds / 2, MOST_PATIENCE)

    def _run_next(self) -> None:
        """One batch. What goes wrong with it is told to those whose items were in it; this thread's may still wait."""
        batch, began = self._next_batch(), time.monotonic()
        try:
            answers = list(zip(batch, self._run([caller.item for caller in batch]), strict=True))
        except Exception as exc:  # noqa: BLE001 - each caller raises it
            for caller in batch:
                caller.told(exc)
            return
        except BaseException:
            for caller in batch:  # the others must not wait for ever, whatever becomes of this thread
                caller.told(RuntimeError("the thread of this batch was stopped"))
            raise
        self._note(len(batch), time.monotonic() - began)
        for caller, answer in answers:
            caller.told(answer)
