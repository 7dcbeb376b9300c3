"""`manage.py policy_check FILE`: check a policy in a file, for CI: every fault with its line, and what would change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import CommandError, CommandParser
from django.db import DatabaseError

from certs.management.portal_command import PortalCommand
from certs.replay.at_once import replay_at_once
from db.clock import database_now
from policy.errors import PolicyMissing
from policy.publishing import version_in_force
from policy.rules import RuleSet
from policy.texts.differences import differences
from policy.texts.yaml_text import MOST_BYTES, TextInvalid, ruleset_from_yaml


class Command(PortalCommand):
    help = (
        "Check a policy in YAML or JSON. Prints every fault with its line; of a policy without faults "
        "what it would change, and what it would do to the certificates. Needs no database for the faults."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", metavar="FILE")
        parser.add_argument("--no-replay", action="store_true", help="only the faults and the difference")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        path = Path(options["file"])
        try:
            with path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        except OSError as exc:
            raise CommandError(f"{path} cannot be read: {exc.strerror}", returncode=2) from exc
        try:
            ruleset = ruleset_from_yaml(data)
        except TextInvalid as exc:
            faults = [{"line": one.line, "field": one.where, "message": one.message} for one in exc.faults]
            return {"success": False, "error": str(exc), "faults": faults}
        return {"success": True, "version": ruleset.version, "rules_sha256": ruleset.digest} | _effect(
            ruleset, with_replay=not options["no_replay"]
        )

    def show(self, answer: dict[str, Any]) -> None:
        """One line for each fault, as compilers write them; else the difference and the counts."""
        for fault in answer.get("faults", ()):
            self.stdout.write(f"line {fault['line']}: {fault['field'] or 'policy'}: {fault['message']}")
        if not answer["success"]:
            return
        self.stdout.write(f"{answer['version']} has no faults.")
        if answer["compared_with"] is None:
            self.stdout.write("It was compared with nothing: no database, or no policy in force.")
        for one in answer["changes"]:
            self.stdout.write(f"{one['label']}:")
            for sign, sentences in (("-", one["gone"]), ("+", one["new"])):
                for sentence in sentences:
                    self.stdout.write(f"  {sign} {sentence}")
        for outcome, number in (answer["replay"] or {}).items():
            self.stdout.write(f"{outcome}: {number}")


def _effect(ruleset: RuleSet, *, with_replay: bool) -> dict[str, Any]:
    """Return what would change. Nothing is known of that without a database: CI has none."""
    nothing: dict[str, Any] = {"compared_with": None, "changes": [], "replay": None}
    try:
        now = database_now()
        before = version_in_force(settings.PKI_DEFAULT_POLICY, now)
        changes = [
            {"rule": one.rule, "label": one.label, "gone": list(one.gone), "new": list(one.new)}
            for one in differences(before.ruleset, ruleset)
        ]
        replay = replay_at_once(ruleset, now=now) if with_replay else None
    except (DatabaseError, PolicyMissing):
        return nothing
    return {"compared_with": before.version, "changes": changes, "replay": replay}
