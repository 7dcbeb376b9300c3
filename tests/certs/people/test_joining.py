"""A person asks to join a team; its leads or an officer answer."""

from __future__ import annotations

import pytest
from django.test import Client

from audit.models import AuditEvent
from certs.access.permissions import is_member
from certs.errors import Conflict, InputRefused, NotFound, NotPermitted, TooMany
from certs.models import JoinRequest, OutgoingMail, Team
from certs.people import joining
from tests.cast import Cast

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


@pytest.fixture
def asked(cast: Cast) -> JoinRequest:
    return joining.ask_to_join("web", why="I run the shop's servers.", authority=cast.authority("nobody"))


def test_leads_are_mailed_and_without_one_the_officers(cast: Cast, asked: JoinRequest) -> None:
    recipients = set(OutgoingMail.objects.filter(dedup_key=f"join:{asked.pk}:asked").values_list("recipient", flat=True))
    assert "officer@example.org" in recipients
    cast.other.leads.add(cast["outsider"])
    other = joining.ask_to_join("other", why="I help there.", authority=cast.authority("nobody"))
    recipients = set(OutgoingMail.objects.filter(dedup_key=f"join:{other.pk}:asked").values_list("recipient", flat=True))
    assert recipients == {"outsider@example.org"}


def test_lead_takes_the_person_in(cast: Cast, asked: JoinRequest) -> None:
    cast.web.leads.add(cast["requester"])
    assert list(joining.open_requests_for(cast.authority("requester"))) == [asked]
    joining.accept(asked, authority=cast.authority("requester"))
    assert is_member(cast["nobody"], cast.web)
    events = AuditEvent.objects.filter(event__in=("join:requested", "join:decided", "team:changed"), actor_name__in=("nobody", "requester"))
    assert [event.event for event in events.order_by("id")] == ["join:requested", "team:changed", "join:decided"]
    assert OutgoingMail.objects.filter(recipient="nobody@example.org", subject__startswith="You are in team").exists()


def test_second_answer_is_refused(cast: Cast, asked: JoinRequest) -> None:
    joining.decline(asked, answer="Ask Other.", authority=cast.authority("officer"))
    with pytest.raises(Conflict):
        joining.accept(asked, authority=cast.authority("veteran"))
    assert not is_member(cast["nobody"], cast.web)


@pytest.mark.parametrize(("who", "error"), [("requester", NotPermitted), ("outsider", NotFound), ("approver", NotPermitted)])
def test_others_do_not_answer(cast: Cast, asked: JoinRequest, who: str, error: type[Exception]) -> None:
    assert not joining.open_requests_for(cast.authority(who)).exists()
    with pytest.raises(error):
        joining.accept(asked, authority=cast.authority(who))


def test_nobody_answers_a_request_of_their_own(cast: Cast) -> None:
    own = joining.ask_to_join("web", why="I want in.", authority=cast.authority("officer"))
    assert not joining.open_requests_for(cast.authority("officer")).exists()
    with pytest.raises(Conflict):
        joining.accept(own, authority=cast.authority("officer"))


def test_same_question_is_asked_once(cast: Cast, asked: JoinRequest) -> None:
    with pytest.raises(Conflict):
        joining.ask_to_join("web", why="Again.", authority=cast.authority("nobody"))
    joining.withdraw(asked, authority=cast.authority("nobody"))
    joining.ask_to_join("web", why="Again.", authority=cast.authority("nobody"))


@pytest.mark.parametrize(("slug", "why"), [("nowhere", "x"), ("web", " "), ("web", "x" * 301), ("web", "a\x00b")])
def test_nonsense_is_refused(cast: Cast, slug: str, why: str) -> None:
    with pytest.raises(InputRefused):
        joining.ask_to_join(slug, why=why, authority=cast.authority("nobody"))


def test_member_does_not_ask(cast: Cast) -> None:
    with pytest.raises(Conflict):
        joining.ask_to_join("web", why="x", authority=cast.authority("requester"))


def test_one_person_asks_few_teams_a_day(cast: Cast) -> None:
    for n in range(joining.MOST_A_DAY):
        Team.objects.create(slug=f"t{n}", name=f"T{n}")
        joining.ask_to_join(f"t{n}", why="x", authority=cast.authority("nobody"))
    with pytest.raises(TooMany):
        joining.ask_to_join("web", why="x", authority=cast.authority("nobody"))


def test_home_of_a_person_without_a_team_asks_which_team(cast: Cast) -> None:
    client = Client()
    client.force_login(cast["nobody"])
    assert "Which team are you in?" in client.get("/").content.decode()
    answer = client.post("/teams/", {"team": "web", "why": ""})
    assert answer.status_code == 422
    assert client.post("/teams/", {"team": "web", "why": "I am new."}).status_code == 302
    assert "You asked" in client.get("/").content.decode()
