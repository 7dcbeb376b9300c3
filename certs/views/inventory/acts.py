"""Acts on many certificates: from the selection in the list to the last line."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs.access.permissions import Authority
from certs.acts.control import (
    TYPED_ABOVE,
    cancel_act,
    digest_of,
    may_control,
    pause_act,
    resume_act,
    retry_act,
    submit_act,
)
from certs.acts.drafting import choose_options, draft_act, names_of_lines
from certs.acts.options import are_complete
from certs.acts.progress import lines_page, requests_of, summary_of, tally_of
from certs.errors import InputRefused, NotFound
from certs.inventory import states_of
from certs.models import BulkAct, BulkActLine, CertificateRequest
from certs.views.access import authority_of, page
from certs.views.certificate.certificate_revoke import CA_CAUSES, CAUSES, OTHER_CAUSES
from certs.views.numbers import number_of
from db.clock import database_now

State, Outcome = BulkAct.State, BulkActLine.Outcome
_EVERY = "2s"
_RECENT = 50
_TABS = (
    (Outcome.WAITING, "Waiting"),
    (Outcome.DONE, "Done"),
    (Outcome.UNCHANGED, "Was so already"),
    (Outcome.REFUSED, "Refused"),
    (Outcome.FAILED, "Failed"),
    (Outcome.CANCELLED, "Not begun"),
    (Outcome.LEFT_OUT, "Left out"),
)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    """List recent acts; POST makes the draft of one from what is selected in the list."""
    authority = authority_of(request)
    if request.method == "POST":
        given = request.POST
        whole = given.get("all") == "yes"
        view = {name: str(one) for name, one in QueryDict(given.get("query", "")).items()}
        act = draft_act(
            given.get("act", ""),
            authority=authority,
            chosen=given.getlist("cert"),
            query=view if whole else None,
        )
        return redirect("act", act.public_id)
    rows = BulkAct.objects.visible_to(request.user).select_related("person").order_by("-pk")[:_RECENT]
    return render(request, "inventory/acts.html", {"rows": [(one, tally_of(one)) for one in rows]})


@page
@require_http_methods(["GET", "HEAD", "POST"])
def detail(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show a draft, first its options and then what it will do, or how far the act is. POST chooses options."""
    act, authority = _act_of(request, public_id), authority_of(request)
    if act.state != State.DRAFT:
        return render(request, "inventory/act.html", _running(request, act, authority))
    if request.method == "POST":
        try:
            choose_options(act, request.POST, authority=authority)
        except InputRefused as exc:
            return _options(request, act, authority, error=exc)
        return redirect("act", public_id)
    if not are_complete(act) or request.GET.get("change"):
        return _options(request, act, authority)
    return _preview(request, act)


@page
@require_POST
def submit(request: HttpRequest, public_id: str) -> HttpResponse:
    """Begin what the preview showed."""
    act, given = _act_of(request, public_id), request.POST
    try:
        submit_act(
            act,
            authority=authority_of(request),
            shown=given.get("shown", ""),
            typed=given.get("typed", ""),
        )
    except InputRefused as exc:
        return _preview(request, act, error=exc)
    return redirect("act", public_id)


@page
@require_safe
def live(request: HttpRequest, public_id: str) -> HttpResponse:
    """The part of the page that changes; it asks for itself until the act has ended, and then brings the lines as they are."""
    act = _act_of(request, public_id)
    if act.state == State.DRAFT:
        raise Http404
    return render(request, "inventory/act_live.html", _running(request, act, authority_of(request)) | {"is_part": True})


@page
@require_POST
def control(request: HttpRequest, public_id: str, verb: str) -> HttpResponse:
    """Pause, resume, cancel the rest, or try the failed lines again."""
    act, authority = _act_of(request, public_id), authority_of(request)
    match verb:
        case "pause":
            pause_act(act, authority=authority)
        case "resume":
            resume_act(act, authority=authority)
        case "cancel":
            cancel_act(act, authority=authority)
        case "retry":
            retry_act(act, authority=authority)
        case _:
            raise Http404
    messages.success(request, _SAID[verb])
    return redirect("act", public_id)


_SAID = {
    "pause": "The act is paused.",
    "resume": "The act goes on.",
    "cancel": "What had not begun is cancelled.",
    "retry": "The failed lines are tried again.",
}


def _act_of(request: HttpRequest, public_id: str) -> BulkAct:
    rows = BulkAct.objects.visible_to(request.user).select_related("person")
    act = rows.filter(public_id=public_id).first()
    if act is None:
        raise NotFound("There is no such act.")
    return act


def _options(request: HttpRequest, act: BulkAct, authority: Authority, error: InputRefused | None = None) -> HttpResponse:
    given: Any = request.POST if request.method == "POST" else act.options
    context = {
        "act": act,
        "causes": [*CAUSES, *OTHER_CAUSES, *(CA_CAUSES if authority.is_officer else ())],
        "given": {name: given.get(name, "") for name in ("reason", "comment", "owner", "tag")},
        "error": error,
    }
    return render(request, "inventory/act_options.html", context, status=error.status if error else 200)


def _preview(request: HttpRequest, act: BulkAct, error: InputRefused | None = None) -> HttpResponse:
    act.refresh_from_db()
    tally = tally_of(act)
    context = {
        "act": act,
        "tally": tally,
        "summary": summary_of(act, authority=authority_of(request)),
        "shown": digest_of(act),
        "typed_above": TYPED_ABOVE,
        "must_type": tally.waiting > TYPED_ABOVE,
        "typed": request.POST.get("typed", ""),
        "error": error,
        "cause": _cause(act),
        **_lines(request, act),
    }
    return render(request, "inventory/act_preview.html", context, status=error.status if error else 200)


def _running(request: HttpRequest, act: BulkAct, authority: Authority) -> dict[str, Any]:
    tally = tally_of(act)
    may = may_control(act, authority)
    paused = act.state == State.PAUSED
    theirs = act.paused_by_security_team and not authority.operates_for_every_team
    return {
        "act": act,
        "tally": tally,
        "counts": [(label, getattr(tally, name.value)) for name, label in _TABS if getattr(tally, name.value)],
        "requests": requests_of(act) if act.kind == BulkAct.Kind.RENEW else [],
        "percent": 100 * tally.ended // max(1, tally.tried),
        "width": 1000 * tally.ended // max(1, tally.tried),
        "every": _EVERY if act.state == State.RUNNING else "",
        "may_pause": may and act.state == State.RUNNING,
        "may_resume": may and paused and not theirs,
        "resumed_by_security_team": may and paused and theirs,
        "may_cancel": may and act.state in (State.RUNNING, State.PAUSED),
        "may_retry": may and tally.failed and act.state in (State.RUNNING, State.DONE),
        "cause": _cause(act),
        **_lines(request, act),
    }


def _cause(act: BulkAct) -> str:
    reason = act.options.get("reason", "")
    causes = (*CAUSES, *OTHER_CAUSES, *CA_CAUSES)
    return next((one.label for one in causes if one.reason == reason), "")


def _lines(request: HttpRequest, act: BulkAct) -> dict[str, Any]:
    given = request.GET
    show = given.get("show", "")
    show = show if show in Outcome.values else ""
    number = number_of(given.get("after"))
    lines, following = lines_page(act, show, number)
    rows, now = names_of_lines(lines, authority=authority_of(request)), database_now()
    states = states_of(list(rows), now)
    tally = tally_of(act)
    tabs = [("", "All", act.total), *((name.value, label, getattr(tally, name.value)) for name, label in _TABS)]
    made = CertificateRequest.objects.filter(public_id__in=[line.result for line in lines if line.result])
    words = {row.public_id: row.state_words for row in made.only("public_id", "state")}
    return {
        "lines": [(line, rows.get(line.certificate_id), states.get(line.certificate_id), words.get(line.result, "")) for line in lines],
        "show": show,
        "after": number or "",
        "following": following,
        "tabs": [one for one in tabs if one[2] or one[0] == show],
        "now": now,
    }
