"""Work on several CAs in which the failure of one never stops the others."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.db import transaction

from certs.alone import Alone
from certs.ca.base import CAUnreachable
from certs.enums import AlertKind
from certs.errors import PortalError, joined
from certs.notifications.alerts import close_alerts, raise_alert
from certs.status.crl import CRLWithheld
from db.clock import database_now
from keys.errors import KeyBackendError

log = logging.getLogger(__name__)

# Their texts are written for people and hold no secret; of every other error only the type is
# reported.
_FOR_PEOPLE = (PortalError, KeyBackendError, CAUnreachable, CRLWithheld)


@dataclass(slots=True)
class Failures:
    """The failed steps of one CA's turn. `report` makes one alert of them, or closes the last."""

    name: str
    cause: str
    missing: str = "status information"  # what is not up to date while steps fail
    found: list[str] = field(default_factory=list)

    @contextmanager
    def caught(self, step: str) -> Iterator[None]:
        """Run one step. Its error is logged and kept for `report`; the steps after it still run.

        A time limit of the worker and exhausted memory concern the whole run and pass through.
        """
        with Alone() as outcome:
            yield
        error = outcome.error
        if isinstance(error, _FOR_PEOPLE):
            log.warning("%s: %s failed: %s", self.name, step, error)
            self.found.append(f"{step}: {error}")
        elif error is not None:
            log.error("%s: %s failed", self.name, step, exc_info=error)
            self.found.append(f"{step}: {type(error).__name__}")

    @transaction.atomic
    def report(self) -> None:
        """Raise one alert for the failed steps, or close the alert of an earlier run."""
        now = database_now()
        if not self.found:
            close_alerts(kind=AlertKind.STATUS_FAILED, cause=self.cause, now=now)
            return
        raise_alert(
            kind=AlertKind.STATUS_FAILED,
            cause=self.cause,
            message=f"{self.name}: {self.missing} is not up to date. {joined(self.found)}",
            next_step="What is published stays valid until its nextUpdate, but newer revocations may be "
            "missing. Check the CA's key backend and the log of the queue `ca`. The next run tries again.",
            now=now,
        )
