"""Sign-in with an identity provider: a certified provider library runs as a local server."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount, SocialToken
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.db import transaction
from django.test import Client

from audit.models import AuditEvent
from certs.access.sign_in.identities import known_account, provider_id
from certs.models import GroupMapping
from certs.views.sign_in import identity_adapter
from policy.models import Person
from tests.cast import Cast
from tests.certs.views.sign_in.at_provider import begin, identity_of, said, sign_in
from tests.certs.views.sign_in.conftest import HERE
from tests.certs.views.sign_in.factors import add_app, code, is_signed_in
from tests.faults.dripping import dripping
from tests.identity_provider import CLIENT_SECRET, IdentityProvider
from tests.portal.fixtures import PASSWORD
from tests.portal.threads import in_thread, until_it_waits_for_a_lock

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_request_to_the_provider_has_state_nonce_and_pkce(idp: IdentityProvider) -> None:
    client = Client()
    first, second = (parse_qs(urlsplit(begin(client)).query) for _ in range(2))
    assert first["code_challenge_method"] == ["S256"]
    assert (first["response_type"], first["redirect_uri"]) == (["code"], [HERE])
    for name in ("state", "nonce", "code_challenge"):
        assert first[name] != second[name]
        assert len(first[name][0]) >= 16
    assert CLIENT_SECRET not in str(first)


def test_a_link_adds_nothing_to_the_request(idp: IdentityProvider) -> None:
    answer = Client().post("/login/oidc/?auth_params=redirect_uri%3Dhttps%3A%2F%2Fevil.example&scope=offline_access", {})
    assert "evil.example" not in answer.content.decode()
    assert "offline_access" not in answer.content.decode()
    assert Client().get("/login/oidc/").status_code == 405


def test_a_known_identity_signs_in_to_its_account(idp: IdentityProvider, cast: Cast) -> None:
    identity_of(cast["requester"], "s-1")
    idp.is_signed_in("s-1", email="whatever@example.com")
    client, answer = sign_in(idp, next="/tokens/")
    assert answer["Location"] == "/tokens/"
    assert client.session["_auth_user_id"] == str(cast["requester"].pk)
    assert AuditEvent.objects.get(event="login:succeeded").data["methods"] == ["oidc"]
    assert not SocialToken.objects.exists()


def test_a_second_factor_is_asked_after_the_provider_and_no_token_waits_in_the_session(idp: IdentityProvider, cast: Cast) -> None:
    identity_of(cast["requester"], "s-1")
    add_app(cast["requester"])
    idp.is_signed_in("s-1")
    client, answer = sign_in(idp)
    assert answer["Location"] == "/login/code/"
    assert not is_signed_in(client)
    waiting = repr([row.get_decoded() for row in Session.objects.all()])
    assert "access_token" not in waiting
    assert "'token'" not in waiting
    assert client.post("/login/code/", {"code": code()}).status_code == 302
    assert is_signed_in(client)


def test_an_address_is_no_identity(idp: IdentityProvider, cast: Cast) -> None:
    """The provider's address of somebody equals an account's: neither linked nor signed in."""
    idp.is_signed_in("s-9", email=cast["officer"].email, email_verified=True, preferred_username="officer")
    client, answer = sign_in(idp)
    assert answer["Location"] == "/login/"
    assert "you have no account in this portal" in said(client)
    assert not is_signed_in(client)
    assert not SocialAccount.objects.exists()


@pytest.mark.parametrize(("verified", "links"), [(True, True), (False, False), ("true", False), (1, False), (None, False)])
def test_by_the_administrators_setting_a_verified_address_links(
    idp: IdentityProvider, cast: Cast, settings: Any, verified: Any, links: bool
) -> None:
    settings.PKI_OIDC_LINK_VERIFIED_EMAIL = True
    idp.is_signed_in("s-2", email=cast["requester"].email.upper(), email_verified=verified)
    client, _ = sign_in(idp)
    assert is_signed_in(client) == links
    assert SocialAccount.objects.exists() == links


@pytest.mark.parametrize("other", ["offıcer@example.org", "oﬃcer@example.org", "officer@example.org "])
def test_an_address_in_letters_that_only_look_alike_links_nobody(idp: IdentityProvider, cast: Cast, settings: Any, other: str) -> None:
    """A database that compares capitals takes the dotless ı for an i: the provider has verified another mailbox."""
    settings.PKI_OIDC_LINK_VERIFIED_EMAIL = True
    idp.is_signed_in("s-2", email=other, email_verified=True)
    client, _ = sign_in(idp)
    assert not is_signed_in(client)
    assert not SocialAccount.objects.exists()


def test_of_two_identities_with_one_address_at_once_one_is_linked(cast: Cast, settings: Any) -> None:
    settings.PKI_OIDC_ISSUER, settings.PKI_OIDC_LINK_VERIFIED_EMAIL = "https://id.example.com", True
    claims, found = {"email": cast["officer"].email, "email_verified": True}, list[Any]()

    def link() -> None:
        with transaction.atomic():
            found.append(known_account(claims))

    with transaction.atomic():
        assert known_account(claims) == cast["officer"]
        thread = in_thread(link)
        until_it_waits_for_a_lock()
        identity_of(cast["officer"], "s-1")
    thread.join(30)
    assert found == [None]


def test_a_second_identity_does_not_take_over_a_linked_account(idp: IdentityProvider, cast: Cast, settings: Any) -> None:
    settings.PKI_OIDC_LINK_VERIFIED_EMAIL = True
    identity_of(cast["requester"], "s-1")
    idp.is_signed_in("s-2", email=cast["requester"].email, email_verified=True)
    client, _ = sign_in(idp)
    assert not is_signed_in(client)


def map_to(cast: Cast) -> None:
    GroupMapping.objects.create(group="pki-web", team=cast.web)
    GroupMapping.objects.create(group="pki-approvers", role=Group.objects.get(name="approver"))


def test_a_mapped_group_gives_an_account_with_its_teams_and_roles(idp: IdentityProvider, cast: Cast) -> None:
    map_to(cast)
    idp.is_signed_in(
        "s-3",
        groups=["pki-web", "pki-approvers", "everyone"],
        preferred_username="officer",
        email="new@example.org",
        email_verified=True,
        given_name="Nia",
    )
    client, _ = sign_in(idp)
    user = SocialAccount.objects.get(uid="s-3").user
    assert is_signed_in(client)
    assert (user.username, user.email, user.first_name) == ("officer-2", "new@example.org", "Nia")
    assert not user.has_usable_password()
    assert set(user.groups.values_list("name", flat=True)) == {"approver"}
    assert list(cast.web.members.filter(pk=user.pk)) == [user]
    assert Person.objects.get(user=user).verified_email == "new@example.org"
    actors = set(AuditEvent.objects.filter(subject=f"auth.user:{user.pk}").values_list("actor_name", flat=True))
    assert actors == {"identity provider"}
    assert AuditEvent.objects.filter(event="identity:created").exists()


@pytest.mark.parametrize("opens", [False, True])
def test_without_a_mapped_group_or_the_setting_nobody_gets_an_account(
    idp: IdentityProvider, cast: Cast, settings: Any, opens: bool
) -> None:
    map_to(cast)
    settings.PKI_OIDC_SIGN_UP = opens
    idp.is_signed_in("s-4", groups=["everyone"] if opens else ["pki-web"])
    accounts = get_user_model().objects.count()
    client, _ = sign_in(idp)
    assert not is_signed_in(client)
    assert get_user_model().objects.count() == accounts


def test_what_the_provider_takes_away_is_taken_away(idp: IdentityProvider, cast: Cast) -> None:
    map_to(cast)
    user = cast["requester"]
    identity_of(user, "s-5")
    user.groups.add(Group.objects.get(name="approver"), Group.objects.get(name="auditor"))
    idp.is_signed_in("s-5", groups=["pki-web"])
    client, _ = sign_in(idp)
    assert is_signed_in(client)
    # The mapping speaks of `approver`, and not of `auditor`.
    assert set(user.groups.values_list("name", flat=True)) == {"auditor"}
    assert cast.web.members.filter(pk=user.pk).exists()


def test_who_lost_everything_stays_out_and_every_session_ends(idp: IdentityProvider, cast: Cast) -> None:
    map_to(cast)
    idp.is_signed_in("s-6", groups=["pki-web"])
    earlier, _ = sign_in(idp)
    assert is_signed_in(earlier)
    idp.is_signed_in("s-6", groups=[])
    later, answer = sign_in(idp)
    assert answer["Location"] == "/login/"
    assert not is_signed_in(later)
    assert not is_signed_in(earlier)


def test_groups_that_the_provider_left_out_take_nothing(idp: IdentityProvider, cast: Cast) -> None:
    map_to(cast)
    user = cast["requester"]
    identity_of(user, "s-7")
    idp.is_signed_in("s-7", _claim_names={"groups": "src1"})
    client, _ = sign_in(idp)
    assert "did not send your groups" in said(client)
    assert cast.web.members.filter(pk=user.pk).exists()


def test_a_deactivated_account_stays_out(idp: IdentityProvider, cast: Cast) -> None:
    identity_of(cast["requester"], "s-8")
    cast["requester"].is_active = False
    cast["requester"].save()
    idp.is_signed_in("s-8")
    client, _ = sign_in(idp)
    assert not is_signed_in(client)


def test_an_answer_of_the_provider_works_once_and_in_its_own_browser(idp: IdentityProvider, cast: Cast) -> None:
    identity_of(cast["requester"], "s-1")
    idp.is_signed_in("s-1")
    client, thief = Client(), Client()
    answer = idp.answer_to(begin(client))
    assert thief.get(answer)["Location"] == "/login/"
    assert not is_signed_in(thief)
    client.get(answer)
    assert is_signed_in(client)
    client.post("/logout/")
    client.get(answer)
    assert not is_signed_in(client)


def test_a_code_of_another_sign_in_is_refused(idp: IdentityProvider, cast: Cast) -> None:
    """The code of the victim in the attacker's own browser, and the other way round: PKCE."""
    identity_of(cast["requester"], "s-1")
    idp.is_signed_in("s-1")
    first, second = Client(), Client()
    stolen = parse_qs(urlsplit(idp.answer_to(begin(first))).query)["code"][0]
    own = urlsplit(idp.answer_to(begin(second)))
    state = parse_qs(own.query)["state"][0]
    second.get("/login/oidc/callback/", {"code": stolen, "state": state})
    assert not is_signed_in(second)


@pytest.mark.parametrize("query", ["", "?code=x", "?state=x", "?code=x&state=x", "?error=access_denied", "?error=server_error&state=x"])
def test_an_answer_that_nobody_asked_for_signs_nobody_in(idp: IdentityProvider, query: str) -> None:
    client = Client()
    assert client.get(f"/login/oidc/callback/{query}")["Location"] == "/login/"
    assert not is_signed_in(client)


def test_who_stops_at_the_provider_is_told_so(idp: IdentityProvider) -> None:
    idp.is_signed_in("s-1", refuses=True)
    client, _ = sign_in(idp)
    assert "You did not go on at Acme sign-in" in said(client)


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:1", "{}/nothing-here"])
def test_a_provider_that_is_down_leaves_the_other_ways_open(idp: IdentityProvider, cast: Cast, settings: Any, issuer: str) -> None:
    settings.PKI_OIDC_ISSUER = issuer.format(idp.issuer)
    client = Client()
    assert client.post("/login/oidc/")["Location"] == "/login/"
    assert "Acme sign-in cannot be reached" in said(client)
    cast["requester"].set_password(PASSWORD)
    cast["requester"].save()
    assert client.post("/login/", {"username": "requester", "password": PASSWORD})["Location"] == "/"


def test_a_provider_that_answers_octet_by_octet_holds_no_thread_of_the_portal(
    idp: IdentityProvider, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each octet comes in time: without a limit for the whole answer, a few sign-ins would stop every page."""
    monkeypatch.setattr(identity_adapter, "PROVIDER_SECONDS", 0.5)
    with dripping(120) as address:
        settings.PKI_OIDC_ISSUER = address
        client, begun = Client(), time.monotonic()
        assert client.post("/login/oidc/")["Location"] == "/login/"
        assert time.monotonic() - begun < 5
    assert "Acme sign-in cannot be reached" in said(client)


def test_another_issuer_is_another_provider(idp: IdentityProvider, cast: Cast, settings: Any) -> None:
    """`sub` is unique at its issuer only (OpenID Connect Core 1.0, 5.7)."""
    identity_of(cast["requester"], "s-1")
    before = provider_id()
    settings.PKI_OIDC_ISSUER = "https://other.example"
    assert provider_id() != before


def test_the_owner_of_an_account_connects_and_disconnects_an_identity(idp: IdentityProvider, cast: Cast) -> None:
    user = cast["requester"]
    client = Client()
    client.force_login(user)
    idp.is_signed_in("s-1", email="elsewhere@example.net", email_verified=True)
    _, answer = sign_in(idp, client, process="connect")
    assert answer["Location"] == "/account/security/"
    identity = SocialAccount.objects.get(uid="s-1")
    assert identity.user == user
    assert AuditEvent.objects.get(event="identity:created").actor_name == "requester"
    address = f"/account/security/identity/{identity.pk}/"
    assert client.post(address).status_code == 409  # nothing else would sign her in
    user.set_password(PASSWORD)
    user.save()
    client.force_login(user)
    assert client.post(address)["Location"] == "/account/security/"
    assert not SocialAccount.objects.exists()


def test_an_identity_of_somebody_else_is_not_connected(idp: IdentityProvider, cast: Cast) -> None:
    identity_of(cast["colleague"], "s-1")
    client = Client()
    client.force_login(cast["requester"])
    idp.is_signed_in("s-1")
    sign_in(idp, client, process="connect")
    assert SocialAccount.objects.get().user == cast["colleague"]
    assert client.session["_auth_user_id"] == str(cast["requester"].pk)
    assert "belongs to another account" in client.get("/account/security/").content.decode()


def test_the_client_secret_is_in_no_row_and_on_no_page(idp: IdentityProvider, cast: Cast) -> None:
    identity_of(cast["requester"], "s-1")
    idp.is_signed_in("s-1")
    client, _ = sign_in(idp)
    assert CLIENT_SECRET not in client.get("/account/security/").content.decode()
    assert CLIENT_SECRET not in repr([row.get_decoded() for row in Session.objects.all()])


def test_without_a_provider_its_addresses_do_not_exist(settings: Any, db: None) -> None:
    settings.PKI_OIDC_ISSUER = ""
    assert Client().post("/login/oidc/").status_code == 404
    assert Client().get("/login/oidc/callback/").status_code == 404


@pytest.mark.parametrize("following", ["https://evil.example/invitations/x/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"])
def test_the_provider_leads_nobody_elsewhere(idp: IdentityProvider, cast: Cast, following: str) -> None:
    identity_of(cast["colleague"], "s-colleague")
    idp.is_signed_in("s-colleague", groups=[])
    _, answer = sign_in(idp, next=following)
    assert answer["Location"] == "/"
