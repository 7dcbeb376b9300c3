"""Step two of a change: what it will do. Replays are begun, watched, cancelled and read here."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs.errors import InputRefused
from certs.models import PolicyReplay, ReplayPart, Team
from certs.replay.charts import by_week
from certs.replay.jobs import LONGEST_DAYS_BACK, begin_replay, cancel_replay, outdated_because, progress
from certs.replay.lists import Sought, csv_lines
from certs.replay.lists import page as list_page
from certs.replay.verdicts import Outcome
from certs.views.access import page
from certs.views.numbers import id_of
from certs.views.policy.versions import before_of, latest_replay, may_write, see, version_of
from db.clock import database_now
from policy.texts.differences import differences

DAYS_BACK = 90
WORDS = {
    Outcome.PASSES: ("renew as now", "would pass"),
    Outcome.SHORTENED: ("get a shorter validity", "shortened"),
    Outcome.NEW_KEY: ("get a new key", "a new key"),
    Outcome.APPROVAL: ("need an approval", "would need an approval"),
    Outcome.NEEDS_CSR: ("need a new CSR from their owner", "a new CSR"),
    Outcome.REFUSED: ("can no longer be renewed", "would be refused"),
}


@page
@require_http_methods(["GET", "HEAD", "POST"])
def effect(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what a version changes and its last replay; begin a replay."""
    row = version_of(request, pk)
    may, now = see(request), database_now()
    if request.method == "POST":
        may_write(request)
        starts = _starts(request, row.proposed_from or now)
        days = request.POST.get("days", str(DAYS_BACK))
        days_back = min(int(days), LONGEST_DAYS_BACK) if days.isdecimal() and len(days) < 6 else DAYS_BACK
        begun = begin_replay(row, starts=starts, days_back=days_back, asked_by=request.user.get_username())
        return redirect("policy-replay", begun.public_id)
    before = before_of(row)
    replay = latest_replay(row)
    context = {
        "row": row,
        "may": may,
        "before": before,
        "changes": differences(before.ruleset if before else None, row.ruleset),
        "starts": row.proposed_from or row.effective_from,
        "days": DAYS_BACK,
        "step": "effect",
        "now": now,
    } | (result_of(replay, now) if replay else {})
    return render(request, "policy/effect.html", context)


def _starts(request: HttpRequest, otherwise: datetime) -> datetime:
    typed = request.POST.get("starts", "").strip()
    if not typed:
        return otherwise
    try:
        return datetime.combine(date.fromisoformat(typed), time(), UTC)
    except ValueError as exc:
        raise InputRefused("This is no date.", field="starts", next_step="Write a date such as 2026-12-15, or none.") from exc


def result_of(replay: PolicyReplay, now: datetime) -> dict[str, Any]:
    """Return what a page shows of a replay."""
    done, parts = progress(replay)
    found: dict[str, Any] = {
        "replay": replay,
        "done": done,
        "parts": parts,
        "percent": done * 100 // parts if parts else 100,
        "outdated": outdated_because(replay, now=now) if replay.state == PolicyReplay.State.DONE else [],
    }
    for kind, words in (("certificates", 0), ("requests", 1)):
        summary = replay.summary.get(kind)
        if summary:
            found[kind] = {
                "total": summary["total"],
                "unrecorded": summary["unrecorded"],
                "outcomes": [(one, WORDS[one][words], summary["outcomes"][one]) for one in Outcome if summary["outcomes"][one]["total"]],
                "reasons": [(WORDS[Outcome(one["outcome"])][words], one) for one in summary["reasons"]],
                "changed": sum(one["changed"] for one in summary["outcomes"].values()),
            }
    if "certificates" in found:
        summary = replay.summary["certificates"]
        teams = Team.objects.in_bulk([int(one["key"]) for one in summary["teams"]])
        found["teams"] = [(teams[int(one["key"])], one) for one in summary["teams"] if int(one["key"]) in teams]
        found["chart"] = by_week(summary["weeks"])
    return found


def _replay(request: HttpRequest, public_id: str) -> PolicyReplay:
    see(request)
    row = PolicyReplay.objects.select_related("version__policy").filter(public_id=public_id).first()
    if row is None:
        raise Http404
    return row


@page
@require_safe
def replay_page(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show a replay: how far it is, or what it found. Loads its part again while it runs."""
    replay = _replay(request, public_id)
    context = result_of(replay, database_now()) | {
        "row": replay.version,
        "may": see(request),
        "step": "effect",
        "now": database_now(),
    }
    part = request.headers.get("HX-Request") and replay.state == PolicyReplay.State.RUNNING
    return render(request, "policy/replay_live.html" if part else "policy/replay.html", context)


@page
@require_POST
def cancel(request: HttpRequest, public_id: str) -> HttpResponse:
    """Cancel a replay that runs."""
    replay = _replay(request, public_id)
    may_write(request)
    cancel_replay(replay)
    return redirect("policy-effect", replay.version_id)


def _sought(request: HttpRequest, outcome: str) -> Sought:
    if outcome not in set(Outcome):
        raise Http404
    team, kind = request.GET.get("team", ""), request.GET.get("kind", "")
    return Sought(
        Outcome(outcome),
        int(team) if team.isdecimal() and len(team) < 10 else None,
        request.GET.get("all") != "yes",
        kind if kind in ReplayPart.Kind.values else "",
    )


@page
@require_safe
def listing(request: HttpRequest, public_id: str, outcome: str) -> HttpResponse:
    """Show the certificates or requests with one outcome, page by page."""
    replay, sought = _replay(request, public_id), _sought(request, outcome)
    lines, following = list_page(replay, sought, after=id_of(request.GET.get("after")))
    context = {
        "replay": replay,
        "row": replay.version,
        "outcome": sought.outcome,
        "words": WORDS[sought.outcome][sought.kind == ReplayPart.Kind.REQUESTS],
        "kind": sought.kind,
        "team": Team.objects.filter(pk=sought.team).first() if sought.team is not None else None,
        "everything": not sought.changed,
        "lines": lines,
        "next": following,
        "query": request.GET.urlencode(),
        "now": database_now(),
    }
    return render(request, "policy/list.html", context)


@page
@require_safe
def listing_csv(request: HttpRequest, public_id: str, outcome: str) -> StreamingHttpResponse:
    """The same list as CSV, made while it is sent."""
    replay, sought = _replay(request, public_id), _sought(request, outcome)
    response = StreamingHttpResponse(csv_lines(replay, sought), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{replay.public_id}-{sought.outcome}.csv"'
    return response
