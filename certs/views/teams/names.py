"""Names of a team: what it would do to add, move or remove them, and doing exactly that."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from certs.errors import InputRefused
from certs.models import Team
from certs.people import domains
from certs.people.preview import ChangedSince
from certs.people.teams import find_team
from certs.views.access import authority_of, page
from certs.views.kept_forms import typed_of

SHOWN = 10


@page
@require_http_methods(["GET", "HEAD", "POST"])
def change(request: HttpRequest, slug: str) -> HttpResponse:
    """Without `shown`: the form, or the preview of what it says. With `shown`: do what the preview showed.

    `names`: one domain a line. `to`: the team that gets them; empty removes them from their team.
    """
    authority = authority_of(request)
    team = find_team(slug, authority)
    given = request.POST if request.method == "POST" else request.GET
    if request.method == "POST" and "shown" in given:
        return _do(request, team, given)
    if "names" not in given:
        return _form(request, team, {"names": given.get("move", "")[:253], "to": team.slug}, moving=given.get("move", "")[:253])
    try:
        found = domains.preview_change(given.get("names", ""), _receiver(given), authority=authority)
    except InputRefused as exc:
        return _form(request, team, typed_of(request), error=exc)
    return _preview(request, team, found)


def _receiver(given: Any) -> Team | None:
    slug = given.get("to", "")
    if not slug:
        return None
    receiver: Team | None = Team.objects.filter(slug=slug).first()
    if receiver is None:
        raise InputRefused("There is no such team.", field="to", next_step="Choose one of the list.")
    return receiver


def _form(request: HttpRequest, team: Team, typed: Any, *, error: InputRefused | None = None, moving: str = "") -> HttpResponse:
    authority_of(request).check_may_manage(team)
    context = {"team": team, "typed": typed, "error": error, "teams": Team.objects.order_by("name"), "moving": moving}
    return render(request, "teams/names_form.html", context, status=error.status if error else 200)


def _preview(request: HttpRequest, team: Team, found: domains.Change, *, changed: ChangedSince | None = None) -> HttpResponse:
    rows = [
        {
            "effect": one,
            "certificates": one.certificates.first,
            "more": one.certificates.count - len(one.certificates.first),
            "requests": one.requests[:SHOWN],
            "more_requests": max(0, len(one.requests) - SHOWN),
        }
        for one in found.effects
    ]
    context = {
        "team": team,
        "found": found,
        "rows": rows,
        "changed": changed,
        "typed_names": "\n".join([one.name for one in found.effects] + [one.text for one in found.refused]),
    }
    return render(request, "teams/names_preview.html", context, status=409 if changed else 200)


def _do(request: HttpRequest, team: Team, given: Any) -> HttpResponse:
    authority, receiver = authority_of(request), _receiver(given)
    names = given.get("names", "").split()
    try:
        done = domains.do_change(names, receiver, shown=given.get("shown", ""), authority=authority)
    except ChangedSince as exc:
        found = domains.preview_change("\n".join(names), receiver, authority=authority)
        return _preview(request, team, found, changed=exc)
    text = ", ".join(one.name for one in done.effects[:3]) + (f" and {len(done.effects) - 3} more" if len(done.effects) > 3 else "")
    words = f"{text} belong{'s' if len(done.effects) == 1 else ''} to {receiver.name} now." if receiver else f"{text}: removed."
    messages.success(request, words, extra_tags="good")
    return redirect("team", team.slug)
