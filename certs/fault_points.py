"""Where a step may be interrupted: between its beats. Named once here, so that tests can crash or stall a step there.

Nothing is installed in production; `pause(...)` then costs one attribute look-up.
"""

from __future__ import annotations

from collections.abc import Callable

Observer = Callable[[str, str], None]

_observer: Observer | None = None


def observe(observer: Observer | None) -> None:
    """Install what is called at each boundary with (step, beat), or remove it with None. For tests of crash and stall."""
    global _observer  # noqa: PLW0603 - one process, one observer
    _observer = observer


def pause(step: str, beat: str) -> None:
    """A boundary: everything before it is committed, nothing after it has begun."""
    if _observer is not None:
        _observer(step, beat)
