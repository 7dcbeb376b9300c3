"""`export_audit`: the log as JSON lines, for an auditor or another system."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.export import export
from audit.files import write_whole
from audit.models import AuditEvent


class Command(BaseCommand):
    help = "Write audit events as JSON lines, one event a line, with their place in the sealed tree."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since", metavar="DATE", help="only events from then on, such as 2027-01-31 or 2027-01-31T08:00:00+00:00 (UTC if not said)"
        )
        parser.add_argument("--output", type=Path, metavar="FILE", help="write there, and print how many; else the lines are printed")
        parser.add_argument("--json", action="store_true", help="with --output: print the result as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        events = AuditEvent.objects.all()
        if options["since"]:
            events = events.filter(at__gte=_moment(options["since"]))
        if options["output"] is None:
            for line in export(events):
                self.stdout.write(line, ending="")
            return
        count = write_whole(options["output"], (line.encode() for line in export(events)))
        self.stdout.write(json.dumps({"success": True, "events": count}) if options["json"] else f"{count} events written.")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as exc:  # the first and last hours of the calendar have no UTC
        raise CommandError(f"--since takes a date such as 2027-01-31, not {text!r}.", returncode=2) from exc
