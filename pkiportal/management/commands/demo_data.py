"""`manage.py demo_data`: fill an empty embedded portal with a believable year, to look at pages and reports."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, CommandParser
from django.db import connection

_MOST = 5000


class Command(BaseCommand):
    help = "Fill an empty embedded portal with an estate of some hundred certificates, a year old. For looking, never for use."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--certificates", type=int, default=400, help="requests in the year, renewals apart (default: %(default)s)")
        parser.add_argument("--json", action="store_true", help="print one JSON object at the end")

    def handle(self, *args: Any, **options: Any) -> None:
        if not getattr(settings, "PKI_EMBEDDED", False):
            raise CommandError("Demo data is for the embedded portal alone; this one is set up for production.", returncode=2)
        if not 1 <= options["certificates"] <= _MOST:
            raise CommandError(f"--certificates takes 1 to {_MOST}.", returncode=2)
        if "certs_issuer" in connection.introspection.table_names() and _has_a_ca():
            raise CommandError(
                f"The portal in {settings.PKI_HOME} is set up already, and its past cannot be invented. "
                "Choose an empty folder: PKI_HOME=var-demo manage.py demo_data",
                returncode=1,
            )
        settings.PKI_DEMO_DATA_FILE.touch(mode=0o600)
        from pkiportal.demo.estate import DemoEstate  # noqa: PLC0415 - imports models of an app registry that is ready

        def report(line: str) -> None:
            if not options["json"]:
                self.stdout.write(f"  {line}")
                self.stdout.flush()

        made = DemoEstate(options["certificates"], report).make()
        if options["json"]:
            self.stdout.write(json.dumps({"success": True, **made}))
            return
        self.stdout.write(self.style.SUCCESS(f"demo data: {made['certificates']} certificates of {made['teams']} teams"))
        self.stdout.write("Serve it with the same PKI_HOME: manage.py up")


def _has_a_ca() -> bool:
    from certs.models import Issuer  # noqa: PLC0415 - as above

    return Issuer.objects.exists()
