"""What groups of the identity provider give, who may say so, and claims that say nothing usable."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import Client

from audit.models import AuditEvent
from certs.access.sign_in.group_mapping import GroupsUnreadable, apply_groups, groups_in
from certs.models import ApiToken, GroupMapping
from tests.cast import Cast, person
from tests.portal.threads import in_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
ADMIN = "/admin/certs/groupmapping/"


def admin_of(user: Any) -> Client:
    user.is_staff = True
    user.save()
    client = Client()
    client.force_login(user)
    return client


def test_an_administrator_edits_the_mapping_and_it_is_on_record(cast: Cast) -> None:
    client = admin_of(cast["root"])
    role = Group.objects.get(name="approver")
    answer = client.post(f"{ADMIN}add/", {"group": "pki-approvers", "role": role.pk, "team": ""})
    assert answer.status_code == 302
    event = AuditEvent.objects.get(event="group_mapping:created")
    assert (event.actor_name, event.data["group"]) == ("root", "pki-approvers")
    row = GroupMapping.objects.get()
    assert client.get(f"{ADMIN}{row.pk}/change/").status_code == 200
    assert client.post(f"{ADMIN}{row.pk}/delete/", {"post": "yes"}).status_code == 302
    assert AuditEvent.objects.filter(event="group_mapping:deleted").exists()


def test_a_security_officer_gives_no_roles_by_it(cast: Cast) -> None:
    """Officers edit the portal's tables in the admin; this one would let them give roles to themselves."""
    client = admin_of(cast["officer"])
    assert client.get(ADMIN).status_code == 200
    assert client.get(f"{ADMIN}add/").status_code == 403
    assert client.post(f"{ADMIN}add/", {"group": "g", "team": cast.web.pk}).status_code == 403
    row = GroupMapping.objects.create(group="g", team=cast.web)
    assert client.post(f"{ADMIN}{row.pk}/change/", {"group": "other", "team": cast.web.pk}).status_code == 403
    assert client.post(f"{ADMIN}{row.pk}/delete/", {"post": "yes"}).status_code == 403


def test_a_mapping_gives_one_thing(cast: Cast) -> None:
    role = Group.objects.get(name="auditor")
    for both in ({"team": cast.web, "role": role}, {}):
        with pytest.raises(ValidationError):
            GroupMapping(group="g", **both).full_clean()
        with pytest.raises(IntegrityError), transaction.atomic():
            GroupMapping.objects.create(group="g", **both)


@pytest.mark.parametrize(
    ("claims", "found"),
    [
        ({}, set()),
        ({"groups": []}, set()),
        ({"groups": "one"}, {"one"}),
        ({"groups": ["a", "b", "a"]}, {"a", "b"}),
        ({"_claim_names": {"other": "src"}}, set()),
    ],
)
def test_groups_are_a_list_of_texts(claims: dict[str, Any], found: set[str]) -> None:
    assert groups_in(claims) == found


@pytest.mark.parametrize(
    "claims",
    [
        {"groups": None},
        {"groups": {"a": 1}},
        {"groups": [1]},
        {"groups": [["a"]]},
        {"groups": ["a"] * 5001},
        {"_claim_names": {"groups": "x"}},
    ],
)
def test_a_claim_that_is_no_list_of_texts_takes_nothing(claims: dict[str, Any]) -> None:
    with pytest.raises(GroupsUnreadable):
        groups_in(claims)


def test_names_of_groups_are_compared_exactly(cast: Cast) -> None:
    GroupMapping.objects.create(group="PKI-Web", team=cast.web)
    user = person("nia")
    for near in ("pki-web", "PKI-Web ", "PKI-Webs", "", "%"):
        apply_groups(user, [near])
        assert not user.teams.exists()
    assert apply_groups(user, ["PKI-Web"])
    assert list(user.teams.all()) == [cast.web]


def test_without_any_mapping_the_provider_decides_about_no_rights(cast: Cast) -> None:
    assert apply_groups(cast["nobody"], ["anything"])
    assert apply_groups(cast["requester"], [])
    assert cast.web.members.filter(pk=cast["requester"].pk).exists()


def test_tokens_of_a_team_that_the_provider_takes_end(cast: Cast) -> None:
    GroupMapping.objects.create(group="pki-web", team=cast.web)
    user = cast["requester"]
    user.groups.add(Group.objects.get(name="auditor"))
    ApiToken.objects.create(
        name="t", prefix="p", sha256="0" * 64, user=user, team=cast.web,
        created_at="2026-01-01T00:00:00Z", expires_at="2099-01-01T00:00:00Z",
    )  # fmt: skip
    assert apply_groups(user, [])
    assert ApiToken.objects.get().revoked_at is not None


def test_two_sign_ins_at_once_end_with_the_rights_of_one_of_them(cast: Cast) -> None:
    GroupMapping.objects.create(group="pki-web", team=cast.web)
    GroupMapping.objects.create(group="pki-other", team=cast.other)
    user = person("nia")
    threads = [in_thread(lambda group=group: apply_groups(user, [group])) for group in ("pki-web", "pki-other") * 3]  # type: ignore[misc]
    for thread in threads:
        thread.join()
    assert user.teams.count() == 1
