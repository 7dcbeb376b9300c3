"""Invitations: the form, sending again and withdrawing, and the page behind the link in the mail."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from certs.access.login_limits import network_of
from certs.errors import Conflict, InputRefused, NotFound, NotPermitted, PortalError, TooMany
from certs.models import Invitation, Team
from certs.people import invitations
from certs.people.members import roles_to_offer
from certs.views.access import authority_of, page
from certs.views.client_ip import client_address
from certs.views.kept_forms import typed_of
from policy.persons import mailbox_of


@page
@require_http_methods(["GET", "HEAD", "POST"])
def invite(request: HttpRequest) -> HttpResponse:
    """Invite a person into a team, a role or both. `team` chooses it beforehand."""
    authority = authority_of(request)
    teams = _teams(request)
    if not teams and not authority.manages_people:
        raise NotPermitted("Only people who lead a team, and security officers, invite.", permission="certs.manage_people")
    if request.method != "POST":
        return _form(request, teams, request.GET)
    try:
        row = invitations.invite(
            request.POST.get("address", ""),
            team=_team(request),
            as_lead=request.POST.get("as_lead") == "yes",
            role=_role(request),
            days=_days(request),
            authority=authority,
        )
    except (InputRefused, Conflict, TooMany) as exc:
        return _form(request, teams, typed_of(request), error=exc)
    messages.success(request, f"The invitation to {row.address} is on its way.", extra_tags="good")
    return _back(row)


def _teams(request: HttpRequest) -> list[Team]:
    """The teams into which the person may invite."""
    if authority_of(request).manages_people:
        return list(Team.objects.order_by("name"))
    return list(Team.objects.filter(leads=request.user.pk, members=request.user.pk).order_by("name"))


def _form(request: HttpRequest, teams: list[Team], typed: Any, *, error: PortalError | None = None) -> HttpResponse:
    authority = authority_of(request)
    context = {
        "teams": teams,
        "roles": roles_to_offer(authority) if authority.manages_people else [],
        "days": invitations.DAYS,
        "typed": typed,
        "error": error,
    }
    return render(request, "people/invite.html", context, status=error.status if error else 200)


def _team(request: HttpRequest) -> Team | None:
    slug = request.POST.get("team", "")
    team = Team.objects.filter(slug=slug).first() if slug else None
    if slug and team is None:
        raise InputRefused("There is no such team.", field="team", next_step="Choose one of the list.")
    return team


def _role(request: HttpRequest) -> Group | None:
    name = request.POST.get("role", "")
    role = Group.objects.filter(name=name).first() if name else None
    if name and role is None:
        raise InputRefused("There is no such role.", field="role", next_step="Choose one of the list.")
    return role


def _days(request: HttpRequest) -> int:
    text = request.POST.get("days", "7")
    return int(text) if text.isdecimal() and len(text) < 4 else 0


def _back(row: Invitation) -> HttpResponse:
    return redirect("team-people", row.team.slug) if row.team is not None else redirect("people")


@page
@require_POST
def act(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """`again` sends it once more, `withdraw` ends it."""
    authority = authority_of(request)
    row = Invitation.objects.select_related("team", "role", "invited_by").filter(pk=pk).first()
    if row is None:
        raise NotFound("There is no such invitation.")
    match verb:
        case "again":
            row = invitations.send_again(row, authority=authority)
            messages.success(request, f"The invitation to {row.address} is sent again. The link before has ended.", extra_tags="good")
        case "withdraw":
            row = invitations.withdraw(row, authority=authority)
            messages.success(request, f"The invitation to {row.address} is withdrawn.", extra_tags="good")
        case _:
            raise NotFound("There is no such action.")
    return _back(row)


@sensitive_post_parameters("password", "password_again")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def accept(request: HttpRequest, token: str) -> HttpResponse:
    """The page behind the link: a form for a new account, or one button for an account that exists.

    The answer to a link that does not count is the same whatever is wrong with it.
    """
    try:
        row = invitations.find_open(token)
        return _answer(request, row, token)
    except (NotFound, Conflict, NotPermitted) as exc:
        return _page(request, {"over": exc}, status=exc.status)


def _answer(request: HttpRequest, row: Invitation, token: str) -> HttpResponse:
    account = invitations.account_of(row)
    here = reverse("invitation", args=[token])
    provider = settings.PKI_OIDC_NAME if settings.PKI_OIDC_ISSUER and not request.user.is_authenticated else ""
    context: dict[str, Any] = {"row": row, "account": account, "here": here, "provider": provider}
    if account is not None:
        own = request.user.is_authenticated and mailbox_of(getattr(request.user, "email", "")) == mailbox_of(row.address)
        if own and request.method == "POST":
            invitations.accept(token, user=request.user)
            messages.success(request, f"Welcome to {row.team.name if row.team else row.role}.", extra_tags="good")
            return redirect("home")
        context |= {"is_own": own, "sign_in": f"{reverse('login')}?{urlencode({'next': here})}"}
        return _page(request, context)
    if request.method != "POST":
        return _page(request, context | {"typed": {"username": row.address.partition("@")[0]}})
    return _new_account(request, token, context)


def _new_account(request: HttpRequest, token: str, context: dict[str, Any]) -> HttpResponse:
    password = request.POST.get("password", "")
    try:
        if password != request.POST.get("password_again", ""):
            raise _DIFFERENT
        user = invitations.accept_with_new_account(
            token,
            username=request.POST.get("username", ""),
            full_name=request.POST.get("full_name", ""),
            password=password,
            place=network_of(client_address(request)),
        )
    except (InputRefused, TooMany) as exc:
        return _page(request, context | {"typed": typed_of(request), "error": exc}, status=exc.status)
    return _page(request, {"made": user})


_DIFFERENT = InputRefused("The two passwords differ.", field="password_again", next_step="Type the same password twice.")


def _page(request: HttpRequest, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """The address is the secret: SECURE_REFERRER_POLICY keeps it from other sites.

    Not `no-referrer`: browsers would send the form with the origin "null", which the CSRF check refuses.
    """
    return render(request, "people/invitation.html", context, status=status)
