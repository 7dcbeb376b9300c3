"""The certificates of one person, handed over to another owner."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from certs.errors import Conflict, InputRefused, NotFound
from certs.notifications.wording import so_many
from certs.people.handing_over import check_may_hand_over, hand_over_chosen, possession_of, possible_owners
from certs.people.preview import ChangedSince
from certs.requests.owner_change import open_change_of
from certs.views.access import authority_of, page
from db.clock import database_now

SHOWN = 100


@page
@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest, pk: int) -> HttpResponse:
    """GET lists the first SHOWN by end; POST hands over `chosen`, or with `everything` all of them, to `owner`."""
    authority = authority_of(request)
    person = get_user_model().objects.filter(pk=pk).first()
    if person is None or (person.pk != request.user.pk and authority.sees() is not None):
        raise NotFound("There is no such person.")
    check_may_hand_over(person, authority)
    if request.method != "POST":
        return _show(request, person)
    everything = request.POST.get("shown", "") if request.POST.get("which") == "everything" else ""
    owner = request.POST.get("owner", "")
    try:
        count = hand_over_chosen(person, request.POST.getlist("chosen"), owner=owner, everything=everything, authority=authority)
    except (ChangedSince, Conflict, InputRefused) as exc:
        return _show(request, person, error=exc)
    said = "are being handed over. This page shows how far that is; both sides are mailed at its end."
    if open_change_of(person) is None:
        said = "handed over. Both sides are mailed."
    messages.success(request, f"{so_many(count, 'certificate')} {said}", extra_tags="good")
    return redirect("person", pk)


def _show(request: HttpRequest, person: Any, *, error: Conflict | InputRefused | None = None) -> HttpResponse:
    found = possession_of(person, authority=authority_of(request))
    chosen = request.POST.getlist("chosen")
    context = {
        "person": person,
        "found": found,
        "rows": [(row, row.cert_id in chosen) for row in found.rows[:SHOWN]],
        "people": possible_owners(found),
        "owner": request.POST.get("owner", ""),
        "error": error,
        "now": database_now(),
    }
    return render(request, "people/hand_over.html", context, status=error.status if error else 200)
