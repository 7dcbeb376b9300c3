"""What a person typed before being signed out: shown after the sign-in, to be sent or forgotten."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from certs.views.access import page
from certs.views.kept_forms import forget, kept_for


@page
@require_http_methods(["GET", "HEAD", "POST"])
def send_again(request: HttpRequest) -> HttpResponse:
    """GET shows the kept form, POST forgets it."""
    if request.method == "POST":
        forget(request)
        return redirect("home")
    kept = kept_for(request)
    if kept is None:
        return redirect("home")
    return render(request, "errors/send_again.html", {"kept": kept})
