"""`manage.py compliance_report`: the compliance report of a week, shown, written to a file or mailed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management import CommandError, CommandParser
from django.db import transaction

from audit.files import write_whole
from certs.errors import InputRefused
from certs.management.portal_command import PortalCommand
from certs.models import ComplianceReport
from certs.reports.documents import FORMATS
from certs.reports.keeping import keep_report, mail_report, write_mails
from certs.reports.weeks import Week
from certs.reports.words import sentence
from db.clock import database_now


class Command(PortalCommand):
    help = "Compute the compliance report of a week (by default of this week, until now), keep it, and show it."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--week", metavar="2026-W48", help="ISO 8601 week; a report that was mailed is shown as it was mailed")
        parser.add_argument("--email", action="store_true", help="mail it to the security team")
        parser.add_argument("--output", metavar="FILE", type=Path, help="write it to FILE.html, FILE.pdf or FILE.json")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        output: Path | None = options["output"]
        if output is not None and output.suffix not in FORMATS:
            raise CommandError(f"--output takes a file that ends in {', '.join(FORMATS)}.", returncode=2)
        row = _report(options["week"])
        answer = {"success": True, "week": row.week, "sentence": sentence(row.facts)}
        answer |= {figure["key"]: figure["value"] for figure in row.facts["figures"]}
        answer |= {"policy_version": row.facts["compliance"]["policy_version"], "as_of": row.facts["as_of"]}
        if output is not None:
            self._write(row, output)
            answer["output"] = str(output)
        if options["email"]:
            answer["mails"] = _mail(row)
        return answer

    def show(self, answer: dict[str, Any]) -> None:
        if not answer["success"]:
            super().show(answer)
            return
        percent = "no certificate yet" if answer["compliance"] is None else f"{answer['compliance']:.1f} %"
        lines = [
            answer["sentence"],
            f"Active certificates      {answer['active']:>9,}",
            f"Expiring this month      {answer['expiring']:>9,}",
            f"Revoked this week        {answer['revoked']:>9,}",
            f"Policy compliance        {percent:>9}   ({answer['policy_version']})",
            f"The report of {answer['week']}, as of {answer['as_of'][:16]} UTC, is in the portal: /reports/{answer['week']}/",
        ]
        lines += [f"Written to {answer['output']}"] if "output" in answer else []
        lines += [f"{answer['mails']} mail(s) written"] if "mails" in answer else []
        self.stdout.write("\n".join(lines))

    def _write(self, row: ComplianceReport, output: Path) -> None:
        write_whole(output, [FORMATS[output.suffix](row)])


def _report(text: str | None) -> ComplianceReport:
    now = database_now()
    week = Week.parse(text) if text else Week.of(now)
    if week.start > now:
        raise InputRefused(f"The week {week} has not begun.", field="week", next_step=f"This week is {Week.of(now)}.")
    kept = ComplianceReport.objects.filter(week=str(week), mailed_at__isnull=False).first()
    return kept or keep_report(week)


@transaction.atomic
def _mail(row: ComplianceReport) -> int:
    """The mail of a week that has ended counts as its weekly mail; any other is one more."""
    now = database_now()
    if row.complete and row.mailed_at is None:
        return mail_report(Week.parse(row.week))
    return write_mails(row, key=f"report:{row.week}:{now:%Y%m%d%H%M%S}", now=now)
