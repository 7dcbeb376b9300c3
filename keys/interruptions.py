"""Exceptions about the process, which say nothing about the item in hand."""

from __future__ import annotations

from billiard.exceptions import SoftTimeLimitExceeded

# Re-raise these before every `except Exception` that turns a failure into the fate of one order,
# key or CSR. Celery raises the first, a plain Exception, when a task's soft time limit is over;
# Python the second when the process has no memory left. (KeyboardInterrupt and SystemExit are no
# Exceptions, so only an `except BaseException` must name them too.)
INTERRUPTIONS: tuple[type[Exception], ...] = (SoftTimeLimitExceeded, MemoryError)
