"""Roles and leads: given and taken at once, on record, and never more than one holds."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client

from audit.models import AuditEvent
from certs.access.permissions import Permission, holds, is_lead, is_member
from certs.errors import Conflict, InputRefused, NotPermitted
from certs.models import Certificate, OutgoingMail
from certs.people import members
from certs.people.handing_over import hand_over_chosen, possession_of
from certs.people.preview import ChangedSince
from tests.cast import Cast
from tests.certs.access.matrix import spec
from tests.certs.life import issued

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


def role(name: str) -> Group:
    return Group.objects.get(name=name)


def test_role_is_in_force_at_once_on_record_and_mailed(cast: Cast) -> None:
    members.give_role(cast["nobody"], role("auditor"), authority=cast.authority("officer"))
    assert holds(cast["nobody"], Permission.SEE_EVERY_TEAM)
    event = AuditEvent.objects.filter(event="user:changed").latest("id")
    assert (event.actor_name, event.data["relation"]) == ("officer", "groups")
    members.take_role(cast["nobody"], role("auditor"), authority=cast.authority("officer"))
    assert not holds(cast["nobody"], Permission.SEE_EVERY_TEAM)
    subjects = list(OutgoingMail.objects.filter(recipient="nobody@example.org").order_by("id").values_list("subject", flat=True))
    assert subjects == ["You have a new role: auditor", "You no longer have the role: auditor"]


@pytest.mark.parametrize("name", ["approver", "operator", "security-team"])
def test_officer_gives_nothing_that_an_officer_does_not_hold(cast: Cast, name: str) -> None:
    with pytest.raises(NotPermitted):
        members.give_role(cast["nobody"], role(name), authority=cast.authority("officer"))
    members.give_role(cast["nobody"], role(name), authority=cast.authority("root"))


def test_nobody_changes_own_roles(cast: Cast) -> None:
    for act in (members.give_role, members.take_role):
        with pytest.raises(NotPermitted):
            act(cast["officer"], role("auditor"), authority=cast.authority("officer"))


def test_last_who_manages_people_keeps_the_role(cast: Cast) -> None:
    root = cast["root"]
    cast["veteran"].groups.clear()
    get_user_model().objects.filter(pk=root.pk).update(is_superuser=False, is_staff=False)
    root.user_permissions.clear()
    second = cast["colleague"]
    second.groups.add(role("security officer"))
    members.take_role(cast["officer"], role("security officer"), authority=cast.authority("colleague"))
    with pytest.raises(NotPermitted):
        members.take_role(second, role("security officer"), authority=cast.authority("officer"))
    assert holds(second, Permission.MANAGE_PEOPLE)


@pytest.mark.parametrize("who", ["requester", "approver", "auditor", "operator"])
def test_others_give_and_take_nothing(cast: Cast, who: str) -> None:
    for act in (members.give_role, members.take_role):
        with pytest.raises(NotPermitted):
            act(cast["nobody"], role("requester"), authority=cast.authority(who))


def test_lead_makes_leads_of_members_alone(cast: Cast) -> None:
    cast.web.leads.add(cast["requester"])
    lead = cast.authority("requester")
    members.set_lead(cast.web, cast["colleague"], leads=True, authority=lead)
    assert is_lead(cast["colleague"], cast.web)
    with pytest.raises(Conflict):
        members.set_lead(cast.web, cast["outsider"], leads=True, authority=lead)
    members.set_lead(cast.web, cast["colleague"], leads=False, authority=lead)
    assert is_member(cast["colleague"], cast.web)
    assert not is_lead(cast["colleague"], cast.web)


def test_officer_takes_in_others_and_not_the_own_person(cast: Cast) -> None:
    members.add_member(cast.web, cast["nobody"], as_lead=True, authority=cast.authority("officer"))
    assert is_lead(cast["nobody"], cast.web)
    with pytest.raises(NotPermitted):
        members.add_member(cast.web, cast["officer"], as_lead=False, authority=cast.authority("officer"))


def test_link_without_membership_leads_nothing(cast: Cast) -> None:
    """The admin, or SQL, can write such a link."""
    cast.web.leads.add(cast["outsider"])
    assert not cast.authority("outsider").may_manage(cast.web)


def test_lead_whose_account_is_off_leads_nothing(cast: Cast) -> None:
    cast.web.leads.add(cast["requester"])
    get_user_model().objects.filter(pk=cast["requester"].pk).update(is_active=False)
    assert not cast.authority("requester").may_manage(cast.web)


def test_token_of_a_lead_manages_nothing(cast: Cast) -> None:
    cast.web.leads.add(cast["requester"])
    assert not cast.authority("requester", cast.web).may_manage(cast.web)


@pytest.mark.django_db(transaction=True)
def test_owner_hands_over_one_or_all_and_both_are_mailed(cast: Cast) -> None:
    rows = [issued(spec(f"{name}.example.com"), cast.requester("requester")) for name in ("a", "b", "c")]
    Certificate.objects.filter(pk__in=[row.pk for row in rows]).update(owner=cast["requester"])
    own = cast.authority("requester")
    assert hand_over_chosen(cast["requester"], [rows[0].cert_id], owner="colleague", authority=own) == 1
    everything = possession_of(cast["requester"], authority=own).sealed
    assert hand_over_chosen(cast["requester"], [], owner="", everything=everything, authority=own) == 2
    owners = [str(Certificate.objects.get(pk=row.pk).owner) for row in rows]
    assert owners == ["colleague", "None", "None"]
    mailed = set(OutgoingMail.objects.filter(topic="ownership").values_list("recipient", flat=True))
    assert {"requester@example.org", "colleague@example.org"} <= mailed
    with pytest.raises(ChangedSince):
        hand_over_chosen(cast["requester"], [], owner="", everything=everything, authority=own)


@pytest.mark.django_db(transaction=True)
def test_person_outside_the_team_owns_nothing_of_it(cast: Cast) -> None:
    row = issued(spec("a.example.com"), cast.requester("requester"))
    Certificate.objects.filter(pk=row.pk).update(owner=cast["requester"])
    with pytest.raises(InputRefused):
        hand_over_chosen(cast["requester"], [row.cert_id], owner="outsider", authority=cast.authority("requester"))


def test_person_page_has_a_bounded_number_of_queries(cast: Cast, django_assert_max_num_queries: object) -> None:
    client = Client()
    client.force_login(cast["officer"])
    with django_assert_max_num_queries(55):  # type: ignore[operator]
        page = client.get(f"/people/{cast['requester'].pk}/")
    assert page.status_code == 200
    with django_assert_max_num_queries(30):  # type: ignore[operator]
        assert client.get("/people/").status_code == 200


def test_people_are_for_roles_that_see_every_team(cast: Cast) -> None:
    client = Client()
    client.force_login(cast["requester"])
    assert client.get("/people/").status_code == 404
    assert client.get(f"/people/{cast['colleague'].pk}/").status_code == 404
    assert client.get(f"/people/{cast['requester'].pk}/").status_code == 200
    client.force_login(cast["auditor"])
    text = client.get(f"/people/{cast['requester'].pk}/").content.decode()
    assert "Signed in at" not in text
    assert "Remove access" not in text
