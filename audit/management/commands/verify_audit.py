"""`verify_audit`: is the log what the portal wrote? Names the first bad row. Exit 0 good, 1 bad, 2 wrong usage."""

from __future__ import annotations

import base64
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.models import EpochKey
from audit.transparency.checkpoint import NoteRefused, Verifier, read_statement
from audit.transparency.notes import newest_checkpoint, signed_note
from audit.transparency.proofs import ProofRefused, TreeIncomplete, consistency_proof
from audit.verification.verify import Report, record_verified, verify
from db.clock import database_now

_NEXT = (
    "What is safe: certificates and keys are not touched by this, and nothing was written.\n"
    "What to do: stop the workers, keep a copy of the database and of checkpoints.log, and compare with a backup; "
    "`verify_audit --checkpoint FILE --key FILE` on a restored backup tells whether that one is whole."
)


class Command(BaseCommand):
    help = "Verify the audit log and name the first row that was changed, removed, inserted or swapped behind the portal's back."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
        parser.add_argument(
            "--checkpoint", type=Path, metavar="FILE", help="signed checkpoints kept outside, one or many; trusts no database"
        )
        parser.add_argument("--key", type=Path, metavar="FILE", help="the public key (audit.pub) that signed them, from a safe place")
        parser.add_argument(
            "--since",
            type=Path,
            metavar="FILE",
            help="a checkpoint that was kept: only prove that the newest continues it (fast, reads the kept tree; --json has the proof)",
        )
        parser.add_argument("--record", action="store_true", help="put a good result on record as an event audit:verified")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["since"] is None and (options["checkpoint"] is None) != (options["key"] is None):
            raise CommandError(
                "--checkpoint and --key go together: a checkpoint proves nothing without the key that signed it.", returncode=2
            )
        if options["since"] is not None:
            self._since(options)
            return
        with _outside(options["checkpoint"], options["key"]) as (lines, verifier):
            report = verify(now=database_now(), checkpoints=lines, verifier=verifier)
        if options["record"] and report.success:
            record_verified(report, by="verify_audit")
        self.stdout.write(json.dumps(report.as_dict(), indent=2) if options["json"] else _sentences(report))
        if not report.success:
            sys.exit(1)

    def _since(self, options: dict[str, Any]) -> None:
        """Prove that the newest checkpoint continues a kept one, under --key or the kept key of its epoch."""
        try:
            note = options["since"].read_text(encoding="utf-8").strip("\n") + "\n"
            older = read_statement(note)
            key = options["key"].read_text(encoding="utf-8") if options["key"] else _kept_key(older.epoch)
            older = Verifier.parse(key).open(note)
        except (OSError, UnicodeDecodeError, NoteRefused) as exc:
            raise CommandError(f"Cannot use what was given: {exc}", returncode=2) from exc
        newest = newest_checkpoint(older.epoch)
        if newest is None:
            raise CommandError(f"The log has no tree of epoch {older.epoch} any more. Run `manage.py verify_audit`.")
        answer: dict[str, Any] = {"success": False, "old_size": older.size}
        try:
            proof = consistency_proof(older.size, older.root, newest)
            answer |= {"success": True, "new_size": newest.tree_size, "checkpoint": signed_note(newest)}
            answer["proof"] = [base64.b64encode(one).decode() for one in proof]
        except (ProofRefused, TreeIncomplete) as exc:
            answer["problem"] = str(exc)
        if options["json"]:
            self.stdout.write(json.dumps(answer, indent=2))
        elif answer["success"]:
            self.stdout.write(f"The log of {answer['new_size']} events continues the checkpoint of {older.size}.")
        else:
            self.stdout.write(f"THE LOG DOES NOT CONTINUE THE CHECKPOINT of {older.size} events. {answer['problem']}\n{_NEXT}")
        if not answer["success"]:
            sys.exit(1)


def _kept_key(epoch: int) -> str:
    """Return the verifier key of an epoch that the database has. Raises NoteRefused."""
    key = EpochKey.objects.filter(epoch=epoch).first()
    if key is None:
        raise NoteRefused(f"The log has no epoch {epoch}. Is it a checkpoint of this portal?")
    return key.verifier


@contextlib.contextmanager
def _outside(checkpoint: Path | None, key: Path | None) -> Iterator[tuple[Iterator[str] | None, Verifier | None]]:
    if checkpoint is None or key is None:
        yield None, None
        return
    try:
        verifier = Verifier.parse(key.read_text(encoding="utf-8"))
        file = checkpoint.open(encoding="utf-8", errors="replace")
    except (OSError, UnicodeDecodeError, NoteRefused) as exc:
        raise CommandError(f"Cannot use what was given: {exc}", returncode=2) from exc
    with file:
        yield iter(file), verifier


def _sentences(report: Report) -> str:
    counts = f"{report.events} events, {report.sealed} sealed, {report.unsealed} waiting; last checkpoint of {report.checkpoint} leaves."
    alarms = [f"Note: {alarm}" for alarm in report.findings.alarms]
    first = report.findings.first()
    if first is None:
        return "\n".join([f"The audit log is what the portal wrote: {counts}", *alarms])
    where = f"event {first.event_id}" if first.event_id is not None else "no single row"
    subject = f", subject {first.subject}" if first.subject else ""
    others = [f"Also: {problem.problem}" for problem in report.findings.in_order()[1:6]]
    return "\n".join([f"THE AUDIT LOG WAS CHANGED. First bad: {where}{subject}. {first.problem}", counts, *others, *alarms, _NEXT])
