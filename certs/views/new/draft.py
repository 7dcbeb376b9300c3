"""One draft at its address: filled in while typing, completed by a CSR, shown as a plan, and requested."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs.errors import Conflict, InputRefused, PortalError
from certs.models import RequestDraft
from certs.requests.drafts import DraftFields, attach_csr, change, draft_of, drop_csr, submit_draft
from certs.requests.plan import plan_digest
from certs.requests.submit import Requester
from certs.servers.kinds import Place, servers_of
from certs.views.access import page, requester_for
from certs.views.new.judged import Judged, judge
from certs.views.new.offers import changes_of, keys, profile_for
from certs.views.new.start import pasted_csr, uploaded_csr
from db.clock import database_now

HEADINGS = {
    Place.SERVER: "A certificate for a web server",
    Place.JAVA: "A certificate for Java, Windows or a device",
    Place.CLIENT: "A client certificate",
    Place.VAULT: "A certificate for software that signs through Vault",
    Place.CSR: "A certificate for your CSR",
}


def _opened(request: HttpRequest, public_id: str) -> tuple[RequestDraft, Requester]:
    """Return the draft and who works on it, for the draft's team. Raises NotFound."""
    draft = draft_of(request.user, public_id)
    return draft, requester_for(request, draft.team)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def draft_page(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show the draft; a POST keeps what was typed first. htmx gets the part that depends on it alone."""
    draft, requester = _opened(request, public_id)
    if draft.request is not None:
        return redirect("request", draft.request.public_id)
    if request.method != "POST":
        return _draft_shown(request, judge(draft, requester=requester, now=database_now()))
    typing = bool(request.headers.get("HX-Request"))
    try:
        draft = change(draft, _typed(request, draft), requester=requester)
    except InputRefused as exc:
        if typing:
            return _live(request, Judged(draft, error=exc))
        return _draft_shown(request, judge(draft, requester=requester, now=database_now()), refused=exc, status=exc.status)
    judged = judge(draft, requester=requester, now=database_now())
    if typing:
        return _live(request, judged)
    return _after_button(request, judged, requester)


def _live(request: HttpRequest, judged: Judged) -> HttpResponse:
    """The part that depends on what is typed, and one sentence of it for screen readers."""
    return render(request, "new/live.html", {"judged": judged, "draft": judged.draft, "typing": True})


def _after_button(request: HttpRequest, judged: Judged, requester: Requester) -> HttpResponse:
    draft, go = judged.draft, request.POST.get("go", "")
    here = redirect("new-draft", draft.public_id)
    if go == "apply" and judged.suggestion and judged.decision and judged.decision.suggestion:
        change(draft, _with_changes(draft, judged.decision.suggestion.changes), requester=requester)
    elif go == "plan":
        if judged.error is not None:
            return _draft_shown(request, judged, status=judged.error.status)
        if not judged.needs_csr:
            return redirect("new-draft-plan", draft.public_id)
        here["Location"] += "#csr"
    return here


def _typed(request: HttpRequest, draft: RequestDraft) -> DraftFields:
    """The fields of the form over those of the draft: a page shows only those of its place."""
    given = request.POST
    place, server = given.get("place", draft.place), given.get("server", draft.server)
    # htmx sends the button that was clicked last with everything that is typed afterwards.
    go, _, value = ("" if request.headers.get("HX-Request") else given.get("go", "")).partition(":")
    if go == "place":
        place = value
    if server not in {one.slug for one in servers_of(place)}:
        server = ""
    names = given.get("names", draft.names)
    profile = draft.profile
    if place != draft.place:
        profile = profile_for(place, now=database_now()) or ("tls-client" if place == Place.CLIENT else "")
    return DraftFields(
        place=place,
        server=server,
        names=_completed(names, value) if go == "add" else names,
        key=given.get("key", draft.key),
        profile=profile,
        validity=given.get("validity", draft.validity),
        why=draft.why,
    )


def _completed(names: str, domain: str) -> str:
    """The names with the last bare label completed by a domain, or with the domain itself as one more."""
    lines = names.replace(",", "\n").split()
    if lines and "." not in lines[-1]:
        lines[-1] = f"{lines[-1]}.{domain}"
    elif domain not in lines:
        lines.append(domain)
    return "\n".join(lines)


def _with_changes(draft: RequestDraft, changes: dict[str, Any]) -> DraftFields:
    validity = f"{changes['validity_days']} days" if "validity_days" in changes else draft.validity
    return DraftFields(
        place=draft.place,
        server=draft.server,
        names=draft.names,
        key=str(changes.get("key", draft.key)),
        profile=draft.profile,
        validity=validity,
        why=draft.why,
    )


def _draft_shown(request: HttpRequest, judged: Judged, *, refused: PortalError | None = None, status: int = 200) -> HttpResponse:
    draft, now = judged.draft, database_now()
    context = {
        "judged": judged,
        "draft": draft,
        "heading": HEADINGS[Place(draft.place)],
        "servers": servers_of(draft.place) if draft.place != Place.CLIENT else (),
        "keys": keys(draft.team, now=now),
        "places": changes_of(draft.place, now),
        "refused": refused,
        "csr": pasted_csr(request, refused) if refused is not None else "",
        "of_csr": refused is not None and refused.field not in ("names", "validity", "validity_days", "key"),
        "address": request.build_absolute_uri(reverse("new-draft", args=[draft.public_id])),
    }
    return render(request, "new/draft.html", context, status=status)


@page
@require_POST
def csr(request: HttpRequest, public_id: str) -> HttpResponse:
    """Take the CSR, or forget the one that came; then on to the plan."""
    draft, requester = _opened(request, public_id)
    if request.POST.get("go") == "drop":
        drop_csr(draft)
        messages.info(request, "The CSR was forgotten. Send another one.")
        return redirect("new-draft", draft.public_id)
    try:
        draft = attach_csr(draft, uploaded_csr(request), requester=requester)
    except InputRefused as exc:
        return _draft_shown(request, judge(draft, requester=requester, now=database_now()), refused=exc, status=exc.status)
    if judge(draft, requester=requester, now=database_now()).key_is_refused:
        return redirect("new-draft", draft.public_id)
    return redirect("new-draft-plan", draft.public_id)


@page
@require_safe
def plan_page(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show what would be requested. Nothing is."""
    draft, requester = _opened(request, public_id)
    if draft.request is not None:
        return redirect("request", draft.request.public_id)
    judged = judge(draft, requester=requester, now=database_now())
    if judged.spec is None or judged.needs_csr or judged.key_is_refused:
        return redirect("new-draft", draft.public_id)
    return _plan_shown(request, judged)


def _plan_shown(request: HttpRequest, judged: Judged, *, refused: PortalError | None = None, status: int = 200) -> HttpResponse:
    context = {
        "judged": judged,
        "draft": judged.draft,
        "shown": plan_digest([judged.spec]) if judged.spec else "",
        "refused": refused,
        "why": "" if getattr(refused, "refusal", "") else request.POST.get("why", judged.draft.why),
    }
    return render(request, "new/plan.html", context, status=status)


@page
@require_POST
def submit(request: HttpRequest, public_id: str) -> HttpResponse:
    """Request the certificate as it was shown; the same confirmation again leads to the same request."""
    draft, requester = _opened(request, public_id)
    try:
        row = submit_draft(draft, shown=request.POST.get("shown", ""), why=request.POST.get("why", ""), requester=requester)
    except (InputRefused, Conflict) as exc:  # a Conflict: a colleague, or the person in another tab, changed the draft
        judged = judge(draft, requester=requester, now=database_now())
        if judged.spec is None or judged.needs_csr or judged.key_is_refused:
            raise
        return _plan_shown(request, judged, refused=exc, status=exc.status)
    return redirect("request", row.public_id)
