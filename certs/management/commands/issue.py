"""`manage.py issue`: one or more certificates from a sentence, from options, or from a CSR file."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import CommandError, CommandParser

from certs.errors import InputRefused
from certs.management.order_watching import issue_in_order
from certs.management.portal_command import PortalCommand, begin_working
from certs.requests.plan import Fields, describe, plan_csr, plan_fields, plan_words
from certs.requests.representation import answer, wait
from certs.requests.submit import Requester, submit_many
from certs.spec import IssuePlan, Plan, RenewPlan
from certs.x509.csr.gate import LARGEST_LOOKED_INTO


class Command(PortalCommand):
    help = 'Issue certificates: issue "Issue TLS certificate for api.example.com with RSA 4096, 90-day validity"'

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        self.add_requester(parser)
        parser.add_argument("text", nargs="*", help="the request in words")
        parser.add_argument("--cn", default="", help="common name")
        parser.add_argument("--san", action="append", default=[], help="further name (repeat, or separate by commas)")
        parser.add_argument("--key-type", default="", help="such as rsa-4096 or ec-p256")
        parser.add_argument("--validity-days", type=int, default=None, help="default: the policy's")
        parser.add_argument("--not-after", metavar="DATE", default="", help="last day of validity (UTC), such as 2027-01-31")
        parser.add_argument("--profile", default="")
        parser.add_argument("--csr", metavar="FILE", help="PKCS#10 request; - for standard input")
        parser.add_argument("--issuer", default=None, help="CA to use (default: PKI_DEFAULT_CA)")
        self.add_wait(parser, default=120)
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
        parser.add_argument("--idempotency-key", default="", help="the same key again answers the same request")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        requester = self.requester(options, idempotency_key=options["idempotency_key"])
        plan = self._plan(options, requester)
        if not isinstance(plan, IssuePlan):
            verb = "renew" if isinstance(plan, RenewPlan) else "revoke"
            raise InputRefused(
                f"These words ask to {verb}, not to issue.", field="text", next_step=f"Use `manage.py {verb}` or `manage.py ask`."
            )
        if options["dry_run"]:
            return describe(plan, requester=requester)
        return self._issue(plan, requester, options)

    def _plan(self, options: dict[str, Any], requester: Requester) -> Plan:
        text, fields = " ".join(options["text"]), options["cn"] or options["san"]
        if sum(map(bool, (text, fields, options["csr"]))) != 1:
            raise CommandError(
                'Give exactly one of: a sentence, --cn/--san, or --csr FILE. Example: issue "Issue TLS certificate for api.example.com"',
                returncode=2,
            )
        if options["validity_days"] is not None and options["validity_days"] < 1:
            raise CommandError("--validity-days must be at least 1. Leave it out for the policy's default.", returncode=2)
        days = options["validity_days"] or 0
        if text:
            if options["key_type"] or days or options["not_after"] or options["profile"]:
                raise CommandError("With a sentence, say key, validity and profile in the sentence.", returncode=2)
            return plan_words(text, requester=requester)
        not_after = _date(options["not_after"])
        if options["csr"]:
            if options["key_type"]:
                raise CommandError("With --csr the key is the CSR's; leave --key-type out.", returncode=2)
            return plan_csr(
                self._read(options["csr"]),
                requester=requester,
                validity_days=days,
                not_after=not_after,
                profile=options["profile"],
            )
        sans = tuple(name for value in options["san"] for name in value.split(","))
        fields = Fields(options["cn"], sans, options["key_type"], days, options["profile"], not_after)
        return plan_fields(fields, requester=requester)

    def _read(self, path: str) -> bytes:
        if path == "-":
            return sys.stdin.buffer.read(LARGEST_LOOKED_INTO + 1)
        try:
            with Path(path).open("rb") as file:
                return file.read(LARGEST_LOOKED_INTO + 1)
        except OSError as exc:
            raise CommandError(f"{path} cannot be read: {exc.strerror}.", returncode=2) from exc

    def _issue(self, plan: IssuePlan, requester: Requester, options: dict[str, Any]) -> dict[str, Any]:
        begin_working()
        if not options["json"]:
            for note in plan.notes:
                self.stderr.write(f"  note: {note}")
        if len(plan.specs) >= settings.PKI_ORDER_FROM:
            title, tell = " ".join(options["text"]), self.progress(options)
            result = issue_in_order(plan, requester=requester, title=title, wait=options["wait"], tell=tell, issuer=options["issuer"])
            self.end_progress(options)
            return result
        rows = submit_many(plan.specs, requester=requester, issuer=options["issuer"])
        answers = []
        for row in rows:
            self._progress(row.public_id, options)
            answers.append(answer(wait(row, seconds=options["wait"])))
        if len(answers) == 1:
            return answers[0]
        return {"success": all(a["success"] for a in answers), "certificates": answers}

    def _progress(self, public_id: str, options: dict[str, Any]) -> None:
        if not options["json"]:
            self.stderr.write(f"  {public_id}: policy, key, CSR, CA, inventory ...")


def _date(text: str) -> date | None:
    """Raises CommandError for what is not a date of the calendar."""
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as exc:
        raise CommandError(f"--not-after takes a date such as 2027-01-31, not {text[:40]!r}.", returncode=2) from exc
