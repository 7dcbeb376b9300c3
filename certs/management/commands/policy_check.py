"""`manage.py policy_check FILE`: check a policy in a file, for CI: every fault with its line, and what would change.

Exit codes: 0 the policy has no faults and the difference was found; 1 it has faults; 2 it could not
be checked: a file that cannot be read, no database, no policy in force to compare with, wrong usage.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import CommandParser
from django.db import DatabaseError

from certs.management.portal_command import PortalCommand
from certs.replay.at_once import replay_at_once
from db.clock import database_now
from policy.errors import PolicyError, PolicyMissing
from policy.publishing import version_in_force
from policy.rules import RuleSet
from policy.texts.differences import differences
from policy.texts.yaml_text import MOST_BYTES, TextInvalid, ruleset_from_yaml

_FAULTS_ONLY = "To look for faults only, without a database, pass --no-compare."


class Command(PortalCommand):
    help = (
        "Check a policy in YAML or JSON. Prints every fault with its line; of a policy without faults "
        "what it would change, and what it would do to the certificates. "
        "Exit code 0: no faults; 1: faults; 2: it could not be checked. "
        "--no-compare looks for faults only and needs no database."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", metavar="FILE", help="the policy; - reads standard input")
        less = parser.add_mutually_exclusive_group()
        less.add_argument("--no-replay", action="store_true", help="only the faults and the difference")
        less.add_argument("--no-compare", action="store_true", help="only the faults: needs no database")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        try:
            data = _read(options["file"])
        except OSError as exc:
            error = f"{options['file']} cannot be read: {exc.strerror}."
            return _not_checked(error, "Name a file with a policy in YAML or JSON.")
        try:
            ruleset = ruleset_from_yaml(data)
        except TextInvalid as exc:
            faults = [{"line": one.line, "field": one.where, "message": one.message} for one in exc.faults]
            return {"success": False, "checked": True, "error": str(exc), "faults": faults}
        found = {"version": ruleset.version, "rules_sha256": ruleset.digest}
        if options["no_compare"]:
            effect: dict[str, Any] = {"compared_with": None, "changes": [], "replay": None}
            return {"success": True, "checked": True} | found | effect
        try:
            effect = _effect(ruleset, with_replay=not options["no_replay"])
        except (DatabaseError, PolicyError) as exc:
            return _not_compared(exc) | found
        return {"success": True, "checked": True} | found | effect

    def exit_code(self, answer: dict[str, Any]) -> int:
        """Return 1 for faults, and 2 where nobody knows what the policy would do."""
        return 1 if answer["checked"] else 2

    def show(self, answer: dict[str, Any]) -> None:
        """One line for each fault, as compilers write them; else the difference and the counts."""
        if not answer["checked"]:
            self.stderr.write(f"{answer['error']} {answer['next_step']}")
            return
        for fault in answer.get("faults", ()):
            self.stdout.write(f"line {fault['line']}: {fault['field'] or 'policy'}: {fault['message']}")
        if not answer["success"]:
            return
        self.stdout.write(f"{answer['version']} has no faults.")
        if answer["compared_with"] is None:
            self.stdout.write("It was compared with nothing, as --no-compare asks.")
        for one in answer["changes"]:
            self.stdout.write(f"{one['label']}:")
            for sign, sentences in (("-", one["gone"]), ("+", one["new"])):
                for sentence in sentences:
                    self.stdout.write(f"  {sign} {sentence}")
        for outcome, number in (answer["replay"] or {}).items():
            self.stdout.write(f"{outcome}: {number}")


def _read(name: str) -> bytes:
    """Return the text, and of one that is too long just enough to see that."""
    if name == "-":
        return sys.stdin.buffer.read(MOST_BYTES + 1)
    with Path(name).open("rb") as file:
        return file.read(MOST_BYTES + 1)


def _not_checked(error: str, next_step: str) -> dict[str, Any]:
    return {"success": False, "checked": False, "error": error, "next_step": next_step}


def _not_compared(exc: DatabaseError | PolicyError) -> dict[str, Any]:
    """Return what kept the policy from being compared. Nothing less than that counts as checked."""
    if isinstance(exc, PolicyMissing):
        error = f"No policy {exc.policy_name} is in force, so there is nothing to compare with."
        return _not_checked(error, f"Run `manage.py bootstrap` first. {_FAULTS_ONLY}")
    if isinstance(exc, PolicyError):
        return _not_checked(f"The policy in force cannot be read: {exc}", _FAULTS_ONLY)
    # The first line only: the others quote statements.
    cause = str(exc).partition("\n")[0][:200]
    return _not_checked(
        f"The database cannot be used: {cause}.",
        f"See that it runs, that DATABASE_URL is right and that `manage.py migrate` has been run. {_FAULTS_ONLY}",
    )


def _effect(ruleset: RuleSet, *, with_replay: bool) -> dict[str, Any]:
    """Return what would change. Raises DatabaseError; PolicyError without a policy to compare with."""
    now = database_now()
    before = version_in_force(settings.PKI_DEFAULT_POLICY, now)
    changes = [
        {"rule": one.rule, "label": one.label, "gone": list(one.gone), "new": list(one.new)} for one in differences(before.ruleset, ruleset)
    ]
    replay = replay_at_once(ruleset, now=now) if with_replay else None
    return {"compared_with": before.version, "changes": changes, "replay": replay}
