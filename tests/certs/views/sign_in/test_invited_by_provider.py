"""Invitations that are accepted with the identity provider."""

from __future__ import annotations

import re
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client

from audit.models import AuditEvent
from certs.models import GroupMapping, OutgoingMail
from certs.notifications.delivery.mail import message_of
from certs.people.invitations import invite
from tests.cast import Cast
from tests.certs.views.sign_in.at_provider import said, sign_in
from tests.certs.views.sign_in.factors import is_signed_in
from tests.identity_provider import IdentityProvider

pytestmark = pytest.mark.django_db(transaction=True)


def invited(cast: Cast, address: str, *, role: str = "") -> str:
    """Invite an address into the team web, and return the path of the link."""
    authority = cast.authority("officer")
    row = invite(
        address,
        team=cast.web,
        as_lead=False,
        role=Group.objects.get(name=role) if role else None,
        days=7,
        authority=authority,
    )
    mail = OutgoingMail.objects.get(dedup_key__startswith=f"invitation:{row.pk}:")
    found = re.search(r"/invitations/[\w-]+/", str(message_of(mail).body))
    assert found
    return found[0]


def test_an_invited_person_accepts_with_the_provider(idp: IdentityProvider, cast: Cast, settings: Any) -> None:
    settings.PKI_OIDC_SIGN_UP = False
    path = invited(cast, "eve@example.com")
    page = Client().get(path).content.decode()
    assert "Accept with Acme sign-in" in page
    assert f'name="next" value="{path}"' in page
    idp.is_signed_in("s-eve", email="Eve@Example.com", email_verified=True, preferred_username="eve", groups=[])
    browser, _ = sign_in(idp, next=path)
    assert is_signed_in(browser)
    account = get_user_model().objects.get(username="eve")
    assert not account.has_usable_password()
    assert [team.slug for team in account.teams.all()] == ["web"]
    assert SocialAccount.objects.get(user=account).uid == "s-eve"
    event = AuditEvent.objects.get(event="invitation:changed")
    assert event.actor_name == "eve"
    assert "accepted_by" in str(event.data)
    # The link counts once, whoever comes.
    idp.is_signed_in("s-mallory", email="eve@example.com", email_verified=True, preferred_username="mallory", groups=[])
    other, _ = sign_in(idp, next=path)
    assert not is_signed_in(other)
    assert not get_user_model().objects.filter(username="mallory").exists()


@pytest.mark.parametrize(
    "claims",
    [
        {"email": "mallory@example.com", "email_verified": True},
        {"email": "eve@example.com\x00", "email_verified": True},
        {"email": "eve@example.com"},
        {"email": "eve@example.com", "email_verified": False},
        {"email": "eve@example.com", "email_verified": "true"},
        {"email_verified": True},
    ],
)
def test_a_forwarded_invitation_gives_nothing_to_another_person(idp: IdentityProvider, cast: Cast, claims: dict[str, Any]) -> None:
    path = invited(cast, "eve@example.com")
    idp.is_signed_in("s-mallory", preferred_username="mallory", groups=[], **claims)
    browser, _ = sign_in(idp, next=path)
    assert not is_signed_in(browser)
    assert "eve@example.com" in said(browser)
    assert not get_user_model().objects.filter(username="mallory").exists()
    assert Client().get(path).status_code == 200, "it still counts"


def test_an_invitation_takes_over_no_account_that_exists(idp: IdentityProvider, cast: Cast) -> None:
    """Whoever has the officer's address at the provider, and the officer's mail, still needs the officer's password."""
    path = invited(cast, cast["officer"].email)
    idp.is_signed_in("s-mallory", email=cast["officer"].email, email_verified=True, groups=[])
    browser, _ = sign_in(idp, next=path)
    assert not is_signed_in(browser)
    assert "There is an account with this address" in said(browser)
    assert not SocialAccount.objects.filter(user=cast["officer"]).exists()


def test_an_invitation_into_a_team_of_which_the_groups_decide_stays_open(idp: IdentityProvider, cast: Cast) -> None:
    GroupMapping.objects.create(group="web people", team=cast.web)
    path = invited(cast, "eve@example.com")
    idp.is_signed_in("s-eve", email="eve@example.com", email_verified=True, preferred_username="eve", groups=[])
    browser, _ = sign_in(idp, next=path)
    assert not is_signed_in(browser)
    assert not get_user_model().objects.filter(username="eve").exists()
    assert Client().get(path).status_code == 200
