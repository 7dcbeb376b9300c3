"""API tokens: what they may do in words, when they were used, replaced before they end."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from audit.models import AuditEvent
from certs.access.api_tokens import SCOPES, USED_TO_WITHIN, create_token, rotate_token
from certs.api.http import auth
from certs.errors import Conflict, InputRefused, NotFound
from certs.models import ApiToken, OutgoingMail, Team
from certs.notifications.token_ends import notify_ending
from db.clock import database_now
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = [pytest.mark.django_db(transaction=True)]

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "REMEMBER_SECONDS", 0)


@pytest.fixture
def alice(portal: Portal) -> Client:
    client = Client()
    client.force_login(portal.alice)
    return client


def secret_in(text: str) -> str:
    found = re.search(r'id="secret" class="words">(pkip_[\w-]+)<', text)
    assert found is not None
    return found.group(1)


def may_call(secret: str) -> int:
    return Client(headers={"Authorization": f"Bearer {secret}"}).get("/api/v1/certificates").status_code


def made(portal: Portal, days: float, name: str = "pipeline", **more: Any) -> ApiToken:
    token, _ = create_token(
        user=portal.alice,
        team=portal.team,
        name=name,
        scopes=SCOPES[:1],
        expires_at=database_now() + days * DAY,
        actor=SYSTEM,
        **more,
    )
    return token


def test_scopes_are_said_in_words(portal: Portal, alice: Client) -> None:
    made(portal, 30)
    text = " ".join(alice.get("/tokens/").content.decode().split())
    assert "request and renew, for team Web" in text
    assert "Revoke certificates of the team. Programs that use them fail then, so give it to few." in text


def test_last_use_is_shown_to_within_minutes_and_costs_one_write(portal: Portal, alice: Client) -> None:
    """B30: nobody could tell which tokens are still used."""
    secret = portal.token()
    assert "never" in alice.get("/tokens/").content.decode()
    assert may_call(secret) == 200
    first = ApiToken.objects.get().last_used_at
    assert first is not None
    assert may_call(secret) == 200
    assert ApiToken.objects.get().last_used_at == first
    ApiToken.objects.update(last_used_at=first - USED_TO_WITHIN)
    assert may_call(secret) == 200
    assert ApiToken.objects.filter(last_used_at__gte=first).exists()
    assert "(just now)" in alice.get("/tokens/").content.decode()


def test_form_that_is_refused_keeps_what_was_typed_and_marks_the_field(portal: Portal, alice: Client) -> None:
    form = {"name": "deploy", "team": "web", "scopes": ["certificates:revoke"], "days": "9999"}
    answer = alice.post("/tokens/", form)
    text = answer.content.decode()
    assert answer.status_code == 422
    assert "A token lives 1 to 397 days. For example 90." in text
    assert 'value="deploy"' in text
    assert 'value="certificates:revoke" checked' in text
    assert 'value="certificates:read" checked' not in text
    assert re.search(r'name="days"[^>]*aria-invalid="true"', text)


def test_name_of_a_living_token_is_refused_and_that_of_an_ended_one_is_free(portal: Portal, alice: Client) -> None:
    form = {"name": "deploy", "team": "web", "scopes": ["certificates:read"], "days": "9"}
    assert alice.post("/tokens/", form).status_code == 200
    answer = alice.post("/tokens/", form | {"name": " Deploy "})
    text = answer.content.decode()
    assert answer.status_code == 422
    assert "There is a token of this name for team Web already." in text
    assert re.search(r'name="name"[^>]*aria-invalid="true"', text)
    first = ApiToken.objects.get()
    assert alice.post(f"/tokens/{first.pk}/rotate/", {"overlap": "24"}).status_code == 200  # keeps the name
    assert alice.post("/tokens/", form).status_code == 422
    ApiToken.objects.filter(pk=first.pk).update(expires_at=database_now())
    assert alice.post("/tokens/", form).status_code == 422
    alice.post(f"/tokens/{ApiToken.objects.exclude(pk=first.pk).get().pk}/revoke/")
    assert alice.post("/tokens/", form).status_code == 200


def test_other_people_and_teams_use_the_same_name(portal: Portal) -> None:
    other = Team.objects.get(slug="other")
    other.members.add(portal.alice)
    portal.team.members.add(portal.bob)
    for user, team in ((portal.alice, portal.team), (portal.alice, other), (portal.bob, portal.team)):
        create_token(user=user, team=team, name="deploy", scopes=SCOPES, actor=SYSTEM)
    assert ApiToken.objects.filter(name="deploy").count() == 3


def test_of_two_forms_with_one_name_at_once_one_is_refused(portal: Portal) -> None:
    def make(_number: int) -> str:
        try:
            create_token(user=portal.alice, team=portal.team, name="deploy", scopes=SCOPES, actor=SYSTEM)
        except InputRefused as exc:
            return exc.field
        finally:
            connection.close()
        return ""

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(make, range(2))) == ["", "name"]


def test_token_that_may_do_nothing_is_refused(alice: Client) -> None:
    assert alice.post("/tokens/", {"name": "x", "team": "web", "days": "9"}).status_code == 422


def test_replaced_token_works_until_the_chosen_moment(portal: Portal, alice: Client) -> None:
    old_secret = portal.token("certificates:read")
    old = ApiToken.objects.get()
    answer = alice.post(f"/tokens/{old.pk}/rotate/", {"overlap": "24"})
    new_secret = secret_in(answer.content.decode())
    assert (may_call(old_secret), may_call(new_secret)) == (200, 200)
    old.refresh_from_db()
    assert timedelta(hours=23) < old.expires_at - database_now() <= DAY
    new = ApiToken.objects.exclude(pk=old.pk).get()
    assert (new.name, new.team, new.scopes, new.profiles) == (old.name, old.team, old.scopes, old.profiles)
    assert new.expires_at - new.created_at > 300 * DAY  # as long as the old one was made for
    events = AuditEvent.objects.filter(event__startswith="token:").order_by("pk").values_list("event", "subject")
    assert list(events)[1:] == [("token:created", f"token:{new.pk}"), ("token:changed", f"token:{old.pk}")]
    ApiToken.objects.filter(pk=old.pk).update(expires_at=database_now())
    assert (may_call(old_secret), may_call(new_secret)) == (401, 200)


def test_token_is_replaced_at_once(portal: Portal, alice: Client) -> None:
    old_secret = portal.token()
    old = ApiToken.objects.get()
    answer = alice.post(f"/tokens/{old.pk}/rotate/", {"overlap": "0"})
    assert "The old one has stopped." in answer.content.decode()
    assert (may_call(old_secret), may_call(secret_in(answer.content.decode()))) == (401, 200)


def test_replacement_never_makes_the_old_token_live_longer(portal: Portal) -> None:
    old = made(portal, 2)
    rotate_token(old, overlap=7 * DAY, authority=portal.requester().authority)
    old.refresh_from_db()
    assert old.expires_at < database_now() + 2 * DAY


@pytest.mark.parametrize("overlap", ["", "-1", "100000", "x"])
def test_moment_outside_the_list_is_refused(portal: Portal, alice: Client, overlap: str) -> None:
    token = made(portal, 30)
    assert alice.post(f"/tokens/{token.pk}/rotate/", {"overlap": overlap}).status_code == 422


def test_token_of_another_person_or_one_that_ended_is_not_replaced(portal: Portal) -> None:
    token, authority = made(portal, 30), portal.requester().authority
    with pytest.raises(NotFound):
        rotate_token(token, overlap=DAY, authority=type(authority)(authority.actor, portal.bob))
    with pytest.raises(InputRefused):
        rotate_token(token, overlap=31 * DAY, authority=authority)
    ApiToken.objects.update(revoked_at=database_now())
    with pytest.raises(Conflict):
        rotate_token(token, overlap=DAY, authority=authority)


def test_user_is_mailed_14_and_3_days_before_the_end(portal: Portal) -> None:
    token = made(portal, 90)
    assert notify_ending() == 0
    for days, words in ((13.5, "in 1"), (2.5, "in ")):
        ApiToken.objects.update(created_at=database_now() - 80 * DAY, expires_at=database_now() + days * DAY)
        assert (notify_ending(), notify_ending()) == (1, 0)
        mail = OutgoingMail.objects.latest("pk")
        assert mail.recipient == "alice@example.com"
        assert mail.subject.startswith(f"API token pipeline ends {words}")
        assert token.prefix in mail.body
        assert "Last used: never" in mail.body


def test_token_that_is_revoked_replaced_or_short_lived_is_not_announced(portal: Portal) -> None:
    made(portal, 2, name="short")
    assert notify_ending() == 0
    old = made(portal, 90)
    rotate_token(old, overlap=2 * DAY, authority=portal.requester().authority)
    assert notify_ending() == 0
    ApiToken.objects.update(revoked_at=database_now())
    assert notify_ending() == 0
