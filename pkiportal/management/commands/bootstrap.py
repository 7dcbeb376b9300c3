"""`manage.py bootstrap`: everything a new installation needs. Run again, it adds what is missing and changes nothing else."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, CommandParser, call_command

from certs.models import Issuer
from db.sql import one_process_at_a_time
from keys.spec import KeySpec
from pkiportal.bootstrapping import Bootstrap

_ONE_BOOTSTRAP = 0x626F6F74  # "boot": nothing else in this database uses the number


class Command(BaseCommand):
    help = "Migrate, then make groups, default policy, profiles, team, CA and schedules where they are missing."

    _has_said = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
        parser.add_argument("--demo", action="store_true", help="also make a demo login whose password is printed once")
        parser.add_argument(
            "--ca-key", default="ec-p256", choices=[*KeySpec], help="key of root and issuing CA when they are made (default: %(default)s)"
        )

        parser.add_argument(
            "--organization",
            default="",
            help="organization in the names of root and issuing CA when they are made, permanently "
            "(default: PKI_CA_ORGANIZATION; else a question on a terminal; else a unique name)",
        )
        parser.add_argument(
            "--no-input",
            "--noinput",
            action="store_false",
            dest="interactive",
            help="ask no question",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        as_json = options["json"]
        quiet = 0 if as_json else 1
        bootstrap = Bootstrap(
            ca_key=options["ca_key"],
            report=(lambda line: None) if as_json else self._report,
            organization=_checked(options["organization"]),
        )
        bootstrap.check_settings()
        with one_process_at_a_time(_ONE_BOOTSTRAP, self._waits):
            call_command("migrate", interactive=False, verbosity=0)
            silent = as_json or options["demo"] or not options["interactive"] or not sys.stdin.isatty()
            if not silent and not bootstrap.organization:
                bootstrap.organization = _asked_for()
            result = bootstrap.run(demo=options["demo"])
        if as_json:
            self.stdout.write(json.dumps({"success": True, **result}, indent=2))
        elif quiet:
            self.stdout.write(self.style.SUCCESS("bootstrap: ready"))

    def _waits(self) -> None:
        if not self._has_said:
            self.stderr.write("Another bootstrap of this database is at work; this one begins when that has ended.")
            self._has_said = True

    def _report(self, line: str) -> None:
        self.stdout.write(f"  {line}")
        self.stdout.flush()


def _checked(organization: str) -> str:
    """Return the name without outer spaces. X.509 limits it to 64 characters (RFC 5280 A.1)."""
    name = organization.strip()
    if len(name) > 64 or not name.isprintable():
        raise CommandError("--organization must be a name of at most 64 characters.", returncode=2)
    return name


def _asked_for() -> str:
    """Ask for the organization of the CA before it is made; an empty line means a unique name."""
    if settings.PKI_CA_ORGANIZATION or Issuer.objects.filter(name=settings.PKI_DEFAULT_CA).exists():
        return ""
    question = "Organization in the CA's name, permanently (Enter: a unique name): "
    return _checked(input(question))
