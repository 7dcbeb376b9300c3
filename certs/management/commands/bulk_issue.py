"""`manage.py bulk_issue`: many certificates from a sentence or a file, watched in the terminal until they are done."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import CommandError, CommandParser

from certs.bulk.control import cancel_rest, go_on, pause, retry_failed
from certs.bulk.drafting.draft import apply_suggestions, draft, lines_of, outcome_counts
from certs.bulk.drafting.upload import read_lines
from certs.bulk.line_pages import Show, all_lines
from certs.bulk.order_now import planned_line, problem_of
from certs.bulk.progress import as_json, progress
from certs.bulk.submit import submit_order
from certs.errors import InputRefused
from certs.management.order_watching import watch
from certs.management.portal_command import PortalCommand, begin_working
from certs.models import BulkOrder
from certs.requests.plan import plan_words
from certs.requests.submit import Requester
from certs.spec import IssuePlan
from certs.uploads.line import Line
from db.clock import database_now

SHOW_NOTES = 20


class Command(PortalCommand):
    help = 'Issue many certificates: bulk_issue "Issue certificates for api-1 through api-10, all RSA 4096, 90 days", or --csv FILE'

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        self.add_requester(parser)
        parser.add_argument("text", nargs="*", help="the order in words")
        parser.add_argument("--csv", "--file", dest="file", metavar="FILE", help="CSV, XLSX, zip of CSRs or PEM CSRs; - for standard input")
        parser.add_argument("--issuer", default=None, help="CA to use (default: PKI_DEFAULT_CA)")
        parser.add_argument("--apply-suggestions", action="store_true", help="change refused lines as the policy suggests")
        parser.add_argument("--only-allowed", action="store_true", help="leave out what cannot be issued (default: it fails alone)")
        parser.add_argument("--all-or-nothing", action="store_true", help="do nothing when a line cannot be issued")
        parser.add_argument("--dry-run", action="store_true", help="judge every line, and issue nothing")
        self.add_wait(parser, default=3600)
        parser.add_argument("--idempotency-key", default="", help="the same key again answers the same order")
        parser.add_argument("--watch", metavar="BULK_ID", help="watch an order that runs already")
        for verb, explanation in _VERBS.items():
            parser.add_argument(f"--{verb}", metavar="BULK_ID", help=explanation)

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        chosen = [bool(options["text"]), bool(options["file"]), *(bool(options[verb.replace("-", "_")]) for verb in ("watch", *_VERBS))]
        if sum(chosen) != 1:
            raise CommandError(
                "Give exactly one of: a sentence, --csv FILE, --watch, --pause, --resume, --cancel or --retry.", returncode=2
            )
        for verb in ("watch", *_VERBS):
            if options[verb]:
                return self._existing(verb, options[verb], options)
        return self._new(self.requester(options, idempotency_key=options["idempotency_key"]), options)

    def _new(self, requester: Requester, options: dict[str, Any]) -> dict[str, Any]:
        started = time.monotonic()
        lines, title, notes = self._lines(options, requester)
        order = draft(lines, requester=requester, title=title, issuer=options["issuer"], notes=notes)
        if options["apply_suggestions"] and order.state == BulkOrder.State.DRAFT:
            apply_suggestions(order, authority=self.authority(options))
        tally = outcome_counts(order)
        bad = tally["deny"] + tally["invalid"]
        drafted = order.state == BulkOrder.State.DRAFT
        if drafted and (options["dry_run"] or (bad and options["all_or_nothing"]) or bad == tally["invalid"] == len(lines)):
            return self._judged(order, tally, options)
        result = self._assumed(order, options)
        begin_working()
        order = submit_order(order, authority=self.authority(options), with_refused=not options["only_allowed"])
        return self._watch(order, options, started=started) | result

    def _assumed(self, order: BulkOrder, options: dict[str, Any]) -> dict[str, Any]:
        """What the portal would show before the order is submitted: notes and duplicates, in the answer and at once in the terminal."""
        notes, duplicates, count = dict.fromkeys(order.notes), list[dict[str, str]](), 0
        for line in all_lines(order, Show.ALL, teams=None):
            if len(notes) < SHOW_NOTES:
                notes |= dict.fromkeys(line.item.notes)
            count += bool(line.item.duplicate)
            if line.item.duplicate and len(duplicates) < SHOW_NOTES:
                duplicates.append({"line": line.item.source, "name": line.item.common_name, "duplicate": line.item.duplicate})
        if not options["json"]:
            for note in (*notes, *(f"{one['line']}, {one['name']}: {one['duplicate']}" for one in duplicates)):
                self.stderr.write(f"  note: {note}")
        return {"notes": list(notes), "duplicates": count, "duplicate_lines": duplicates}

    def _lines(self, options: dict[str, Any], requester: Requester) -> tuple[Sequence[Line], str, Sequence[str]]:
        if options["file"]:
            return read_lines(self._read(options["file"]), filename=options["file"], requester=requester), Path(options["file"]).name, ()
        text = " ".join(options["text"])
        plan = plan_words(text, requester=requester)
        if not isinstance(plan, IssuePlan):
            raise InputRefused(
                "These words do not ask for certificates.", field="text", next_step="Use `manage.py ask` for other requests."
            )
        return lines_of(plan), text, plan.notes

    def _read(self, path: str) -> bytes:
        if path == "-":
            return sys.stdin.buffer.read(settings.PKI_BULK_MAX_BYTES + 1)
        try:
            with Path(path).open("rb") as file:
                return file.read(settings.PKI_BULK_MAX_BYTES + 1)
        except OSError as exc:
            raise CommandError(f"{path} cannot be read: {exc.strerror}.", returncode=2) from exc

    def _judged(self, order: BulkOrder, tally: dict[str, int], options: dict[str, Any]) -> dict[str, Any]:
        """What the policy says; the draft is thrown away, for a command has no page on which it could be changed."""
        lines = list(all_lines(order, Show.ALL, teams=None))
        plan, problems = (
            [planned_line(line) for line in lines],
            [problem_of(line) for line in lines if line.state in ("deny", "invalid")],
        )
        answer: dict[str, Any] = {"success": bool(options["dry_run"]) and not problems, "total": sum(tally.values()), "outcomes": tally}
        answer |= {"notes": order.notes, "duplicates": sum(bool(line["duplicate"]) for line in plan), "plan": plan}
        cancel_rest(order, authority=self.authority(options))
        if problems:
            answer["error"] = f"{len(problems)} of {sum(tally.values())} lines cannot be issued; nothing was issued."
            answer["problems"] = problems
            answer["next_step"] = "Mend them, or run it again with --apply-suggestions."
        return answer

    def _existing(self, verb: str, bulk_id: str, options: dict[str, Any]) -> dict[str, Any]:
        authority = self.authority(options)
        order = BulkOrder.objects.exclude(state=BulkOrder.State.JUDGING).filter(public_id=bulk_id).first()
        if order is None or not authority.may_see(order):
            raise CommandError(f"There is no bulk order {bulk_id}.", returncode=2)
        match verb:
            case "pause":
                pause(order, authority=authority)
            case "resume":
                go_on(order, authority=authority)
            case "cancel":
                cancel_rest(order, authority=authority)
            case "retry":
                retry_failed(order, authority=authority)
        order.refresh_from_db()
        if verb in ("pause", "cancel"):
            return {"success": True} | as_json(order, progress(order, now=database_now()))
        # An order whose process was killed goes on by what beat sends: its sweeper, once the lease has ended.
        begin_working(beat=True)
        return self._watch(order, options, started=time.monotonic())

    def _watch(self, order: BulkOrder, options: dict[str, Any], *, started: float) -> dict[str, Any]:
        result = watch(order, wait=options["wait"], tell=self.progress(options), started=started)
        self.end_progress(options)
        return result


_VERBS = {
    "pause": "begin nothing new of an order",
    "resume": "go on with a paused order",
    "cancel": "cancel what was not begun of an order",
    "retry": "try the failed lines of an order again",
}
