"""The webhooks of a team: list, new one with its secret shown once, and the log of deliveries."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs.errors import Conflict, InputRefused, NotFound
from certs.models import Team
from certs.notifications import webhooks
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.views.access import actor_of, authority_of, page
from certs.views.kept_forms import typed_of

DELIVERIES = 50  # on a page


@page
@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest, slug: str) -> HttpResponse:
    team = webhooks.find_team(slug, authority_of(request))
    if request.method != "POST":
        return _show(request, team)
    try:
        secret = _add(request, team)
    except (InputRefused, Conflict) as exc:
        return _show(request, team, error=exc, typed=typed_of(request), status=exc.status)
    return _show(request, team, secret=secret)


def _show(request: HttpRequest, team: Team, *, status: int = 200, **more: Any) -> HttpResponse:
    """The page. `secret`: of a webhook that was just added; `error` with `typed`: a form to be corrected."""
    typed = more.get("typed")
    chosen = typed.getlist("topics") if typed is not None else webhooks.TOPICS
    context = {
        "team": team,
        "rows": webhooks.webhooks_of(team),
        "topics": [(topic, topic in chosen) for topic in webhooks.TOPICS],
        "may_manage": webhooks.may_manage(team, authority_of(request)),
        **more,
    }
    return render(request, "portal/webhooks.html", context, status=status)


def _add(request: HttpRequest, team: Team) -> str:
    name, url = request.POST.get("name", "").strip(), request.POST.get("url", "").strip()
    webhooks.check_may_manage(team, authority_of(request))
    for field, text in (("name", name), ("url", url)):
        refuse_secrets(text, actor=actor_of(request), team=team.slug, field=field)
    hook = webhooks.add_webhook(
        team,
        name=name,
        url=url,
        topics=request.POST.getlist("topics"),
        authority=authority_of(request),
    )
    return webhooks.secret_of(hook)


@page
@require_safe
def detail(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    team = webhooks.find_team(slug, authority_of(request))
    hook = webhooks.find_webhook(team, pk)
    context = {
        "team": team,
        "hook": hook,
        "deliveries": hook.deliveries.order_by("-pk")[:DELIVERIES],
        "may_manage": webhooks.may_manage(team, authority_of(request)),
    }
    return render(request, "portal/webhook.html", context)


@page
@require_POST
def act(request: HttpRequest, slug: str, pk: int, verb: str) -> HttpResponse:
    authority = authority_of(request)
    team = webhooks.find_team(slug, authority)
    hook = webhooks.find_webhook(team, pk)
    match verb:
        case "remove":
            webhooks.remove_webhook(hook, authority=authority)
            messages.success(request, f"The webhook {hook.name} is removed.", extra_tags="good")
            return redirect("webhooks", slug)
        case "enable":
            webhooks.enable_webhook(hook, authority=authority)
        case "test":
            webhooks.send_test(hook, authority=authority)
        case "again":
            webhooks.send_again(hook, request.POST.get("message", ""), authority=authority)
        case _:
            raise NotFound("There is no such action.")
    return redirect("webhook", slug, pk)
