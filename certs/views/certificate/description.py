"""The owner, purpose, notes, tags, review and renewal switch of a certificate: the form, and the button for a review."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from certs.access.owners import current_owner
from certs.access.permissions import Authority
from certs.errors import CSRRefused, InputRefused, NotFound
from certs.models import Certificate
from certs.requests.description import Changes, describe
from certs.views.access import authority_of, page
from db.clock import database_now

_OFFERED = 500  # members in the list


@page
@require_http_methods(["GET", "HEAD", "POST"])
def form(request: HttpRequest, cert_id: str) -> HttpResponse:
    """Show the form; POST changes the description. Members of the team and officers."""
    row, authority = _mine(request, cert_id)
    if request.method != "POST":
        return _form(request, row, _written(row))
    given = request.POST
    off, reason = given.get("renewal") == "off", given.get("renewal_off_reason", "")
    changes: Changes = {
        "owner": given.get("owner", ""),
        "purpose": given.get("purpose", ""),
        "notes": given.get("notes", ""),
        "tags": given.get("tags", "").replace(",", " ").split(),
        "runbook": given.get("runbook", ""),
        "critical_function": given.get("critical_function") == "on",
        "renewal_off_reason": reason if off else "",
    }
    shown = {**changes, "renewal_off": off, "renewal_off_reason": reason}
    if off and not reason.strip():
        refused = InputRefused(
            "Nothing was changed: the renewal is switched off only with a reason.",
            field="renewal_off_reason",
            next_step="Say in a few words why nothing may renew this certificate.",
        )
        return _form(request, row, shown, error=refused, status=refused.status)
    try:
        describe(row, changes, authority=authority, channel="portal")
    except CSRRefused as exc:  # a secret in a text, which the page must not repeat
        return _form(request, row, shown | {exc.field: ""}, error=exc, status=exc.status)
    except InputRefused as exc:
        return _form(request, row, shown, error=exc, status=exc.status)
    messages.success(request, "Owner and purpose are saved.")
    return redirect("certificate", row.cert_id)


@page
@require_POST
def reviewed(request: HttpRequest, cert_id: str) -> HttpResponse:
    """Record that the signed-in person reviewed the certificate today (UTC)."""
    row, authority = _mine(request, cert_id)
    describe(row, {"last_review": database_now().date()}, authority=authority, channel="portal")
    messages.success(request, "The review of today is recorded.")
    return redirect("certificate", row.cert_id)


def _mine(request: HttpRequest, cert_id: str) -> tuple[Certificate, Authority]:
    """Raises NotFound for what they may not see, NotPermitted for what they may only look at."""
    authority = authority_of(request)
    row = authority.visible().select_related("owner").filter(cert_id=cert_id).first()
    if row is None:
        raise NotFound("There is no such certificate.")
    authority.check_may_act(row)
    return row, authority


def _written(row: Certificate) -> dict[str, Any]:
    return {
        "owner": row.owner.get_username() if row.owner else "",
        "purpose": row.purpose,
        "notes": row.notes,
        "tags": row.tag_list,
        "runbook": row.runbook,
        "critical_function": row.critical_function,
        "renewal_off": bool(row.renewal_off_reason),
        "renewal_off_reason": row.renewal_off_reason,
    }


def _form(
    request: HttpRequest,
    row: Certificate,
    shown: dict[str, Any],
    *,
    error: InputRefused | None = None,
    status: int = 200,
) -> HttpResponse:
    members = row.team.members.filter(is_active=True).order_by("username")
    names = list(members.values_list("username", flat=True)[:_OFFERED])
    if shown["owner"] and shown["owner"] not in names:
        names.append(shown["owner"])
    left = row.owner is not None and current_owner(row) is None
    context = {"row": row, "members": names, "owner_left": left, "error": error} | shown
    return render(request, "certificate/describe.html", context, status=status)
