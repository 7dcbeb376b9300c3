"""The boundaries between the phases of a step, at which tests crash or stall it.

In production no observer is installed, and `pause(...)` costs one attribute look-up.
"""

from __future__ import annotations

from collections.abc import Callable

Observer = Callable[[str, str], None]

_observer: Observer | None = None


def observe(observer: Observer | None) -> None:
    """Install an observer that is called at each boundary with (step, phase), or remove it with None. For tests of crash and stall."""
    global _observer  # noqa: PLW0603 - one process, one observer
    _observer = observer


def pause(step: str, phase: str) -> None:
    """Mark a boundary: everything before it is committed, nothing after it has begun."""
    if _observer is not None:
        _observer(step, phase)
