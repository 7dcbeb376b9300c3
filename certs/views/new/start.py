"""Where will the certificate be used? The tiles, the sentence box, and the draft that they begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from certs.access.permissions import teams_of
from certs.enums import RefusalClass
from certs.errors import InputRefused, NotUnderstood, PortalError, ReasonMissing
from certs.language.assistant import AssistantUnavailable, rewrite
from certs.language.meaning import KEY_ELSEWHERE
from certs.language.nearest import nearest_sentence
from certs.language.secret_scan import find_secret
from certs.models import RequestDraft, Team
from certs.requests.domains.domain_requests import owners_told
from certs.requests.drafts import DraftFields, begin, unfinished_drafts
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.requests.plan import defaults_for, plan_words
from certs.requests.submit import Requester
from certs.servers.files import FileNames, is_plain
from certs.servers.kinds import Place
from certs.spec import CertificateSpec, IntakeDefaults, IssuePlan
from certs.views.access import page, requester_of
from certs.views.bulk.new import drafted_plan, where_keys_will_be
from certs.views.certificate.certificate_actions import asking_for_reason, from_words
from certs.views.new.judged import judge, people
from certs.views.new.offers import profile_for, tiles
from certs.views.teams.teams import without_team
from certs.x509.certificate.profiles import profile_named
from certs.x509.domains import is_inside
from db.clock import database_now

EXAMPLES = (
    "https for {name} on nginx",
    "Certificate for api.{domain} and mail.{domain}, P-256, 90 days",
    "Certificates for api-1 through api-5, 60 days",
)
MAX_CSR_UPLOAD = 1024 * 1024
MOST_DRAFTS = 5


@dataclass(frozen=True, slots=True)
class Tried:
    """A text that did not lead to a draft, for the page that shows it again."""

    error: PortalError
    text: str = ""


@page
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """The first page. A POST begins a draft and leads to its address."""
    if request.method != "POST":
        return _page(request, "new/start.html")
    given = request.POST
    try:
        if given.get("go") == "rewrite":
            return _rewritten(request)
        if "text" in given and not given.get("place"):
            return _from_sentence(request, given["text"])
        if given.get("place") == Place.CSR:
            return _from_csr(request)
        return redirect("new-draft", _from_tile(request).public_id)
    except InputRefused as exc:
        tried = Tried(exc, given.get("text", ""))
        if given.get("place") != Place.CSR:
            return _page(request, "new/start.html", tried=tried, status=exc.status)
        typed = {"csr": pasted_csr(request, exc), "validity": _without_secret(given.get("validity", ""), exc)}
        return _page(request, "new/csr.html", tried=tried, typed=typed, status=exc.status)


@page
@require_safe
def with_csr(request: HttpRequest) -> HttpResponse:
    """A CSR that is there already: send it."""
    return _page(request, "new/csr.html")


@page
@require_safe
def automatic(request: HttpRequest) -> HttpResponse:
    """How a program requests and renews without a person."""
    names = _names_of_script(request)
    if not names:
        return _page(request, "new/automatic.html")
    team = requester_of(request, request.GET.get("team", "")).team
    domains = team.domain_names()
    outside = [name for name in names if not is_inside(name, domains)]
    named = {"name": names[0], "sans": ",".join(f"DNS:{name}" for name in names), "asked": names, "team": team}
    judged = {"outside": outside, "domains": domains, "people": people() if outside else (), "owners": owners_told(outside, request.user)}
    return _page(request, "new/automatic.html", typed=named | judged)


def _names_of_script(request: HttpRequest) -> list[str]:
    """Return the names of the address, of letters that no shell mistakes; none where one of them is something else."""
    names = request.GET.getlist("name")[: settings.PKI_MAX_NAMES]
    fits = all(is_plain(name) and "." in name and not set(name) & set("*:") for name in names)
    return names if names and fits and FileNames.of(names).stem == names[0] else []


@page
@require_safe
def words(request: HttpRequest) -> HttpResponse:
    """The language of requests, for people."""
    return render(request, "portal/words.html")


def _page(
    request: HttpRequest, template: str, *, tried: Tried | None = None, typed: dict[str, Any] | None = None, status: int = 200
) -> HttpResponse:
    teams = teams_of(request.user)
    if not teams:
        return without_team(request, status=status)
    now = database_now()
    chosen = next((team for team in teams if team.slug == request.POST.get("team")), teams[0])
    context: dict[str, Any] = {
        "teams": teams,
        "team": chosen,
        "tiles": tiles(now),
        "examples": [one.format(domain=chosen.example_domain, name=chosen.example_name) for one in EXAMPLES],
        "defaults": defaults_for(chosen, now=now),
        "helper": bool(settings.PKI_NL_PROVIDER),
        "base_url": settings.PKI_PORTAL_URL,
        "drafts": unfinished_drafts(request.user, teams, most=MOST_DRAFTS),
        "name": chosen.example_name,
    }
    if tried is not None:
        context |= _what_was_typed(tried, context["defaults"], chosen)
    context |= typed or {}
    return render(request, template, context, status=status)


def _what_was_typed(tried: Tried, defaults: IntakeDefaults, team: Team) -> dict[str, Any]:
    """The text again with the place that was not understood; a pasted secret goes back to nobody."""
    error, text = tried.error, tried.text
    if getattr(error, "refusal", "") == RefusalClass.SECRET_PASTED:
        return {"error": error}
    shown: dict[str, Any] = {"error": error, "text": text}
    if isinstance(error, NotUnderstood) and text:
        at = error.position
        shown |= {"marked": True, "before": text[:at], "there": text[at:][:1] or " ", "after": text[at + 1 :]}
        shown["example"] = nearest_sentence(text, defaults) or error.example.replace("example.com", team.example_domain)
    return shown


def _from_sentence(request: HttpRequest, text: str) -> HttpResponse:
    """A sentence leads to a draft, to a draft order, or to the page that renews or revokes."""
    requester = requester_of(request, request.POST.get("team", ""))
    try:
        plan = plan_words(text, requester=requester)
    except ReasonMissing as exc:
        return asking_for_reason(request, exc)
    if not isinstance(plan, IssuePlan):
        return from_words(request, plan)
    return _to_draft(plan, text, requester)


def _to_draft(plan: IssuePlan, text: str, requester: Requester) -> HttpResponse:
    if len(plan.specs) > 1:
        asking = where_keys_will_be(plan, text, requester)
        return redirect(asking) if asking else redirect("bulk-order", drafted_plan(plan, text, requester).public_id)
    if plan.place == Place.AUTOMATIC:
        return redirect(_automatic_for(plan.specs[0], requester.team))
    (spec,) = plan.specs
    notes = [note for note in plan.notes if note != KEY_ELSEWHERE]
    draft = begin(_fields_of(plan, spec), requester=requester, sentence=text, notes=notes)
    return redirect("new-draft", draft.public_id)


def _automatic_for(spec: CertificateSpec, team: Team) -> str:
    """Return the address of the script for the names of a sentence."""
    query = urlencode({"team": team.slug, "name": spec.dns_names}, doseq=True)
    return f"{reverse('new-automatic')}?{query}"


def _fields_of(plan: IssuePlan, spec: CertificateSpec) -> DraftFields:
    place = Place.CLIENT if _is_client(spec.profile) else plan.place or Place.SERVER
    return DraftFields(
        place=place,
        server=plan.server if place != Place.CLIENT else "",
        names="\n".join((*spec.dns_names, *spec.ip_addresses)),
        key=spec.key,
        profile=spec.profile,
        validity=spec.not_after.isoformat() if spec.not_after else f"{spec.validity_days} days",
    )


def _is_client(profile: str) -> bool:
    try:
        return profile_named(profile).ekus == ("clientAuth",)
    except KeyError:
        return False


def _from_tile(request: HttpRequest) -> RequestDraft:
    given = request.POST
    requester = requester_of(request, given.get("team", ""))
    place = given.get("place", "")
    fields = DraftFields(
        place=place,
        server=given.get("server", ""),
        names=given.get("names", ""),
        profile=profile_for(place, now=database_now()) or ("tls-client" if place == Place.CLIENT else ""),
    )
    return begin(fields, requester=requester)


def _from_csr(request: HttpRequest) -> HttpResponse:
    requester = requester_of(request, request.POST.get("team", ""))
    fields = DraftFields(place=Place.CSR, validity=request.POST.get("validity", ""), profile=request.POST.get("profile", ""))
    draft = begin(fields, requester=requester, csr=uploaded_csr(request))
    needs_another = judge(draft, requester=requester, now=database_now()).key_is_refused  # the draft's page has the command
    return redirect("new-draft" if needs_another else "new-draft-plan", draft.public_id)


def uploaded_csr(request: HttpRequest) -> bytes:
    """The CSR of a form: a file, else the pasted text. Raises InputRefused where there is neither."""
    upload = request.FILES.get("file")
    data = upload.read(MAX_CSR_UPLOAD + 1) if upload else request.POST.get("csr", "").encode()
    if not data.strip():
        raise InputRefused("There is no CSR yet.", field="csr", next_step="Choose the file that ends in .csr, or paste its text.")
    return bytes(data)


def pasted_csr(request: HttpRequest, error: PortalError) -> str:
    """Return the pasted text for the page that shows it again; a secret goes back to nobody."""
    return _without_secret(request.POST.get("csr", ""), error)


def _without_secret(text: str, error: PortalError) -> str:
    """Return a typed text for the page that shows it again. Looked at itself, too: the error may be about another field."""
    is_secret = getattr(error, "refusal", "") == RefusalClass.SECRET_PASTED or find_secret(text) is not None
    return "" if is_secret else text


def _rewritten(request: HttpRequest) -> HttpResponse:
    """Ask the language helper for a sentence, and show it in the box: the person reads it and sends it, or writes another."""
    requester, text = requester_of(request, request.POST.get("team", "")), request.POST.get("text", "")
    refuse_secrets(text, actor=requester.actor, team=requester.team.slug, field="text", channel=requester.channel)
    try:
        found = rewrite(text, defaults_for(requester.team, now=database_now()))
    except NotUnderstood as exc:  # of the helper's sentence: its position says nothing about this text
        raise InputRefused("The language helper found no request in this text.", field="text", next_step=exc.next_step) from exc
    except AssistantUnavailable as exc:
        return _page(request, "new/start.html", tried=Tried(exc, text), status=exc.status)
    return _page(request, "new/start.html", typed={"text": found.sentence, "rewritten": True})
