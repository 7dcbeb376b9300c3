"""Asking for a certificate: in words, field by field, or with a CSR; then the plan; then, and only then, the request."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from certs.access.membership import teams_of
from certs.enums import RefusalClass
from certs.errors import Conflict, CSRRefused, InputRefused, NotUnderstood
from certs.requests.plan import defaults_for, plan_digest, plan_words
from certs.requests.submit import Requester, preview, submit_many
from certs.spec import IssuePlan, RenewPlan, RevokePlan
from certs.views.access import page, requester_of
from certs.views.bulk.new import drafted_plan
from certs.views.certificate.certificate_actions import from_words
from certs.views.request.plan_token import Asking, asking_of, plan_of, with_suggestion
from db.clock import database_now
from keys.spec import KeyFacts, KeySpec
from policy.models import Profile

WAYS = (("words", "In words"), ("form", "Field by field"), ("csr", "With a CSR"))
EXAMPLES = (
    "Issue TLS certificate for api.{domain} with RSA 4096, 90-day validity",
    "Certificate for shop.{domain} and www.shop.{domain}, P-256, 90 days",
    "Issue certificates for api-1 through api-5, all P-256, 60 days",
)


@page
@require_safe
def new(request: HttpRequest) -> HttpResponse:
    return _form(request, way=request.GET.get("via", "words"))


def _form(request: HttpRequest, *, way: str, status: int = 200, **more: Any) -> HttpResponse:
    teams = teams_of(request.user)
    if not teams:
        return render(request, "portal/no_team.html", status=status)
    chosen = next((team for team in teams if team.slug == request.POST.get("team")), teams[0])
    context = {
        "ways": WAYS,
        "way": way if way in dict(WAYS) else "words",
        "teams": teams,
        "team": chosen,
        "examples": [example.format(domain=chosen.example_domain) for example in EXAMPLES],
        "defaults": defaults_for(chosen, now=database_now()),
        "key_types": [(spec.value, spec.label) for spec in KeySpec if spec.family != "ml-dsa"],
        "profiles": Profile.objects.values_list("name", "description"),
        # A pasted secret goes back to nobody, not even to the page that it was typed into.
        "given": {} if getattr(more.get("error"), "refusal", "") == RefusalClass.SECRET_PASTED else request.POST,
    }
    return render(request, "portal/ask.html", context | more, status=status)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def plan(request: HttpRequest) -> HttpResponse:
    """Show what would be done. Nothing is. (A GET is what is left of a form whose sender had to sign in again.)"""
    if request.method != "POST":
        return redirect("home")
    way = request.POST.get("via", "words")
    try:
        words = _about_a_certificate(request, way)
        if words is not None:
            return from_words(request, words)
        asking = asking_of(request.POST["plan"]) if request.POST.get("plan") else _asked(request, way)
        requester = requester_of(request, asking.team)
        made = plan_of(asking, requester)
        if len(made.specs) > 1:
            return redirect("bulk-order", drafted_plan(made, asking.text, requester).public_id)
    except NotUnderstood as exc:
        text = request.POST.get("text", "")
        return _form(
            request,
            way="words",
            status=422,
            error=exc,
            before=text[: exc.position],
            there=text[exc.position :][:1] or " ",
            after=text[exc.position + 1 :],
        )
    except CSRRefused as exc:
        return _form(request, way=way, status=422, error=exc)
    except InputRefused as exc:
        return _form(request, way=way, status=exc.status, error=exc)
    return _shown(request, asking, made, requester)


def _about_a_certificate(request: HttpRequest, way: str) -> RenewPlan | RevokePlan | None:
    """Words that renew or revoke; None for everything else. Raises NotUnderstood."""
    if way != "words" or request.POST.get("plan"):
        return None
    requester = requester_of(request, request.POST.get("team", ""))
    plan = plan_words(request.POST.get("text", ""), requester=requester)
    return None if isinstance(plan, IssuePlan) else plan


def _asked(request: HttpRequest, way: str) -> Asking:
    given = request.POST
    team = given.get("team", "")
    if way == "csr":
        upload = request.FILES.get("file")
        data = upload.read(1024 * 1024 + 1) if upload else given.get("csr", "").encode()
        return Asking(
            "csr", team, csr=base64.b64encode(data).decode(), validity=given.get("validity_days", ""), profile=given.get("profile", "")
        )
    if way == "form":
        sans = [name.strip() for name in given.get("sans", "").replace(",", "\n").splitlines() if name.strip()]
        fields = {
            "common_name": given.get("common_name", ""),
            "sans": sans,
            "key": given.get("key", ""),
            "profile": given.get("profile", ""),
        }
        return Asking("fields", team, fields=fields, validity=given.get("validity_days", ""))
    return Asking("words", team, text=given.get("text", ""))


def _shown(request: HttpRequest, asking: Asking, made: IssuePlan, requester: Requester) -> HttpResponse:
    seen = preview(made.specs, requester=requester)
    applied = with_suggestion(asking, made, seen.decisions[0])
    (spec,), (decision,) = seen.specs, seen.decisions
    context = {
        "team": requester.team,
        "row": {"spec": spec, "key": KeyFacts.from_name(spec.key).label, "decision": decision},
        "notes": (*made.notes, *seen.notes),
        "ending": seen.endings[0],
        "decision": str(decision.outcome),
        "policy_version": seen.policy_version,
        "token": replace(asking, shown=plan_digest(made.specs)).token(),
        "applied_token": applied.token() if applied else "",
        "asked": asking.text,
    }
    return render(request, "portal/plan.html", context)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def confirm(request: HttpRequest) -> HttpResponse:
    """The plan as it was shown is submitted; the same confirmation twice is the same requests."""
    if request.method != "POST":
        return redirect("home")
    asking = asking_of(request.POST.get("plan", ""))
    requester = requester_of(request, asking.team, idempotency_key=asking.nonce)
    made = plan_of(asking, requester)
    if plan_digest(made.specs) != asking.shown or len(made.specs) != 1:
        raise Conflict(
            "What would be made changed since this plan was shown; nothing was made.", next_step="Ask again, and look at the new plan."
        )
    (row,) = submit_many(made.specs, requester=requester)
    return redirect("request", row.public_id)


@page
@require_safe
def words(request: HttpRequest) -> HttpResponse:
    """The language of requests, for people."""
    return render(request, "portal/words.html")
