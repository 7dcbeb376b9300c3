"""Check that a certificate is live: asked here, looked at by a worker, shown by a part of other pages."""

from __future__ import annotations

import time

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods

from certs.errors import NotFound, NotPermitted, PortalError
from certs.installation.places import BY_PORT, ask, forget, places_of, read_place
from certs.installation.probe import SECONDS
from certs.models import Certificate, InstalledPlace
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.views.access import authority_of, page
from certs.views.kept_forms import typed_of

# A browser without JavaScript shows what there is when it has waited so long.
PATIENCE = SECONDS + 1
PAUSE = 0.1
PART = "installation/live_check.html"
WHOLE = "installation/live_check_page.html"


@page
@require_http_methods(["GET", "HEAD", "POST"])
def live_check(request: HttpRequest, cert_id: str) -> HttpResponse:
    """Ask for a look at a place (POST `place`, `speaks`), or forget one (POST `forget`); GET shows what is known.

    With htmx the answer is the part of the page, with status 200 also for a refusal, because htmx
    would not show it otherwise. Without: back to the page it came from.
    """
    certificate = Certificate.objects.visible_to(request.user).select_related("team", "renewed_from").filter(cert_id=cert_id).first()
    if certificate is None:
        raise Http404
    given = request.POST if request.method == "POST" else request.GET
    context = {"certificate": certificate, "back": _back(request, given.get("back", ""), certificate)}
    part = bool(request.headers.get("HX-Request"))
    if request.method == "POST":
        try:
            _act(request, certificate, wait=not part)
        except (NotFound, NotPermitted):
            raise
        except PortalError as exc:
            typed = typed_of(request)
            context |= {"error": exc, "typed": typed.get("place", ""), "spoken": typed.get("speaks", "")}
            return render(request, PART if part else WHOLE, context, status=200 if part else exc.status)
    if part:
        response = render(request, PART, context)
        if not any(place.is_being_looked_at for place in places_of(certificate)):
            response["HX-Trigger"] = "place-looked"  # the steps of a request's page ask for themselves again
        return response
    return redirect(f"{context['back']}#live-check")


def _act(request: HttpRequest, certificate: Certificate, *, wait: bool) -> None:
    authority = authority_of(request)
    number = request.POST.get("forget", "")
    if number:
        known = {str(one.pk): one for one in places_of(certificate)}
        if number in known:
            forget(known[number], authority=authority)
        return
    authority.check_may_act(certificate)
    text = request.POST.get("place", "")
    refuse_secrets(text, actor=authority.actor, team=certificate.team.slug, field="place", channel="portal")
    where = read_place(text, request.POST.get("speaks", BY_PORT))
    place = ask(certificate, where, authority=authority)
    if wait:
        _wait_for(place)


def _wait_for(place: InstalledPlace) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        now = InstalledPlace.objects.filter(pk=place.pk).first()
        if now is None or not now.is_being_looked_at:
            return
        time.sleep(PAUSE)


def _back(request: HttpRequest, wanted: str, certificate: Certificate) -> str:
    """Return the page to go back to: the given path of this portal, else the certificate's."""
    if wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, allowed_hosts={request.get_host()}):
        return wanted
    return reverse("certificate-install", args=[certificate.cert_id])
