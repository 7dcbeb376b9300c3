"""The nightly verification: the audit log against its signatures, and the tables against the audit log."""

from __future__ import annotations

from django.db import transaction

from audit.verification.verify import Report, record_verified, verify
from certs.enums import AlertKind
from certs.notifications.alerts import close_alerts, raise_alert
from certs.reconciliation.figures import compare_figures
from certs.reconciliation.records.comparison import Comparison
from certs.reconciliation.records.missing import compare_events
from certs.reconciliation.records.power import compare_power
from certs.reconciliation.records.states import compare_states
from db.clock import database_now


def verify_records() -> dict[str, int]:
    """Verify the log, then compare it with the tables. Returns how many problems each has.

    Effects: an event `audit:verified` when the log is whole; an alert for each of the two that has
    problems, closed when a later run finds none. Changes nothing else.
    """
    report = verify(now=database_now())
    if report.success:
        record_verified(report, by="nightly verification")
    _alert_log(report)
    comparison = Comparison()
    for compare in (compare_states, compare_power, compare_events, compare_figures):
        compare(comparison)
    _alert_states(comparison)
    return {"log": len(report.findings.problems), "states": comparison.total}


@transaction.atomic
def _alert_log(report: Report) -> None:
    first = report.findings.first()
    if first is None:
        close_alerts(kind=AlertKind.VERIFICATION_FAILED, cause="audit log", now=database_now())
        return
    where = f"event {first.event_id}" if first.event_id is not None else "no single event"
    raise_alert(
        kind=AlertKind.VERIFICATION_FAILED,
        cause="audit log",
        message=f"The audit log was changed behind the portal's back. First: {where}: {first.problem}",
        next_step="Stop the workers, keep a copy of the database and of checkpoints.log, and run `manage.py verify_audit`.",
        now=database_now(),
    )


@transaction.atomic
def _alert_states(comparison: Comparison) -> None:
    if not comparison.total:
        close_alerts(kind=AlertKind.VERIFICATION_FAILED, cause="states", now=database_now())
        return
    first = comparison.problems[0]
    raise_alert(
        kind=AlertKind.VERIFICATION_FAILED,
        cause="states",
        message=f"The audit log does not explain {comparison.total} row(s). First: {first.kind} {first.name}: {first.problem}",
        next_step="Run `manage.py verify_states` for all of them. Somebody wrote rows, or removed events, without the portal.",
        now=database_now(),
    )
