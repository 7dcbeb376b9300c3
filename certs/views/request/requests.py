"""Requests: the list, one request with its steps live, and what people may do about it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from zlib import crc32

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from audit.models import AuditEvent
from certs.access.permissions import Permission, teams_of
from certs.ca.lifetime import ending_of
from certs.enums import RequestState as S
from certs.errors import Conflict, InputRefused
from certs.installation.places import places_of
from certs.inventory import CertificateState, RequestedBy, page_of, search_requests, state_of
from certs.inventory.servers import server_of
from certs.models import Certificate, CertificateRequest, PlaceOutcome, PolicyEvaluation, RequestDraft
from certs.requests.approvals import approval, questions, time_limit
from certs.requests.approvals.granted import approvers_needed, grants_that_count
from certs.requests.approvals.panel import Panel, panel_of
from certs.requests.approvals.questions import open_question
from certs.requests.approvals.requesters import requesters_who_left
from certs.requests.approvals.time_limit import lapses_at
from certs.requests.representation import is_settled
from certs.requests.states import CANCELLABLE, UNSIGNED
from certs.requests.waiting import resume as resume_request
from certs.requests.waiting_reasons import waiting_reason
from certs.servers.files import FileNames
from certs.servers.kinds import CLIENT_PROFILE, Place, amount_for, server_named
from certs.servers.signing import sign_call
from certs.templatetags.certificates import has_renewal
from certs.views.access import authority_of, page
from certs.views.kept_forms import form_of
from certs.views.numbers import id_of
from certs.views.request.confirming import approve_as_sent, passkey_options
from certs.views.request.timeline import Installed, first_download, timeline
from certs.views.request.waits import Approvals, wait_of
from db.clock import database_now
from policy.publishing import version_in_force

UNCHANGED = {"1": "a day", "7": "a week", "30": "30 days"}  # days that a request has been in its state


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    text, state = request.GET.get("q", "").strip()[:253], request.GET.get("state", "")
    unchanged, by = request.GET.get("unchanged", ""), request.GET.get("by", "")
    if not request.GET:  # lines of orders and renewals of a night would drown what people request
        by = RequestedBy.PEOPLE
    rows = search_requests(
        request.user,
        text=text,
        state=state if state in list(S) else "",
        unchanged_days=int(unchanged) if unchanged in UNCHANGED else 0,
        by=RequestedBy(by) if by in RequestedBy.values else None,
    )
    found = page_of(rows, before=id_of(request.GET.get("before")))
    address = {"q": text, "state": state, "unchanged": unchanged, "by": by}
    context = address | {
        "page": found,
        "states": [(s.value, s.words) for s in S],
        "ages": UNCHANGED.items(),
        "ways": RequestedBy.choices,
        "older": urlencode(address | {"before": found.older}),
        "is_filtered": bool(text or state or unchanged),
        "in_all": urlencode(address | {"by": ""}),
    }
    return render(request, "portal/requests.html", context)


def _mine(request: HttpRequest, public_id: str) -> CertificateRequest:
    rows = CertificateRequest.objects.visible_to(request.user).select_related("team", "requester", "issuer", "key")
    row = rows.filter(public_id=public_id).first()
    if row is None:
        raise Http404
    return row


def _last_event(public_id: str) -> int:
    """Rises with everything that happens to a request, for everything is an event."""
    events = AuditEvent.objects.filter(subject=f"request:{public_id}").order_by("-subject_seq")
    return events.values_list("subject_seq", flat=True).first() or 0


def _version(last_event: int, why: str, installed: Installed | None) -> str:
    """Of the page: it changes with each event, with the reason to wait, which has none, and with the look at its server."""
    seen = f"{installed.seen_where}{installed.seen_at}{installed.is_elsewhere_too}" if installed else ""
    return f"{last_event}{crc32((why + seen).encode()):010d}"


def _context(request: HttpRequest, row: CertificateRequest, installed: Installed | None, version: str, why: str) -> dict[str, Any]:
    events = list(AuditEvent.objects.filter(subject=row.subject).order_by("subject_seq"))
    evaluation = PolicyEvaluation.objects.filter(request=row).order_by("-pk").first()
    authority = authority_of(request)
    certificate = installed.certificate if installed else None
    draft = RequestDraft.objects.filter(request=row).first()
    waits, sees_panel = row.state == S.AWAITING_APPROVAL, authority.holds(Permission.DECIDE_REQUESTS)
    panel = panel_of(row, user=request.user, now=database_now()) if waits and sees_panel else None
    decides = panel is not None and panel.may_decide
    state = _state_of(certificate) if certificate else None
    is_over = state is not None and not has_renewal(state)  # nobody installs it any more
    # The request of a renewal has no draft: it goes where the certificate before it is.
    server = server_named(draft.server) if draft else server_of(certificate) if certificate else None
    return {
        "row": row,
        "version": version,
        "why": why,
        "every": _every(row),
        "steps": [step for step in timeline(row, events, installed) if not is_over or step.state == "done"],
        "installed": installed,
        "wait": wait_of(row, why, approvals=_approvals(row, panel) if waits else Approvals()),
        "panel": panel,
        "questions": row.questions.select_related("asker", "answerer").order_by("pk"),
        "question": open_question(row) if waits and authority.may_act_on(row) else None,
        "draft": draft,
        "server": server,
        "is_client": row.profile == CLIENT_PROFILE,
        "amount": amount_for(server, row.profile),
        "files": FileNames.of(tuple(row.names)),
        "sign_call": _sign_call(row) if certificate and row.key else "",
        "events": events,
        "certificate": certificate,
        # A request stays completed whatever becomes of its certificate.
        "certificate_state": state,
        "evaluation": evaluation,
        "ending": ending_of(row.issuer, row.validity, now=database_now()) if row.state in UNSIGNED else None,
        "decided_alone": any(event.data.get("single_officer") for event in events),
        "requester_left": requesters_who_left([row]).get(row.pk, "") if waits else "",
        "ask_again": _place_again(request, row, draft),
        # Nobody reminds others of what waits for the reader too.
        "may_remind": waits and not decides and authority.may_act_on(row),
        "may_resume": bool(row.resume_id) and (row.held_since is not None or row.state == S.FAILED) and authority.may_operate(row),
        "may_act": authority.may_act_on(row),
        "may_cancel": row.state in CANCELLABLE and authority.may_act_on(row),
    }


def _state_of(certificate: Certificate) -> CertificateState:
    """The state for the page of its request: of a renewed one that a server still uses, the new one is to be installed."""
    state = state_of(certificate, database_now())
    if state is CertificateState.NEEDS_YOU and certificate.renewals.filter(status=Certificate.Status.GOOD).exists():
        return CertificateState.RENEWED
    return state


def _approvals(row: CertificateRequest, panel: Panel | None) -> Approvals:
    """How far the approval is that the request waits for; read from the panel where the reader has one."""
    if panel is not None:
        return Approvals(panel.needed, panel.grants, panel.lapses_at)
    terms = version_in_force(settings.PKI_DEFAULT_POLICY, database_now()).ruleset.approval
    needed = approvers_needed(terms)
    return Approvals(needed, grants_that_count(row, terms) if needed > 1 else (), lapses_at(row))


def _installed(row: CertificateRequest) -> Installed | None:
    """What is known of the request's certificate on its server; None without a certificate."""
    certificate = Certificate.objects.select_related("issuer").filter(request=row).first() if row.state == S.COMPLETED else None
    if certificate is None:
        return None
    events = AuditEvent.objects.filter(subject=f"certificate:{certificate.cert_id}", event="certificate:downloaded")
    places = places_of(certificate)
    # Of its lineage: what was served before a renewal is another certificate.
    serving = [place for place in places if place.outcome == PlaceOutcome.SERVED and place.certificate_id == certificate.pk]
    seen = serving[0] if serving else None
    return Installed(
        certificate,
        downloaded_at=first_download(events),
        seen_at=seen.seen_at if seen else None,
        seen_where=str(seen) if seen else "",
        is_elsewhere_too=len(serving) < len(places),
    )


def _place_again(request: HttpRequest, row: CertificateRequest, draft: RequestDraft | None) -> str:
    """Return the place of a new draft for the names of a request that ended without a certificate; "" where none is offered."""
    if row.state not in (S.REJECTED, S.CANCELLED) or row.team not in teams_of(request.user):
        return ""
    if draft is not None and draft.place != Place.CSR:
        return str(draft.place)
    return Place.SERVER if row.csr_brought else Place.VAULT


def _sign_call(row: CertificateRequest) -> str:
    """The command with which a program signs with the request's key, where one can."""
    if row.key is None:
        return ""
    backend = str(settings.KEY_BACKENDS.get(row.key.backend, {}).get("BACKEND", "")).rpartition(".")[2]
    return sign_call(backend, locator=str(row.key), name=row.key.name, version=row.key.version, key_type=row.key_type)


def _every(row: CertificateRequest) -> str:
    """How often the page asks: seldom while it waits for a person or an outage, never once nothing more can happen."""
    if row.state == S.AWAITING_APPROVAL or row.held_since is not None:
        return "5s"
    return "" if is_settled(row) else "1s"


@page
@require_safe
def detail(request: HttpRequest, public_id: str) -> HttpResponse:
    last_event = _last_event(public_id)  # read before the row, so that no change between the two is missed
    row = _mine(request, public_id)
    why, installed = waiting_reason(row), _installed(row)
    return render(request, "portal/request.html", _context(request, row, installed, _version(last_event, why, installed), why))


@page
@require_safe
def steps(request: HttpRequest, public_id: str) -> HttpResponse:
    """What of the page changed since `seen`; nothing (204) when nothing did, so that no focus and no half-typed comment is lost."""
    last_event = _last_event(public_id)
    row = _mine(request, public_id)
    why, installed = waiting_reason(row), _installed(row)
    version = _version(last_event, why, installed)
    if request.GET.get("seen") == version:
        return HttpResponse(status=204)
    return render(request, "portal/request_moved.html", _context(request, row, installed, version, why))


@page
@require_POST
def resume(request: HttpRequest, public_id: str) -> HttpResponse:
    row = _mine(request, public_id)
    authority_of(request).check_may_operate(row)
    if not row.resume_id:
        raise Conflict(f"{row.public_id} does not wait to be resumed.", next_step="Look at its page: nothing is left to do there.")
    resume_request(row.resume_id, authority=authority_of(request))
    messages.success(request, "It goes on from where it stopped.")
    return redirect("request", public_id)


@page
@require_POST
def decide(request: HttpRequest, public_id: str) -> HttpResponse:
    """Approve or reject; then on to what waits next. A refused form stays with what was typed."""
    row = _mine(request, public_id)
    granted = request.POST.get("decision") == "approve"
    try:
        if granted:
            decided = approve_as_sent(request, row)
        else:
            digest, comment = request.POST.get("digest", ""), request.POST.get("comment", "")
            decided = approval.reject(row, user=request.user, digest=digest, comment=comment)
    except InputRefused as exc:
        return _refused_form(request, row, "comment", exc)
    name = next(iter(row.names), row.public_id)
    if granted and decided.state == S.AWAITING_APPROVAL:
        messages.success(request, f"Your approval of {name} is kept. It waits for another person's.")
    else:
        messages.success(request, f"{name} was {'approved' if granted else 'rejected'}. The requester has been notified.")
    return redirect("inbox")


@page
@require_safe
def confirm(request: HttpRequest, public_id: str) -> HttpResponse:
    """The challenge that the approver's passkey signs, for the portal's script."""
    return passkey_options(request, _mine(request, public_id))


def _refused_form(request: HttpRequest, row: CertificateRequest, field: str, exc: InputRefused) -> HttpResponse:
    """The page again, with the refusal beside its field and what was typed in it; a secret is not repeated."""
    why, installed = waiting_reason(row), _installed(row)
    context = _context(request, row, installed, _version(_last_event(row.public_id), why, installed), why)
    typed = dict(form_of(request).fields).get(field, "")
    refused = {"refused_field": field, "refused": exc, "typed": typed}
    return render(request, "portal/request.html", context | refused, status=exc.status)


@page
@require_POST
def ask(request: HttpRequest, public_id: str) -> HttpResponse:
    """An approver asks the requester."""
    row = _mine(request, public_id)
    try:
        questions.ask_back(row, user=request.user, question=request.POST.get("question", ""))
    except InputRefused as exc:
        return _refused_form(request, row, "question", exc)
    messages.success(request, "The question was mailed to the requester. The request waits, and its time goes on.")
    return redirect("request", public_id)


@page
@require_POST
def answer(request: HttpRequest, public_id: str) -> HttpResponse:
    """A member of the team answers an approver's question."""
    row = _mine(request, public_id)
    try:
        questions.answer(row, authority=authority_of(request), text=request.POST.get("answer", ""))
    except InputRefused as exc:
        return _refused_form(request, row, "answer", exc)
    messages.success(request, "The answer was mailed to who asked, and stands with the request.")
    return redirect("request", public_id)


@page
@require_POST
def remind(request: HttpRequest, public_id: str) -> HttpResponse:
    """A member of the team reminds the approvers."""
    time_limit.remind(_mine(request, public_id), authority=authority_of(request))
    messages.success(request, "The approvers were reminded by mail.")
    return redirect("request", public_id)


@page
@require_POST
def cancel(request: HttpRequest, public_id: str) -> HttpResponse:
    row = _mine(request, public_id)
    approval.cancel(row, authority=authority_of(request))
    return redirect("request", public_id)
