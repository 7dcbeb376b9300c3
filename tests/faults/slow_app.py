"""The portal's Celery application with one task that takes its time: `celery -A tests.faults.slow_app worker`."""

from __future__ import annotations

import time
from pathlib import Path

from pkiportal.celery import app

NAME = "tests.faults.slow_app.work"


@app.task(name=NAME)
def work(folder: str, number: int, seconds: float) -> None:
    """Work for that long, then leave a file."""
    time.sleep(seconds)
    (Path(folder) / f"done-{number}").touch()
