"""How to trust the CAs of this portal: public pages and files, and mails before the roots change."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from audit.models import EpochKey
from certs.models import TrustSubscription
from certs.trust.roots import TYPES, find_root, roots
from certs.trust.subscriptions import confirm, end, find, subscribe
from certs.trust.systems import SYSTEMS, download_for, text_for
from certs.views.access import page
from db.clock import database_now


@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponseBase:
    """The page is for everybody; only people who are signed in subscribe."""
    if request.method == "POST":
        return change(request)
    base_url = settings.PKI_PORTAL_URL
    shown = [
        (root, download_for(root, base_url=base_url), [(one, text_for(one, root, base_url=base_url)) for one in SYSTEMS])
        for root in roots()
    ]
    context = {"shown": shown, "log_keys": EpochKey.objects.order_by("-epoch"), "now": database_now()}
    if request.user.is_authenticated:
        context["subscription"] = TrustSubscription.objects.filter(user=request.user.pk).first()
    return render(request, "trust/index.html", context)


@page
def change(request: HttpRequest) -> HttpResponse:
    """Subscribe to the mails, or end them."""
    if request.POST.get("do") == "end":
        TrustSubscription.objects.filter(user=request.user.pk).delete()
        messages.success(request, "The mails have ended.", extra_tags="good")
    else:
        row = subscribe(request.user, now=database_now())
        if row.confirmed_at is None:
            messages.success(request, f"The portal has sent a link to {row.address}.", extra_tags="good")
    return redirect("trust")


@require_safe
def file(_request: HttpRequest, slug: str, form: str) -> HttpResponse:
    """Return a root as one of the files."""
    root = find_root(slug)
    if root is None or form not in TYPES:
        raise Http404
    response = HttpResponse(root.content(form), content_type=TYPES[form])
    response["Content-Disposition"] = f'attachment; filename="{root.slug}.{form}"'
    response["Cache-Control"] = "public, max-age=3600"
    return response


_PAGES = {
    "confirm": ("Mails before the roots change", "Confirm that {address} is to get them.", "Confirm"),
    "end": ("End the mails about roots", "{address} gets no more mails before the root certificates change.", "End these mails"),
}
_DONE = {
    "confirm": ("You will be mailed", "The portal mails {address} before a root is added, removed or ends."),
    "end": ("The mails have ended", "You can subscribe again at any time."),
}


@require_http_methods(["GET", "HEAD", "POST"])
def mails(request: HttpRequest, verb: str, text: str) -> HttpResponse:
    """The links in the mails. GET changes nothing: mail programs open links by themselves."""
    row = find(verb, text) if verb in _PAGES else None
    if row is None:
        title, words, button = "This link does not work any more", "It is too old, or the mails have ended already.", ""
        return render(request, "trust/mails.html", {"title": title, "text": words, "button": button}, status=404)
    if request.method == "POST":
        if verb == "confirm":
            confirm(row, now=database_now())
        else:
            end(row)
        title, words = _DONE[verb]
        button = ""
    else:
        title, words, button = _PAGES[verb]
    context = {"title": title, "text": words.format(address=row.address), "button": button}
    return render(request, "trust/mails.html", context)
