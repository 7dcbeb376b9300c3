"""The mails that the signed-in person gets: a choice for each topic."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from certs.access.permissions import teams_of
from certs.notifications.choices import OF_PERSONS, choose, unwanted_by
from certs.views.access import page


@page
@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        choose(request.user, request.POST.getlist("topics"))
        messages.success(request, "Your choice is saved.", extra_tags="good")
        return redirect("mails")
    unwanted = unwanted_by(request.user)
    context = {
        "choices": [(topic, topic not in unwanted) for topic in OF_PERSONS if topic.is_optional],
        "always": [topic for topic in OF_PERSONS if not topic.is_optional],
        "address": getattr(request.user, "email", ""),
        "teams": teams_of(request.user),
    }
    return render(request, "portal/mails.html", context)
