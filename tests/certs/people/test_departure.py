"""Remove access, and leaving a team: everything that is listed happens, at once, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.test import Client

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.api_tokens import SCOPES, create_token
from certs.errors import Conflict, InputRefused, NotPermitted
from certs.models import Certificate, CertificateRequest, OutgoingMail, SignedInSession, Team, Webhook
from certs.people import departure
from certs.people.invitations import invite
from certs.people.joining import ask_to_join
from certs.people.preview import ChangedSince
from certs.requests.approvals.deputies import deputy_of, name_deputy
from certs.requests.submit import submit_many
from db.clock import database_now
from tests.cast import Cast, person
from tests.certs.access.matrix import spec
from tests.certs.life import issued, walk

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]


def remove(cast: Cast, name: str, who: str = "officer", **more: Any) -> departure.Departure:
    authority = cast.authority(who)
    shown = departure.plan_removal(cast[name], authority=authority)
    given: dict[str, Any] = {"owners": {}, "remove_webhooks": False, "shown": shown.sealed} | more
    return departure.remove_access(cast[name], **given, authority=authority)


@pytest.fixture
def busy(cast: Cast) -> Certificate:
    """The requester has one of everything."""
    mine = cast.requester("requester")
    person = cast["requester"]
    certificate = issued(spec("a.example.com"), mine)
    Certificate.objects.filter(pk=certificate.pk).update(owner=person)
    (waiting,) = submit_many([spec("*.a.example.com")], requester=mine)
    walk([waiting.pk])
    create_token(user=person, team=cast.web, name="pipeline", scopes=SCOPES, actor=Actor("user", "requester"))
    person.groups.add(Group.objects.get(name="auditor"))
    cast.web.leads.add(person)
    ask_to_join("other", why="I help.", authority=cast.authority("requester"))
    invite("new@example.org", team=cast.web, as_lead=False, role=None, days=7, authority=cast.authority("requester"))
    hook = {"name": "chat", "url": "https://chat.example.org/", "topics": ["renewed"], "salt": "s"}
    Webhook.objects.create(team=cast.web, created_at=database_now(), created_by=person, **hook)
    client = Client()
    client.force_login(person)
    key = client.cookies["sessionid"].value
    SignedInSession.objects.create(user=person, key=key, began_at=database_now(), browser="Firefox on Linux")
    return certificate


def test_everything_that_was_listed_happens(cast: Cast, busy: Certificate) -> None:
    found = remove(cast, "requester", owners={"owner-web": "colleague"}, remove_webhooks=True)
    assert {kind: len(items) for kind, items in found.facts.items()} == {
        "teams": 1,
        "roles": 1,
        "sessions": 1,
        "tokens": 1,
        "certificates": 1,
        "requests": 1,
        "bulk orders": 0,
        "webhooks": 1,
        "invitations": 1,
        "requests to join": 1,
        "deputies": 0,
    }
    person = get_user_model().objects.get(username="requester")
    assert (person.is_active, person.teams.count(), person.led_teams.count(), person.groups.count()) == (False, 0, 0, 0)
    assert not Session.objects.filter(session_key__in=[row.key for row in found.sessions]).exists()
    assert [row.ended_because for row in person.api_tokens.all()] == ["officer took requester out of the team."]
    busy.refresh_from_db()
    assert str(busy.owner) == "colleague"
    assert CertificateRequest.objects.get(pk=found.requests[0].pk).state == "cancelled"
    assert Webhook.objects.get().removed_at is not None
    again = departure.plan_removal(person, authority=cast.authority("officer"))
    assert not any(again.facts.values())


def test_each_step_is_recorded_under_the_officers_name(cast: Cast, busy: Certificate) -> None:
    before = AuditEvent.objects.latest("id").pk
    remove(cast, "requester", owners={"owner-web": "colleague"})
    events = AuditEvent.objects.filter(id__gt=before)
    assert set(events.values_list("actor_name", flat=True)) == {"officer"}
    assert {"user:access_removed", "user:changed", "team:changed", "token:revoked", "request:cancelled", "certificate:described"} <= set(
        events.values_list("event", flat=True)
    )
    data = events.get(event="user:access_removed").data
    assert data["user"] == "requester"
    assert {"tokens: 1", "requests: 1"} <= set(data["ended"])


def test_new_owner_and_team_are_mailed(cast: Cast, busy: Certificate) -> None:
    remove(cast, "requester", owners={"owner-web": "colleague"})
    assert OutgoingMail.objects.filter(recipient="colleague@example.org", topic="ownership").exists()


def test_token_made_after_the_preview_stops_it(cast: Cast, busy: Certificate) -> None:
    authority = cast.authority("officer")
    shown = departure.plan_removal(cast["requester"], authority=authority)
    create_token(user=cast["requester"], team=cast.web, name="late", scopes=SCOPES, actor=Actor("user", "requester"))
    with pytest.raises(ChangedSince) as refused:
        departure.remove_access(cast["requester"], shown=shown.sealed, owners={}, remove_webhooks=False, authority=authority)
    assert any("new is late" in line for line in refused.value.differences)
    assert get_user_model().objects.get(username="requester").is_active


def test_sight_of_one_person_removes_no_other(cast: Cast) -> None:
    authority = cast.authority("officer")
    shown = departure.plan_removal(cast["requester"], authority=authority)
    for forged in (shown.sealed, "", "x:y"):
        with pytest.raises(InputRefused):
            departure.remove_access(cast["colleague"], shown=forged, owners={}, remove_webhooks=False, authority=authority)


def test_owner_of_another_team_is_refused_and_nothing_is_done(cast: Cast, busy: Certificate) -> None:
    for name in ("outsider", "requester", "nosuch"):
        with pytest.raises(InputRefused):
            remove(cast, "requester", owners={"owner-web": name})
    assert cast["requester"].teams.exists()


@pytest.mark.parametrize("who", ["requester", "approver", "auditor", "operator", "outsider"])
def test_others_remove_nobody(cast: Cast, who: str) -> None:
    with pytest.raises(NotPermitted):
        remove(cast, "colleague", who=who)


def test_nobody_removes_the_own_access(cast: Cast) -> None:
    with pytest.raises(NotPermitted):
        remove(cast, "officer")


def test_officer_does_not_remove_an_administrator(cast: Cast) -> None:
    with pytest.raises(NotPermitted):
        remove(cast, "root")


def test_last_administrator_stays(cast: Cast) -> None:
    second = get_user_model().objects.create_superuser("second", "second@example.org")
    cast.people["second"] = second
    remove(cast, "second", who="root")
    get_user_model().objects.filter(pk=second.pk).update(is_superuser=True)  # inactive, so it does not count
    with pytest.raises((Conflict, NotPermitted)):
        remove(cast, "root", who="veteran")


def test_officer_who_lost_access_in_between_removes_nobody(cast: Cast) -> None:
    """Two officers remove each other: the second finds that it is none any more."""
    first, second = cast.authority("officer"), cast.authority("veteran")
    shown = departure.plan_removal(cast["officer"], authority=second)
    remove(cast, "veteran")
    assert first.manages_people
    with pytest.raises(NotPermitted):
        departure.remove_access(cast["officer"], shown=shown.sealed, owners={}, remove_webhooks=False, authority=second)


def test_member_taken_out_loses_what_belongs_to_the_team_alone(cast: Cast, busy: Certificate) -> None:
    person = cast["requester"]
    cast.other.members.add(person)
    create_token(user=person, team=cast.other, name="other", scopes=SCOPES, actor=Actor("user", "requester"))
    authority = cast.authority("officer")
    shown = departure.plan_leaving(person, cast.web, authority=authority)
    departure.leave_team(person, cast.web, shown=shown.sealed, owners={}, remove_webhooks=False, authority=authority)
    assert list(person.teams.all()) == [cast.other]
    assert [row.name for row in person.api_tokens.filter(revoked_at=None)] == ["other"]
    assert get_user_model().objects.get(pk=person.pk).is_active
    busy.refresh_from_db()
    assert busy.owner is None


def test_member_leaves_alone_and_nobody_else_does_it_for_them(cast: Cast) -> None:
    own = cast.authority("requester")
    shown = departure.plan_leaving(cast["requester"], cast.web, authority=own)
    departure.leave_team(cast["requester"], cast.web, shown=shown.sealed, owners={}, remove_webhooks=False, authority=own)
    assert not Team.objects.filter(members=cast["requester"]).exists()
    with pytest.raises(NotPermitted):
        departure.plan_leaving(cast["colleague"], cast.web, authority=cast.authority("leaver"))


def test_deputies_end_on_both_sides(cast: Cast) -> None:
    cast.people["second"] = person("second", "approver", email="second@example.org")
    name_deputy(cast["approver"], username="second", until=f"{database_now() + timedelta(days=2):%Y-%m-%d}")
    found = remove(cast, "second", who="root")
    assert [str(row.approver) for row in found.deputies] == ["approver"]
    assert deputy_of(cast["approver"]) is None
    event = AuditEvent.objects.get(event="deputy:ended")
    assert event.actor_name == "root"


def test_page_lists_what_happens_and_asks_once(cast: Cast, busy: Certificate) -> None:
    client = Client()
    client.force_login(cast["officer"])
    page = client.get(f"/people/{cast['requester'].pk}/remove/")
    text = page.content.decode()
    for word in ("pipeline", "Firefox on Linux", "auditor", "new@example.org", "1 certificate of", "chat of"):
        assert word in text, word
    sent = {"shown": page.context["found"].sealed, "owner-web": "colleague", "webhooks": "keep"}
    assert client.post(f"/people/{cast['requester'].pk}/remove/", sent).status_code == 302
    assert not get_user_model().objects.get(username="requester").is_active
    # The same form from a second tab.
    answer = client.post(f"/people/{cast['requester'].pk}/remove/", sent)
    assert answer.status_code == 409
    assert "Something has changed" in answer.content.decode()
