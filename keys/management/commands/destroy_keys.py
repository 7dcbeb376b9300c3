"""`manage.py destroy_keys`: destroy what is to be destroyed, with a login that may. Makes no decision: those are in the database."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management import BaseCommand, CommandParser

from keys.destruction import finish_destructions, standing_destructions

BATCH = 100


class Command(BaseCommand):
    help = "Destroy the keys whose destruction was begun (docs/operations/keys.md). Exit code 1 when one could not be."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        keys = {key.pk: f"{key} version {key.version}" for key in standing_destructions(limit=BATCH)}
        done = finish_destructions(limit=BATCH)
        failed = {keys.get(key_id, str(key_id)): error.told for key_id, error in done.items() if error is not None}
        destroyed = [keys.get(key_id, str(key_id)) for key_id, error in done.items() if error is None]
        answer = {"success": not failed, "destroyed": destroyed, "failed": failed, "standing": len(standing_destructions(limit=BATCH))}
        if options["json"]:
            self.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False))
        else:
            for name in destroyed:
                self.stdout.write(f"destroyed {name}")
            for name, why in failed.items():
                self.stdout.write(f"not destroyed: {name}: {why}")
            if not done:
                self.stdout.write("nothing is to be destroyed")
        if failed:
            self.stdout.flush()
            sys.exit(1)
