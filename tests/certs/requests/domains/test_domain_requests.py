"""A team asks for a domain: who may, what is kept, who decides, and that it is decided once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection, transaction

from audit.models import AuditEvent
from certs.errors import Conflict, CSRRefused, InputRefused, NotPermitted, PortalError, TooMany
from certs.models import Domain, DomainRequest, OutgoingMail, Team
from certs.people import domains
from certs.requests.domains import domain_requests
from certs.requests.domains.domain_requests import (
    ask_for_domain,
    grant_domain,
    refuse_domain,
    rights_to_decide,
    withdraw_domain_request,
)
from tests.cast import Cast, person
from tests.portal.threads import in_thread, until_it_waits_for_a_lock

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def row(cast: Cast) -> DomainRequest:
    return ask_for_domain("Pay.Example.net", why="We run the shop there.", requester=cast.requester("requester"))


def mails_to(address: str) -> list[str]:
    return list(OutgoingMail.objects.filter(recipient=address).order_by("pk").values_list("subject", flat=True))


def events(row: DomainRequest) -> list[str]:
    return list(AuditEvent.objects.filter(subject=row.subject).order_by("subject_seq").values_list("event", flat=True))


def test_asking_is_recorded_and_reaches_those_who_decide(cast: Cast, row: DomainRequest) -> None:
    assert (row.domain, row.state, row.why) == ("pay.example.net", "waiting", "We run the shop there.")
    assert events(row) == ["domain:requested"]
    for officer in ("officer", "veteran"):
        assert mails_to(f"{officer}@example.org") == ["Grant or refuse: pay.example.net for team Web"]
    assert mails_to("approver@example.org") == []


def test_the_same_question_again_is_the_one_that_waits(cast: Cast, row: DomainRequest) -> None:
    again = ask_for_domain("pay.example.net.", why="Please.", requester=cast.requester("colleague"))
    assert again == row
    assert DomainRequest.objects.count() == 1


@pytest.mark.parametrize(
    ("domain", "why", "field"),
    [
        ("com", "x", "domain"),
        ("*.example.net", "x", "domain"),
        ("10.0.0.1", "x", "domain"),
        ("not a domain", "x", "domain"),
        ("", "x", "domain"),
        ("shop.example.com", "x", "domain"),  # the team has example.com
        ("pay.example.net", "  ", "why"),
        ("pay.example.net", "x" * 501, "why"),
    ],
)
def test_what_is_no_question_is_refused_beside_its_field(cast: Cast, domain: str, why: str, field: str) -> None:
    with pytest.raises(InputRefused) as refused:
        ask_for_domain(domain, why=why, requester=cast.requester("requester"))
    assert refused.value.field == field
    assert refused.value.next_step
    assert not DomainRequest.objects.exists()


def test_only_members_ask_and_no_secret_is_kept(cast: Cast) -> None:
    with pytest.raises(NotPermitted):
        ask_for_domain("pay.example.net", why="x", requester=cast.requester("outsider"))
    with pytest.raises(CSRRefused):
        ask_for_domain("pay.example.net", why="hvs.CAESIJx0bSe7Y2tVb1lRk3n9Zz", requester=cast.requester("requester"))
    assert not DomainRequest.objects.exists()


def test_nobody_asks_without_end(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_requests, "MOST_A_DAY", 1)
    ask_for_domain("a.example.net", why="x", requester=cast.requester("requester"))
    with pytest.raises(TooMany):
        ask_for_domain("b.example.net", why="x", requester=cast.requester("requester"))


def test_a_grant_gives_the_domain_with_the_events_of_both(cast: Cast, row: DomainRequest) -> None:
    granted = grant_domain(row, user=cast["officer"], owner="")
    assert (granted.state, granted.decided_by) == ("granted", cast["officer"])
    assert Domain.objects.get(name="pay.example.net").team == cast.web
    assert events(row) == ["domain:requested", "domain:granted"]
    created = AuditEvent.objects.filter(event="domain:created", actor_name="officer")
    assert [event.data["name"] for event in created] == ["pay.example.net"]
    assert "Yours: the domain pay.example.net" in mails_to("requester@example.org")


def test_a_domain_moves_from_its_owner_who_is_told(cast: Cast) -> None:
    row = ask_for_domain("other.test", why="We took it over.", requester=cast.requester("requester"))
    grant_domain(row, user=cast["officer"], owner="other")
    assert Domain.objects.get(name="other.test").team == cast.web
    assert "Team Other no longer owns other.test" in mails_to("outsider@example.org")


def test_a_refusal_needs_a_reason_which_the_requester_reads(cast: Cast, row: DomainRequest) -> None:
    with pytest.raises(InputRefused) as refused:
        refuse_domain(row, user=cast["officer"], comment=" ")
    assert refused.value.field == "comment"
    refuse_domain(row, user=cast["officer"], comment="It is Platform's.")
    assert not Domain.objects.filter(name="pay.example.net").exists()
    assert events(row) == ["domain:requested", "domain:refused"]
    mail = OutgoingMail.objects.get(subject="Refused: the domain pay.example.net")
    assert (mail.recipient, "It is Platform's." in mail.body) == ("requester@example.org", True)


def test_only_officers_decide_and_never_their_own(cast: Cast, row: DomainRequest) -> None:
    may = {name for name in cast.people if rights_to_decide(cast[name], [row])[row.pk].refusal is None}
    assert may == {"officer", "veteran", "root"}
    both = person("both", "security officer", email="requester@example.org")
    for user in (cast["approver"], cast["requester"], both):
        with pytest.raises(NotPermitted):
            grant_domain(row, user=user, owner="")
    assert not Domain.objects.filter(name="pay.example.net").exists()


def test_a_decision_counts_for_the_owner_that_was_shown(cast: Cast, row: DomainRequest) -> None:
    Domain.objects.create(name="example.net", team=cast.other)
    with pytest.raises(Conflict, match="has changed"):
        grant_domain(row, user=cast["officer"], owner="")
    assert grant_domain(row, user=cast["officer"], owner="other").state == "granted"


def test_it_is_decided_once(cast: Cast, row: DomainRequest) -> None:
    grant_domain(row, user=cast["officer"], owner="")
    with pytest.raises(Conflict):
        refuse_domain(row, user=cast["veteran"], comment="No.")
    with pytest.raises(Conflict):
        withdraw_domain_request(row, requester=cast.requester("requester"))
    assert events(row) == ["domain:requested", "domain:granted"]


def test_any_member_takes_it_back(cast: Cast, row: DomainRequest) -> None:
    assert withdraw_domain_request(row, requester=cast.requester("colleague")).state == "withdrawn"
    again = ask_for_domain("pay.example.net", why="After all.", requester=cast.requester("requester"))
    assert again != row


def test_two_teams_are_not_given_one_domain_by_two_officers_at_once(cast: Cast, row: DomainRequest) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    other = ask_for_domain("pay.example.net", why="Ours.", requester=cast.requester("outsider", cast.other))
    start, ended = threading.Barrier(2), []

    def grant(one: DomainRequest, user: Any) -> None:
        start.wait()
        try:
            ended.append(grant_domain(one, user=user, owner="").state)
        except PortalError as exc:
            ended.append(type(exc).__name__)
        finally:
            connection.close()

    threads = [threading.Thread(target=grant, args=args) for args in ((row, cast["officer"]), (other, cast["veteran"]))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == ["Conflict", "granted"]
    assert Domain.objects.filter(name="pay.example.net").count() == 1


@pytest.mark.parametrize("before", ["", "other"])
def test_a_grant_counts_for_the_owner_that_was_shown_also_while_the_domain_above_moves(cast: Cast, row: DomainRequest, before: str) -> None:
    """Also where nobody had the domain above, so that there is no row that could be locked."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    third = Team.objects.create(slug="third", name="Third")
    if before:
        Domain.objects.create(name="example.net", team=cast.other)
    shown = domains.preview_change("example.net", third, authority=cast.authority("veteran"))
    ended: list[str] = []

    def grant() -> None:
        try:
            ended.append(grant_domain(row, user=cast["officer"], owner=before).state)
        except PortalError as exc:
            ended.append(type(exc).__name__)

    with transaction.atomic():
        domains.do_change(["example.net"], third, shown=shown.sealed, authority=cast.authority("veteran"))
        thread = in_thread(grant)
        until_it_waits_for_a_lock()
    thread.join(30)
    assert ended == ["Conflict"]
    assert list(Domain.objects.filter(name__endswith="example.net").values_list("name", "team__slug")) == [("example.net", "third")]
