"""Back-channel logout: what ends when the identity provider has signed a person out."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from audit.models import AuditEvent
from certs.access.login_limits import ADDRESS
from certs.access.sessions import end_sessions
from certs.access.sign_in.identities import end_sessions_of_subject
from certs.models import SessionsEnded, SignedInSession
from tests.cast import Cast
from tests.certs.views.sign_in.at_provider import identity_of, sign_in
from tests.certs.views.sign_in.factors import is_signed_in
from tests.identity_provider import IdentityProvider

pytestmark = pytest.mark.django_db(transaction=True)


def ended(form: dict[str, str]) -> int:
    return Client(enforce_csrf_checks=True).post("/login/oidc/ended/", form).status_code


def test_the_provider_ends_the_sessions_of_a_person_it_has_signed_out(idp: IdentityProvider, cast: Cast) -> None:
    identity_of(cast["colleague"], "s-colleague")
    idp.is_signed_in("s-colleague", groups=[])
    first, _ = sign_in(idp)
    other = Client()
    other.force_login(cast["officer"])
    assert is_signed_in(first)
    form = idp.logout_form("s-colleague")
    assert ended(form) == 204
    assert not is_signed_in(first)
    assert is_signed_in(other)
    event = AuditEvent.objects.get(event="user:sessions_ended")
    assert (event.actor_name, event.data["user"]) == ("identity provider", cast["colleague"].username)


def test_a_subject_without_an_account_and_a_token_that_proves_nothing_end_nothing(idp: IdentityProvider, cast: Cast) -> None:
    identity_of(cast["colleague"], "s-colleague")
    idp.is_signed_in("s-colleague", groups=[])
    browser, _ = sign_in(idp)
    assert ended(idp.logout_form("s-somebody-else")) == 204
    token = idp.logout_form("s-colleague")["logout_token"]
    for wrong in ("", "a.b.c", token[:-5] + "AAAAA", f"{token}.x"):
        assert ended({"logout_token": wrong}) == 400
    assert Client().get("/login/oidc/ended/").status_code == 405
    assert is_signed_in(browser)
    assert not AuditEvent.objects.filter(event="user:sessions_ended").exists()


def test_strangers_do_not_make_the_portal_call_the_provider_without_end(idp: IdentityProvider, cast: Cast) -> None:
    statuses = [ended({"logout_token": "a.b.c"}) for _ in range(ADDRESS.most + 1)]
    assert set(statuses) == {400, 429}


def test_a_logout_token_that_is_sent_again_ends_no_later_session(idp: IdentityProvider, cast: Cast) -> None:
    person = cast["colleague"]
    identity_of(person, "s-colleague")
    idp.is_signed_in("s-colleague", groups=[])
    browser, _ = sign_in(idp)
    began = SignedInSession.objects.get(user=person).began_at
    assert end_sessions_of_subject("s-colleague", asked_at=began - timedelta(seconds=1))
    assert is_signed_in(browser)
    assert end_sessions_of_subject("s-colleague", asked_at=began)
    assert not is_signed_in(browser)
    # What ended later stays ended: an old token does not bring it back.
    end_sessions(person)
    ended_at = SessionsEnded.objects.get(user=person).at
    end_sessions_of_subject("s-colleague", asked_at=began)
    assert SessionsEnded.objects.get(user=person).at == ended_at
