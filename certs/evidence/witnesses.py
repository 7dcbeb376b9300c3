"""Cosignatures of witnesses: collected on a schedule, shown on the audit page, an alert for a witness that is silent."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from audit.models import WitnessState
from audit.transparency.witness import WitnessFailed, ask_witness, configured_witnesses
from certs.enums import AlertKind
from certs.notifications.alerts import close_alerts, raise_alert
from db.clock import database_now
from keys.bounded import BoundedCalls

_calls = BoundedCalls(most=8)
log = logging.getLogger(__name__)
# A witness is asked every minute. One that was restarted is no alert.
SILENT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class WitnessLine:
    """A witness as a page shows it. `silent`: its last cosignature is older than `SILENT`."""

    name: str
    url: str
    epoch: int
    size: int
    cosigned_at: datetime | None
    error: str
    silent: bool


def ask_witnesses() -> int:
    """Ask every configured witness to cosign the newest checkpoint. Returns how many cosigned it now.

    Each alone: one that fails stops no other. A witness without a cosignature for `SILENT` is an alert,
    which is closed when it cosigns again or is not configured any more.
    """
    cosigned = 0
    for witness in configured_witnesses():
        try:
            cosigned += ask_witness(witness, now=database_now(), calls=_calls) is not None
        except WitnessFailed as exc:
            log.warning("witness without a cosignature: %s", exc)
    now = database_now()
    lines = witness_lines(now)
    for line in lines:
        with transaction.atomic():
            _alert(line, now)
    gone = WitnessState.objects.exclude(witness__in=[line.name for line in lines])
    for name in gone.values_list("witness", flat=True):
        close_alerts(kind=AlertKind.WITNESS_SILENT, cause=f"witness:{name}", now=now)
    return cosigned


def _alert(line: WitnessLine, now: datetime) -> None:
    cause = f"witness:{line.name}"
    if not line.silent:
        close_alerts(kind=AlertKind.WITNESS_SILENT, cause=cause, now=now)
        return
    since = f"since {line.cosigned_at:%Y-%m-%d %H:%M} UTC" if line.cosigned_at else "at all so far"
    raise_alert(
        kind=AlertKind.WITNESS_SILENT,
        cause=cause,
        message=f"The witness {line.name} has not cosigned the audit log {since}. {line.error}".strip(),
        next_step="Sealing goes on. Look whether the witness works and is reachable from the worker of the queue `mail`; "
        "remove it from PKI_AUDIT_WITNESSES if it is gone.",
        now=now,
    )


def witness_lines(now: datetime) -> list[WitnessLine]:
    """Return every configured witness with its state."""
    states = {state.witness: state for state in WitnessState.objects.all()}
    lines = []
    for witness in configured_witnesses():
        state = states.get(witness.key.name)
        if state is None:
            lines.append(WitnessLine(witness.key.name, witness.url, 0, 0, None, "", silent=False))
            continue
        # In a log without new events a witness has nothing to sign: what counts is that it answered.
        answered = state.tried_at if not state.error else state.cosigned_at or state.since
        lines.append(
            WitnessLine(
                state.witness,
                witness.url,
                state.epoch,
                state.cosigned_size,
                state.cosigned_at,
                state.error,
                silent=now - answered > SILENT,
            )
        )
    return lines
