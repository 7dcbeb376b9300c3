"""A report's life: claimed, computed, stored, mailed. Each step may be repeated; each week's mail is written once."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from certs.enums import AlertKind
from certs.errors import Conflict
from certs.models import ComplianceReport
from certs.notifications.alerts import close_alerts, raise_alert
from certs.notifications.audience import security_team, to_addresses
from certs.notifications.notices import Attachment, notify
from certs.notifications.topics import Topic
from certs.reports.charts import charts
from certs.reports.facts import WEEKS_BACK, compute
from certs.reports.plots import plots
from certs.reports.weeks import Week
from certs.reports.words import sentence, subject
from db.clock import database_now

log = logging.getLogger(__name__)


class ReportInProgress(Conflict):
    """Another run has claimed the week and may be at work."""


def weekly_report() -> bool:
    """Compute and mail the report of the week that ended last, unless that was done. Returns whether it was done now.

    Run it as often as you like, and twice at once: one claims the week, and the mails carry a key
    of the week. What fails is an alert, and raises. Raises ReportInProgress while another run has
    claimed the week: that run may have been killed, and a run that ended well would not be repeated.
    """
    now = database_now()
    week = Week.of(now).plus(-1)
    lease = _claim(week, now=now)
    if lease is None:
        return False
    try:
        keep_report(week, lease=lease)
        return bool(mail_report(week))
    except Exception as exc:
        _alert(week, exc)
        raise


@transaction.atomic
def _claim(week: Week, *, now: datetime) -> datetime | None:
    """Claim a week that is not mailed yet. Returns the end of the lease; None where it was mailed. Raises ReportInProgress."""
    row, _ = ComplianceReport.objects.select_for_update().get_or_create(week=str(week))
    if row.mailed_at is not None:
        return None
    if row.lease_until is not None and row.lease_until > now:
        raise ReportInProgress(
            f"Another run computes the report of {week}, or was killed at it.",
            next_step=f"It is tried again automatically; `manage.py compliance_report --week {week} --email` does it at once.",
        )
    # No run lives longer than its task may, so the week is free when the schedule repeats a killed run.
    row.lease_until, row.tries = now + timedelta(seconds=settings.CELERY_TASK_TIME_LIMIT), row.tries + 1
    row.save(update_fields=["lease_until", "tries"])
    return row.lease_until


def keep_report(week: Week, *, lease: datetime | None = None) -> ComplianceReport:
    """Compute the report of a week and store it. Returns what is stored.

    With a `lease` nothing is stored once another run has taken the week over. A report that was
    mailed stays as it was mailed. Raises InputRefused for a week that has not begun.
    """
    now = database_now()
    computed = compute(week, now=now, history=history_before(week))
    with transaction.atomic():
        row, _ = ComplianceReport.objects.select_for_update().get_or_create(week=str(week))
        if row.mailed_at is None and (lease is None or row.lease_until == lease):
            row.as_of, row.complete = now, now >= week.end
            row.facts, row.list_csv, row.error = computed.facts, computed.list_csv, ""
            row.save()
    return row


def history_before(week: Week) -> list[dict[str, Any]]:
    """Return the compliance that earlier reports stated, oldest first. Weeks without a report are left out."""
    first, last = str(week.plus(1 - WEEKS_BACK)), str(week.plus(-1))
    rows = ComplianceReport.objects.filter(week__gte=first, week__lte=last, as_of__isnull=False).order_by("week")
    return [
        {"week": row["week"], "percent": row["facts__compliance__percent"], "policy_version": row["facts__compliance__policy_version"]}
        for row in rows.values("week", "facts__compliance__percent", "facts__compliance__policy_version")
    ]


@transaction.atomic
def mail_report(week: Week) -> int:
    """Put the mails of a stored report on the list, once. Returns how many; 0 where it was done before."""
    row = ComplianceReport.objects.select_for_update().get(week=str(week))
    if row.mailed_at is not None:
        return 0
    now = database_now()
    written = write_mails(row, key=f"report:{row.week}", now=now)
    row.mailed_at, row.lease_until = now, None
    row.save(update_fields=["mailed_at", "lease_until"])
    close_alerts(kind=AlertKind.REPORT_FAILED, cause=f"report:{row.week}", now=now)
    return written


def write_mails(row: ComplianceReport, *, key: str, now: datetime) -> int:
    """Write the mails of a report to the security team. Returns how many. Needs an open transaction."""
    return notify(
        Topic.REPORT,
        key=key,
        audience=security_team() | to_addresses(settings.PKI_REPORT_EMAILS),
        subject=subject(row.facts),
        template="weekly_report",
        context={"report": row, "facts": row.facts, "sentence": sentence(row.facts), "charts": charts(row.facts)},
        now=now,
        attachments=_attachments(row),
    )


def _attachments(row: ComplianceReport) -> list[Attachment]:
    pictures = [Attachment(f"{name}.png", "image/png", png, name) for name, png in plots(row.facts).items()]
    if not row.facts["compliance"]["fails"]:
        return pictures
    return [*pictures, Attachment(f"not-compliant-{row.week}.csv", "text/csv", row.list_csv.encode())]


@transaction.atomic
def _alert(week: Week, exc: Exception) -> None:
    """Alert operators to a report that failed. The error's text may quote anything, so only its type is named."""
    ComplianceReport.objects.filter(week=str(week)).update(error=type(exc).__name__, lease_until=None)
    raise_alert(
        kind=AlertKind.REPORT_FAILED,
        cause=f"report:{week}",
        message=f"The compliance report of {week} could not be computed or mailed: {type(exc).__name__}.",
        next_step="The log has the traceback. The portal tries again automatically; `manage.py compliance_report "
        f"--week {week} --email` does it at once.",
        now=database_now(),
    )
