"""One run of the sweeper: bounded in time. An error of a CA, a part or a row does not stop the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models, transaction
from django.db.models import F, Q

from certs.alone import Alone
from certs.ca.base import CAClient, CAUnreachable
from certs.ca.registry import get_ca_client
from certs.enums import AlertKind
from certs.models import Issuer
from certs.notifications.alerts import ca_cause, close_alerts, raise_alert
from db.clock import database_now

log = logging.getLogger(__name__)

PART_SECONDS = 20.0  # of one part; the parts of a turn together stay far below Celery's limit
PAGE = 100
Row = TypeVar("Row", bound=models.Model)


class Turn:
    """The CAs that one run serves. A CA that does not answer is left out for the rest of the run, so
    that it costs one time-out and does not delay the others.
    """

    def __init__(self, issuers: Iterable[Issuer] | None = None) -> None:
        chosen = Issuer.objects.exclude(alias="") if issuers is None else issuers
        self._served = {issuer.pk for issuer in chosen}
        self._serving = set(self._served)
        self.began = database_now()
        self._until = time.monotonic() + PART_SECONDS

    def start_part(self) -> None:
        """Begin the time of the next part, and renew the lease on the CAs."""
        self._until = time.monotonic() + PART_SECONDS
        until = database_now() + timedelta(seconds=PART_SECONDS + settings.PKI_ATTEMPT_LEASE_SECONDS)
        Issuer.objects.filter(pk__in=self._served, sweep_lease_until__isnull=False).update(sweep_lease_until=until)

    def is_over(self) -> bool:
        return time.monotonic() >= self._until

    @property
    def issuers(self) -> list[int]:
        """Ids of the CAs that are still served."""
        return sorted(self._serving)

    def serves(self, issuer: Issuer) -> bool:
        return issuer.pk in self._serving

    def leave_out(self, issuer: Issuer) -> None:
        """Ask that CA for nothing more in this turn."""
        self._serving.discard(issuer.pk)

    def client(self, issuer: Issuer) -> CAClient | None:
        """Return the CA's client. None for a CA that is not configured: it is left out, and operators are alerted."""
        try:
            client = get_ca_client(issuer.alias)
        except ImproperlyConfigured as exc:
            self.leave_out(issuer)
            log.error("%s is not configured: %s", issuer.name, exc)  # noqa: TRY400 - the text says it all
            _alert_configuration(issuer, str(exc))
            return None
        close_alerts(kind=AlertKind.CA_MISCONFIGURED, cause=ca_cause(issuer), now=database_now())
        return client

    def not_served(self, issuer: Issuer, error: CAUnreachable) -> None:
        """Note that the CA did not do what was asked. It is left out unless it answered."""
        if not error.answered:
            self.leave_out(issuer)


def claim_ca(issuer_id: int) -> Issuer | None:
    """Take the lease of a CA's sweep. Returns None while another worker has it."""
    now = database_now()
    free = Issuer.objects.filter(Q(sweep_lease_until__isnull=True) | Q(sweep_lease_until__lt=now), pk=issuer_id)
    until = now + timedelta(seconds=PART_SECONDS + settings.PKI_ATTEMPT_LEASE_SECONDS)
    return Issuer.objects.get(pk=issuer_id) if free.update(sweep_lease_until=until) else None


def let_go_of_ca(issuer_id: int) -> None:
    """End the lease of a CA's sweep."""
    Issuer.objects.filter(pk=issuer_id).update(sweep_lease_until=None)


@transaction.atomic
def _alert_configuration(issuer: Issuer, error: str) -> None:
    raise_alert(
        kind=AlertKind.CA_MISCONFIGURED,
        cause=ca_cause(issuer),
        message=f"{issuer.name} cannot be used: {error}",
        next_step="Correct CA_CLIENTS or its environment variables where this CA's workers run, and restart them. Its requests wait.",
        now=database_now(),
    )


def run_parts(parts: Iterable[tuple[str, Callable[[Turn], int]]], turn: Turn) -> dict[str, int | str]:
    """Run each part alone. Returns what each returned, or "failed".

    The parts after a failed one still run; the error is logged, and an alert names the part until it
    works again.
    """
    result: dict[str, int | str] = {}
    for name, part in parts:
        turn.start_part()
        with Alone() as outcome:
            result[name] = part(turn)
        if outcome.error is None:
            close_alerts(kind=AlertKind.SWEEP_FAILED, cause=f"sweep:{name}", now=database_now())
        else:
            log.error("sweeper: %s failed", name, exc_info=outcome.error)
            result[name] = "failed"
            _alert_failure(f"sweep:{name}", f"The sweeper could not do one of its parts ({name})", outcome.error)
    return result


@transaction.atomic
def _alert_failure(cause: str, what: str, exc: Exception) -> None:
    """Alert operators. The error's text may quote anything, so only its type is named."""
    raise_alert(
        kind=AlertKind.SWEEP_FAILED,
        cause=cause,
        message=f"{what}: {type(exc).__name__}.",
        next_step="The worker's log has the traceback. The sweeper tries again every few seconds; all else goes on.",
        now=database_now(),
    )


def each_alone(what: str, ids: Iterable[int], act: Callable[[int], bool]) -> int:
    """Call `act` for each id. Returns how often it was True.

    A failure is logged, and the next ids follow. One alert reports how many failed, and counts the
    runs, until a run without a failure closes it.
    """
    done, failed = 0, {}
    for pk in ids:
        with Alone() as outcome:
            done += act(pk)
        if outcome.error is not None:
            log.error("%s %s failed", what, pk, exc_info=outcome.error)
            failed[pk] = outcome.error
    cause = f"each:{what}"
    if failed:
        first, error = next(iter(failed.items()))
        _alert_failure(cause, f"{what}: {len(failed)} failed, first {first}", error)
    else:
        close_alerts(kind=AlertKind.SWEEP_FAILED, cause=cause, now=database_now())
    return done


def each_due(
    rows: models.QuerySet[Row],
    turn: Turn,
    act: Callable[[Row, Turn], bool],
    *,
    issuer_of: Callable[[Row], Issuer],
    issuer_path: str,
) -> int:
    """Call `act` for each row that no other worker has, the longest untried first. Returns how often
    it was True.

    `act` settles the row, or leaves it for a later run (False). Each row has a lease of its own, and
    all rows are tried before any is tried again, so a row that is never settled hides no other. An
    error of one row is logged and alerted, and the next row follows.
    """
    done = 0
    free = rows.filter(Q(lease_until__isnull=True) | Q(lease_until__lte=turn.began))
    ordered = free.order_by(F("lease_until").asc(nulls_first=True), "pk")
    while not turn.is_over():
        page = list(ordered.filter(**{f"{issuer_path}__in": turn.issuers})[:PAGE])
        if not page:
            break
        for row in page:
            if turn.is_over():
                break
            if not turn.serves(issuer_of(row)):
                continue
            until = database_now() + timedelta(seconds=settings.PKI_ATTEMPT_LEASE_SECONDS)
            if free.filter(pk=row.pk).update(lease_until=until):  # else another worker has it
                done += _alone(rows, row, turn, act)
    return done


def _alone(rows: models.QuerySet[Row], row: Row, turn: Turn, act: Callable[[Row, Turn], bool]) -> bool:
    kind = type(row)
    cause = f"sweep:{kind.__name__}:{row.pk}"
    settled = False
    with Alone() as outcome:
        settled = act(row, turn)
    if outcome.error is not None:
        log.error("sweeper: %s %s failed", kind.__name__, row.pk, exc_info=outcome.error)
        _alert_failure(cause, f"{kind._meta.verbose_name} {row.pk} cannot be settled", outcome.error)
    if not settled:  # free again, after all rows that were not tried since
        rows.filter(pk=row.pk).update(lease_until=database_now())
    return settled
