"""`manage.py bootstrap`: everything a new installation needs. Run again, it adds what is missing and changes nothing else."""

from __future__ import annotations

import json
from typing import Any

from django.core.management import BaseCommand, CommandParser, call_command

from pkiportal.bootstrapping import Bootstrap


class Command(BaseCommand):
    help = "Migrate, then make groups, default policy, profiles, team, CA and schedules where they are missing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
        parser.add_argument("--demo", action="store_true", help="also make a demo login whose password is printed once")
        parser.add_argument("--ca-key", default="ec-p256", help="key of root and issuing CA when they are made (default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        as_json = options["json"]
        quiet = 0 if as_json else 1
        bootstrap = Bootstrap(ca_key=options["ca_key"], tell=(lambda line: None) if as_json else self._tell)
        bootstrap.check_settings()
        call_command("migrate", interactive=False, verbosity=0)
        result = bootstrap.run(demo=options["demo"])
        if as_json:
            self.stdout.write(json.dumps({"success": True, **result}, indent=2))
        elif quiet:
            self.stdout.write(self.style.SUCCESS("bootstrap: ready"))

    def _tell(self, line: str) -> None:
        self.stdout.write(f"  {line}")
        self.stdout.flush()
