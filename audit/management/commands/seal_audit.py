"""`seal_audit`: seal waiting events now, or, after a restore, begin a new tree that names the old one."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from audit.events import Actor
from audit.models import AuditUnsealed
from audit.transparency.sealer import EventAltered, TreeRefused, seal, start_epoch
from audit.transparency.signing_key import SealingKeyUnusable
from db.clock import database_now


class Command(BaseCommand):
    help = "Seal the audit events that wait. The beat does it every few seconds; this is for a portal without a worker, or after a restore."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
        parser.add_argument(
            "--new-epoch", action="store_true", help="the database was restored from a backup: begin a new tree that says so"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        answer: dict[str, Any] = {"success": True}
        try:
            if options["new_epoch"]:
                answer["epoch"] = start_epoch(actor=Actor("command", "seal_audit"), at=database_now())
            answer["sealed"] = 0
            while sealed := seal():
                answer["sealed"] += sealed
            if not answer["sealed"] and (waiting := AuditUnsealed.objects.count()):
                # "0 sealed" alone would read as if nothing waited.
                answer["waiting"] = waiting
                answer["note"] = (
                    f"{waiting} events wait: another sealer seems to be at work. Where that stays so, look at the worker of the queue "
                    "audit: one that is stopped holds the seal until PostgreSQL ends its session, ten minutes later at the latest."
                )
        except (TreeRefused, EventAltered, SealingKeyUnusable) as exc:
            answer = {"success": False, "error": str(exc)}
        if options["json"]:
            self.stdout.write(json.dumps(answer))
        elif answer["success"]:
            begun = f"Epoch {answer['epoch']} has begun. " if "epoch" in answer else ""
            self.stdout.write(" ".join(filter(None, (f"{begun}{answer['sealed']} events sealed.", answer.get("note")))))
        else:
            self.stderr.write(answer["error"])
        if not answer["success"]:
            sys.exit(1)
