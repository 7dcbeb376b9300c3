"""Approving and publishing need two persons, and a requester who still belongs to the team."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.test import Client

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.bulk.drafting.draft import draft
from certs.bulk.submit import submit_order
from certs.errors import Conflict, NotPermitted
from certs.models import Approval, Certificate, CertificateRequest
from certs.requests.approvals import approval
from certs.requests.approvals.deciders import rights_over
from certs.requests.submit import Requester, submit_many
from certs.spec import CertificateSpec
from certs.uploads.line import Line
from db.clock import database_now
from policy.drafting import draft_version
from policy.errors import PublicationRefused
from policy.models import Person, PolicyVersion
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_as
from tests.cast import Cast, person
from tests.certs.bulk.orders import work_off_all
from tests.certs.life import walk

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
WILDCARD = CertificateSpec("*.apps.example.com", ("*.apps.example.com",), (), "ec-p256", 90, "tls-server")


def account(name: str, email: str = "", *groups: str, person_id: str = "") -> Any:
    user = person(name, email=email)
    user.groups.add(*Group.objects.filter(name__in=groups))
    if person_id:
        Person.objects.filter(user=user).update(person_id=person_id)
    return user


def waiting(cast: Cast, who: Any) -> CertificateRequest:
    cast.web.members.add(who)
    (row,) = submit_many([WILDCARD], requester=Requester(Actor("user", who.username), cast.web, "portal", user=who))
    walk([row.pk])
    row.refresh_from_db()
    assert row.state == "awaiting_approval"
    return row


def approve(row: CertificateRequest, user: Any) -> CertificateRequest:
    return approval.approve(row, user=user, digest=row.digest)


def test_an_approver_who_is_another_person_approves(cast: Cast) -> None:
    row = approve(waiting(cast, cast["requester"]), cast["approver"])
    assert row.state == "approved"
    event = AuditEvent.objects.get(event="request:approved")
    assert (event.data["approver"], "single_officer" in event.data) == ("approver", False)


SECOND_ACCOUNTS: dict[str, Callable[[], Any]] = {
    "without e-mail": lambda: account("second", "", "approver"),
    "same address in other case": lambda: account("second", "Requester@Example.ORG", "approver"),
    "subaddress": lambda: account("second", "requester+pki@example.org", "approver"),
    "wide letters": lambda: account("second", "ｒｅｑｕｅｓｔｅｒ@example.org", "approver"),
    "root's dot": lambda: account("second", "requester@example.org.", "approver"),
    "ideographic dot": lambda: account("second", "requester@example\u3002org", "approver"),
    "invisible character": lambda: account("second", "requester@example.org\u200b", "approver"),
    "person id in other case": lambda: account("second", "other@example.org", "approver", person_id="Staff-4711 "),
    "same person id": lambda: account("second", "other@example.org", "approver", person_id="staff-4711"),
    "superuser without e-mail": lambda: get_user_model().objects.create_superuser("second", ""),
}


@pytest.mark.parametrize("kind", SECOND_ACCOUNTS)
def test_a_second_account_of_the_requester_approves_nothing(cast: Cast, kind: str) -> None:
    """S12"""
    Person.objects.filter(user=cast["requester"]).update(person_id="staff-4711")
    row, second = waiting(cast, cast["requester"]), SECOND_ACCOUNTS[kind]()
    assert rights_over(second, [row])[row.pk].refusal is not None
    with pytest.raises(NotPermitted):
        approve(row, second)
    assert not Approval.objects.exists()


def test_an_address_that_was_changed_to_that_of_another_still_counts(cast: Cast) -> None:
    """The verified address stays, and the new one only ever makes two accounts the same person."""
    row, second = waiting(cast, cast["requester"]), account("second", "requester@example.org", "approver")
    second.email = "fresh@example.org"
    second.save()
    with pytest.raises(NotPermitted, match="same person"):
        approve(row, second)


def test_nothing_is_approved_for_an_account_whose_person_is_not_known(cast: Cast) -> None:
    row = waiting(cast, account("machine"))
    with pytest.raises(NotPermitted, match="machine"):
        approve(row, cast["approver"])
    told = StringIO()
    call_command("identify_user", "machine", "--person-id", "robot-7", "--json", stdout=told)
    assert json.loads(told.getvalue())["person_id"] == "robot-7"
    assert AuditEvent.objects.filter(event="person:changed", actor_name="identify_user").exists()
    assert approve(row, cast["approver"]).state == "approved"


@pytest.mark.parametrize("name", ["requester", "officer", "auditor", "operator", "outsider"])
def test_only_approvers_decide(cast: Cast, name: str) -> None:
    row = waiting(cast, cast["colleague"])
    with pytest.raises(NotPermitted):
        approve(row, cast[name])
    with pytest.raises(NotPermitted):
        approval.reject(row, user=cast[name], digest=row.digest, comment="no")


@pytest.mark.parametrize("part", ["drafter", "submitter"])
def test_whoever_drafted_or_submitted_an_order_does_not_approve_its_lines(cast: Cast, part: str) -> None:
    """S12: a colleague's draft is submitted and then approved by the same person."""
    both = account("both", "both@example.org", "approver")
    cast.web.members.add(both)
    drafter, submitter = (both, cast["requester"]) if part == "drafter" else (cast["requester"], both)
    requester = Requester(Actor("user", drafter.username), cast.web, "portal", user=drafter)
    order = draft([Line(1, "row 1", WILDCARD)], requester=requester, title="one")
    submit_order(order, authority=Authority(Actor("user", submitter.username), submitter))
    work_off_all()
    row = CertificateRequest.objects.get(state="awaiting_approval")
    with pytest.raises(NotPermitted, match="same person"):
        approve(row, both)
    assert approve(row, cast["approver"]).state == "approved"


def is_deactivated(cast: Cast) -> None:
    get_user_model().objects.filter(username="leaver").update(is_active=False)


def leaves_the_team(cast: Cast) -> None:
    cast.web.members.remove(cast["leaver"])


@pytest.mark.parametrize("leave", [is_deactivated, leaves_the_team])
def test_a_request_of_somebody_who_left_is_not_approved_and_the_page_says_so(cast: Cast, leave: Callable[[Cast], None]) -> None:
    """S10"""
    row = waiting(cast, cast["leaver"])
    leave(cast)
    client = Client()
    client.force_login(cast["approver"])
    assert "leaver, who requested it, has left team Web or was deactivated" in client.get(f"/requests/{row.public_id}/").content.decode()
    answer = client.post(f"/requests/{row.public_id}/decide/", {"decision": "approve", "digest": row.digest})
    assert (answer.status_code, "has left" in answer.content.decode()) == (409, True)
    rejected = client.post(f"/requests/{row.public_id}/decide/", {"decision": "reject", "digest": row.digest, "comment": "left"})
    row.refresh_from_db()
    assert (rejected.status_code, row.state) == (302, "rejected")


@pytest.mark.parametrize("leave", [is_deactivated, leaves_the_team])
def test_a_request_of_somebody_who_left_since_does_not_reach_the_ca(cast: Cast, leave: Callable[[Cast], None]) -> None:
    """S10: approved while the requester belonged to the team."""
    row = approve(waiting(cast, cast["leaver"]), cast["approver"])
    leave(cast)
    walk([row.pk])
    row.refresh_from_db()
    assert (row.state, "has left team Web" in row.error, bool(row.suggestion)) == ("rejected", True, True)
    assert not Certificate.objects.exists()


def draft_by(name: str, version: str = "v9") -> PolicyVersion:
    return draft_version("default", DEFAULT_V2_3 | {"version": version}, actor=Actor("user", name), now=database_now())


def test_a_policy_is_published_by_a_second_officer(cast: Cast) -> None:
    """S12: one officer cannot publish a permissive policy, use it and publish it back."""
    version = draft_by("officer")
    for name in ("officer", "requester", "approver", "auditor", "operator"):
        with pytest.raises(PublicationRefused):
            publish_as(version, user=cast[name], now=database_now())
    with pytest.raises(PublicationRefused):
        publish_as(version, user=account("second", "OFFICER@example.org", "security officer"), now=database_now())
    with pytest.raises(PublicationRefused, match="identify_user"):
        publish_as(version, user=account("third", "", "security officer"), now=database_now())
    assert publish_as(version, user=cast["veteran"], now=database_now()).published_by == "veteran"


def test_an_officer_publishes_what_the_portal_drafted(cast: Cast) -> None:
    version = draft_version("default", DEFAULT_V2_3 | {"version": "v9"}, actor=Actor("command", "bootstrap"), now=database_now())
    assert publish_as(version, user=cast["officer"], now=database_now()).is_published


def test_one_person_alone_is_enough_in_the_embedded_portal_when_allowed_and_it_is_on_record(cast: Cast, settings: Any) -> None:
    settings.PKI_SINGLE_OFFICER, settings.PKI_EMBEDDED = True, True
    row, version = waiting(cast, cast["root"]), draft_by("root")
    approve(row, cast["root"])
    publish_as(version, user=cast["root"], now=database_now())
    events = AuditEvent.objects.filter(event__in=("request:approved", "policy:published")).order_by("-pk")[:2]
    assert [event.data["single_officer"] for event in events] == [True, True]
    client = Client()
    client.force_login(cast["root"])
    assert "PKI_SINGLE_OFFICER" in client.get(f"/requests/{row.public_id}/").content.decode()


def test_one_person_alone_is_never_enough_in_production(cast: Cast, settings: Any) -> None:
    settings.PKI_SINGLE_OFFICER, settings.PKI_EMBEDDED = True, False
    with pytest.raises(NotPermitted):
        approve(waiting(cast, cast["root"]), cast["root"])
    with pytest.raises(PublicationRefused):
        publish_as(draft_by("root"), user=cast["root"], now=database_now())


def test_approval_of_other_content_than_was_shown_counts_nothing(cast: Cast) -> None:
    row = waiting(cast, cast["requester"])
    with pytest.raises(Conflict):
        approval.approve(row, user=cast["approver"], digest="0" * 64)
