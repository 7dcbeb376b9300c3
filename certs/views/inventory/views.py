"""Saving the view that is shown, and the links to saved ones."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from certs.inventory.listing.saved import delete_view, may_delete, save_view
from certs.models import SavedView
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.views.access import actor_of, authority_of, page, requester_of

_SHOWN = 50


@dataclass(frozen=True, slots=True)
class ViewLink:
    """A saved view: its address, and of which team and person it is where it is shared.

    `deletable`: it is the one that is shown, and the person may delete it.
    """

    pk: int
    name: str
    url: str
    shared: str
    deletable: bool
    here: bool


def views_of(request: HttpRequest) -> list[ViewLink]:
    """Return the person's views, and those shared with teams that the person may see."""
    rows = SavedView.objects.visible_to(request.user).select_related("team", "person")
    rows = rows.only("name", "query", "person__username", "team__name")
    shown = request.GET.copy()
    for name in ("after", "before", "total"):
        shown.pop(name, None)
    return [
        ViewLink(
            one.pk,
            one.name,
            f"{reverse('certificates')}?{one.query}",
            f"{one.team.name}, by {one.person}" if one.team else "",
            is_shown and may_delete(one, authority_of(request)),
            is_shown,
        )
        for one in rows.order_by("name", "pk")[:_SHOWN]
        for is_shown in (QueryDict(one.query) == shown,)
    ]


@page
@require_POST
def save(request: HttpRequest) -> HttpResponse:
    """Keep the view that was shown under a name."""
    given = request.POST
    # The refusal of a secret has effects of its own, in the name of the team.
    team = requester_of(request, given["team"]).team.slug if given.get("team") else ""
    refuse_secrets(given.get("name", ""), actor=actor_of(request), team=team, field="name", channel="portal")
    query = {name: str(value) for name, value in QueryDict(given.get("query", "")).items()}
    view = save_view(request.user, name=given.get("name", ""), query=query, team=team)
    messages.success(request, f"The view {view.name} is saved.")
    return redirect(f"{reverse('certificates')}?{view.query}")


@page
@require_POST
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete one of the person's own views, or one that is shared with a team that the person manages."""
    view = delete_view(pk, authority=authority_of(request))
    messages.success(request, f"The view {view.name} is deleted.")
    return redirect("certificates")
