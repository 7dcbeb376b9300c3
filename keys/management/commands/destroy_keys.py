"""`manage.py destroy_keys`: destroy what is to be destroyed, with a login that may. Makes no decision: those are in the database."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management import BaseCommand, CommandParser

from keys.lifecycle.destroy import finish_destructions
from keys.models import Key


class Command(BaseCommand):
    help = "Destroy the keys whose destruction was begun (docs/operations/keys.md). Exit code 1 when one could not be."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        done = finish_destructions()
        keys = {pk: f"{key} version {key.version}" for pk, key in Key.objects.in_bulk(list(done)).items()}
        failed = {keys[pk]: error.for_people for pk, error in done.items() if error is not None}
        destroyed = [keys[pk] for pk, error in done.items() if error is None]
        standing = Key.objects.filter(state=Key.State.DESTROYING).count()
        answer = {"success": not failed, "destroyed": destroyed, "failed": failed, "standing": standing}
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
