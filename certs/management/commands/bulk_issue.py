"""`manage.py bulk_issue`: many certificates from a sentence or a file, watched in the terminal until they are done."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import CommandError, CommandParser

from audit.clock import database_now
from certs.errors import InputRefused
from certs.intake.spec import IssuePlan
from certs.intake.uploads.lines import Line
from certs.management.portal_command import PortalCommand, begin_working
from certs.models import BulkItem, BulkOrder, CertificateRequest
from certs.terms import RequestState as S
from certs.workflow.bulk.control import cancel_rest, go_on, pause, retry_failed
from certs.workflow.bulk.drafting import apply_suggestions, draft, lines_of, outcome_counts
from certs.workflow.bulk.items import chosen_outcomes
from certs.workflow.bulk.progress import Progress, as_json, progress
from certs.workflow.bulk.reading import read_lines
from certs.workflow.bulk.submission import submit_order
from certs.workflow.issuance import Requester
from certs.workflow.planning import plan_words

LOOK_EVERY = 0.2  # seconds
SHOW_PROBLEMS = 20


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
        parser.add_argument("--wait", type=float, default=3600, metavar="SECONDS", help="how long to watch (default: %(default)s)")
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
        requester = self.requester(options, idempotency_key=options["idempotency_key"])
        for verb in ("watch", *_VERBS):
            if options[verb]:
                return self._existing(verb, options[verb], requester, options)
        return self._new(requester, options)

    def _new(self, requester: Requester, options: dict[str, Any]) -> dict[str, Any]:
        started = time.monotonic()
        lines, title = self._lines(options, requester)
        order = draft(lines, requester=requester, title=title, issuer=options["issuer"])
        if options["apply_suggestions"] and order.state == BulkOrder.State.DRAFT:
            apply_suggestions(order)
        tally = outcome_counts(order)
        bad = tally["deny"] + tally["invalid"]
        drafted = order.state == BulkOrder.State.DRAFT
        if drafted and (options["dry_run"] or (bad and options["all_or_nothing"]) or bad == tally["invalid"] == len(lines)):
            return self._judged(order, tally, options, requester)
        begin_working()
        order = submit_order(order, actor=requester.actor, with_refused=not options["only_allowed"])
        return self._watch(order, options, started=started)

    def _lines(self, options: dict[str, Any], requester: Requester) -> tuple[list[Line], str]:
        if options["file"]:
            return read_lines(self._read(options["file"]), filename=options["file"], requester=requester), Path(options["file"]).name
        text = " ".join(options["text"])
        plan = plan_words(text, requester=requester)
        if not isinstance(plan, IssuePlan):
            raise InputRefused("These words do not ask for certificates.", field="text", next_step="Use `manage.py ask` for other wishes.")
        return lines_of(plan), text

    def _read(self, path: str) -> bytes:
        if path == "-":
            return sys.stdin.buffer.read(settings.PKI_BULK_MAX_BYTES + 1)
        try:
            with Path(path).open("rb") as file:
                return file.read(settings.PKI_BULK_MAX_BYTES + 1)
        except OSError as exc:
            raise CommandError(f"{path} cannot be read: {exc.strerror}.", returncode=2) from exc

    def _judged(self, order: BulkOrder, tally: dict[str, int], options: dict[str, Any], requester: Requester) -> dict[str, Any]:
        """What the policy says; the draft is thrown away, for a command has no page on which it could be changed."""
        problems = list(order.items.filter(outcome__in=("deny", "invalid")).order_by("number"))
        shown = [
            {"line": item.source, "name": item.common_name, "error": item.reason, "suggestion": (item.suggestion or {}).get("text", "")}
            for item in problems
        ]
        cancel_rest(order, actor=requester.actor)
        answer: dict[str, Any] = {"success": bool(options["dry_run"]) and not problems, "total": sum(tally.values()), "outcomes": tally}
        if problems:
            answer["error"] = f"{len(problems)} of {sum(tally.values())} lines cannot be issued; nothing was issued."
            answer["problems"] = shown
            answer["next_step"] = "Mend them, or run it again with --apply-suggestions."
        return answer

    def _existing(self, verb: str, bulk_id: str, requester: Requester, options: dict[str, Any]) -> dict[str, Any]:
        order = BulkOrder.objects.filter(public_id=bulk_id).first()
        if order is None or (requester.user is not None and not BulkOrder.objects.visible_to(requester.user).filter(pk=order.pk).exists()):
            raise CommandError(f"There is no bulk order {bulk_id}.", returncode=2)
        match verb:
            case "pause":
                pause(order, actor=requester.actor)
            case "resume":
                go_on(order, actor=requester.actor)
            case "cancel":
                cancel_rest(order, actor=requester.actor)
            case "retry":
                retry_failed(order, actor=requester.actor)
        order.refresh_from_db()
        if verb in ("pause", "cancel"):
            return {"success": True} | as_json(order, progress(order, now=database_now()))
        begin_working()
        return self._watch(order, options, started=time.monotonic())

    def _watch(self, order: BulkOrder, options: dict[str, Any], *, started: float) -> dict[str, Any]:
        deadline = time.monotonic() + options["wait"]
        while True:
            order.refresh_from_db()
            seen = progress(order, now=database_now())
            self._show(order, seen, options)
            if order.finished_at is not None or time.monotonic() >= deadline or _only_people_can_help(order, seen):
                break
            time.sleep(LOOK_EVERY)
        if not options["json"]:
            self.stderr.write("")
        answer = self._ended(order, seen) | {"seconds": round(time.monotonic() - started, 2)}
        if not answer["success"]:
            answer["error"] = _why_not(order, seen, answer["failed"])
        return answer

    def _ended(self, order: BulkOrder, seen: Progress) -> dict[str, Any]:
        """Lines that could not be read were never submitted; unless they were left out knowingly, they count as failed."""
        left_out = list(order.items.exclude(outcome__in=chosen_outcomes(order)).order_by("number"))
        unread = [item for item in left_out if item.outcome == BulkItem.Outcome.INVALID] if order.with_refused else []
        answer = as_json(order, seen)
        answer["total"] += len(unread)
        answer["failed"] += len(unread)
        if len(left_out) > len(unread):
            answer["left_out"] = len(left_out) - len(unread)
        problems = [{"line": item.source, "name": item.common_name, "error": item.reason} for item in unread]
        problems = [*problems, *_problems(order)][:SHOW_PROBLEMS]
        if problems:
            answer["problems"] = problems
        return {"success": order.finished_at is not None and answer["issued"] == answer["total"]} | answer

    def _show(self, order: BulkOrder, seen: Progress, options: dict[str, Any]) -> None:
        if options["json"]:
            return
        tally = seen.tally
        width = 30
        filled = width * tally.ended // max(1, tally.total)
        end = f", ends {seen.ends_at:%H:%M:%S} UTC" if seen.ends_at else ""
        line = f"[{'#' * filled}{'.' * (width - filled)}] {tally.issued}/{tally.total} issued, {seen.rate:.0f}/s{end} {seen.waits_for}"
        self.stderr.write(f"\r{order.public_id} {line[:150]:<150}", ending="")


_VERBS = {
    "pause": "begin nothing new of an order",
    "resume": "go on with a paused order",
    "cancel": "cancel what was not begun of an order",
    "retry": "try the failed lines of an order again",
}


def _only_people_can_help(order: BulkOrder, seen: Progress) -> bool:
    """Nothing moves any more, and nothing will without somebody's doing."""
    tally = seen.tally
    return order.state == BulkOrder.State.PAUSED or (tally.awaiting_approval > 0 and not tally.waiting and not tally.under_way)


def _problems(order: BulkOrder) -> list[dict[str, str]]:
    rows = CertificateRequest.objects.filter(bulk_item__order=order, state__in=(S.FAILED, S.REJECTED)).select_related("bulk_item")
    return [
        {"line": row.bulk_item.source if row.bulk_item else "", "name": row.common_name, "error": row.error, "suggestion": row.suggestion}
        for row in rows.order_by("pk")[:SHOW_PROBLEMS]
    ]


def _why_not(order: BulkOrder, seen: Progress, failed: int) -> str:
    tally = seen.tally
    if seen.waits_for:
        return seen.waits_for
    if order.finished_at is None:
        return f"Not finished yet: {tally.issued} of {tally.total} issued. Look again with --watch {order.public_id}."
    return f"{failed} of {tally.ended + failed - tally.failed - tally.refused} lines could not be issued" + (
        f", {tally.cancelled} were cancelled." if tally.cancelled else "."
    )
