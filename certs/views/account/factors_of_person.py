"""Second factors of another person: an operator gives time, a second security officer resets lost ones."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from certs.access.permissions import Permission
from certs.access.sign_in.required_factors import (
    FACTORS,
    LONGEST_GRACE,
    MOST_REASON,
    give_time,
    grace_of,
    requires_second_factor,
    reset_second_factors,
)
from certs.access.sign_in.second_factors import factors_of
from certs.errors import InputRefused, NotFound
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.views.access import authority_of, page
from db.clock import database_now


@page
@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest, pk: int) -> HttpResponse:
    """GET shows what a person has; POST `do` gives time or resets."""
    authority = authority_of(request)
    may_give, may_reset = authority.holds(Permission.OPERATE), authority.holds(Permission.ACT_FOR_EVERY_TEAM)
    person: Any = get_user_model().objects.filter(pk=pk).first()
    if person is None or not (may_give or may_reset):
        raise NotFound("There is no such person.")
    error = None
    if request.method == "POST":
        try:
            messages.success(request, _act(request, person), extra_tags="good")
        except InputRefused as exc:
            error = exc
        else:
            return redirect("factors-of-person", pk=pk)
    factors = factors_of(person)
    may_change = person.pk != request.user.pk and authority.may_change_account(person)
    context = {
        "person": person,
        "factors": [row for row in factors if row.type in FACTORS],
        "resettable": bool(factors),
        "required": requires_second_factor(person),
        "grace": grace_of(person),
        "may_give": may_give and may_change,
        "may_reset": may_reset and may_change,
        "most_days": LONGEST_GRACE.days,
        "most_reason": MOST_REASON,
        "error": error,
        "days": request.POST.get("days", "3"),
        "reason": request.POST.get("reason", ""),
    }
    return render(request, "account/factors_of_person.html", context, status=200 if error is None else 422)


def _act(request: HttpRequest, person: Any) -> str:
    do, authority = request.POST.get("do"), authority_of(request)
    if do == "reset":
        reset_second_factors(person, authority=authority)
        return f"The second factors of {person.get_username()} are removed, and every session has ended."
    if do == "time":
        days = request.POST.get("days", "")
        number = int(days) if days.isdecimal() and len(days) < 4 else 0
        reason = request.POST.get("reason", "")
        refuse_secrets(reason, actor=authority.actor, team="", field="reason", channel="portal")
        row = give_time(
            person,
            until=database_now() + timedelta(days=number),
            reason=reason,
            authority=authority,
        )
        return f"{person.get_username()} may work without a second factor until {row.until:%d %b %Y, %H:%M} UTC."
    raise InputRefused("There is no such action.", field="do", next_step="Open the page again.")
