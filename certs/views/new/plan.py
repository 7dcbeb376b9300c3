"""The plan before the act: everything that would be requested, and the one button that requests it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from certs.errors import InputRefused
from certs.requests.drafts import submit_draft
from certs.requests.plan import plan_digest
from certs.views.access import page
from certs.views.new.draft import opened
from certs.views.new.judged import Judged, judge
from db.clock import database_now


@page
@require_safe
def plan(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show what would be requested. Nothing is."""
    draft, requester = opened(request, public_id)
    if draft.request is not None:
        return redirect("request", draft.request.public_id)
    judged = judge(draft, requester=requester, now=database_now())
    if judged.spec is None or judged.needs_csr:
        return redirect("new-draft", draft.public_id)
    return _shown(request, judged)


def _shown(request: HttpRequest, judged: Judged, *, refused: InputRefused | None = None, status: int = 200) -> HttpResponse:
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
    draft, requester = opened(request, public_id)
    try:
        row = submit_draft(draft, shown=request.POST.get("shown", ""), why=request.POST.get("why", ""), requester=requester)
    except InputRefused as exc:
        judged = judge(draft, requester=requester, now=database_now())
        if judged.spec is None:
            raise
        return _shown(request, judged, refused=exc, status=exc.status)
    return redirect("request", row.public_id)
