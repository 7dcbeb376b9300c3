"""S6: whatever gives somebody power leaves an event with who, the old and the new value."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from django_celery_beat.models import PeriodicTask

from audit.admin import AttributedAdmin, ReadOnlyAdmin
from audit.changes import UNATTRIBUTED, attribute, digest_of, watched
from audit.events import Actor
from audit.models import AuditEvent
from certs.models import ApiToken, Domain, Issuer, OutgoingMail, Team
from db.clock import database_now
from policy.models import Person, Policy, PolicyVersion, PolicyWaiver, Profile
from tests.cast import person
from tests.certs.access.admin_forms import address, posted
from tests.certs.access.upgrading import migration, models_before
from tests.portal.admin_pages import admin_pages

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

PASSWORD = "correct horse battery"
# Written by use cases that record their own events (policy:drafted, policy:published, waiver:approved).
AUDITED_ELSEWHERE = {PolicyVersion, PolicyWaiver}


def test_every_model_in_the_admin_is_read_only_or_recorded() -> None:
    """A model that somebody adds to the admin must be one or the other."""
    open_models = set()
    for model, page in admin_pages().items():
        if isinstance(page, ReadOnlyAdmin):
            continue
        assert isinstance(page, AttributedAdmin) or model in AUDITED_ELSEWHERE, model
        assert model in watched() or model in AUDITED_ELSEWHERE, model
        for inline in page.inlines:
            assert inline.model in watched(), inline.model
        open_models.add(model)
    assert {get_user_model(), Group, Team, Profile, Policy, PeriodicTask} <= open_models


def account(user: Any, **changed: Any) -> dict[str, Any]:
    fields = {
        "username": user.username,
        "email": user.email,
        "first_name": "",
        "last_name": "",
        "date_joined_0": "2027-01-01",
        "date_joined_1": "00:00:00",
        "groups": list(user.groups.values_list("pk", flat=True)),
        "user_permissions": [],
    }
    fields |= {name: "on" for name in ("is_active", "is_staff", "is_superuser") if getattr(user, name)}
    return {name: value for name, value in (fields | changed).items() if value is not None}


def test_account_changed_in_the_admin_names_person_old_and_new_value(signed_in: Client, new: Any) -> None:
    bob = person("bob", email="bob@example.com", password=PASSWORD)
    group = Group.objects.get_or_create(name="auditor")[0]
    new()
    sent = account(bob, is_superuser="on", email="eve@example.com", groups=[group.pk])
    posted(signed_in, address(bob), sent)
    (event, actor, data), (_, linker, links) = new()
    assert (event, actor, linker) == ("user:changed", "ann", "ann")
    assert data["is_superuser"] == [False, True]
    assert data["email"] == ["bob@example.com", "eve@example.com"]
    assert (links["relation"], links["added"]) == ("groups", [f"auditor ({group.pk})"])
    bob.refresh_from_db()
    posted(signed_in, address(bob), account(bob, is_active=None, groups=[]))
    (_, _, data), (_, _, links) = new()
    assert data["is_active"] == [True, False]
    assert links["removed"] == [f"auditor ({group.pk})"]


def test_password_set_by_somebody_else_is_recorded_without_it(signed_in: Client, new: Any) -> None:
    bob = person("bob", email="bob@example.com", password=PASSWORD)
    new()
    chosen = "another good pass phrase"
    sent = {"password1": chosen, "password2": chosen, "usable_password": "true"}
    posted(signed_in, f"/admin/auth/user/{bob.pk}/password/", sent)
    ((event, actor, data),) = new()
    assert (event, actor, data["replaced"]) == ("user:changed", "ann", ["password"])
    bob.refresh_from_db()
    text = json.dumps([row.data for row in AuditEvent.objects.all()])
    assert chosen not in text
    assert bob.password not in text


def test_sign_in_is_no_change_of_power(ann: Any, new: Any) -> None:
    new()
    Client().force_login(ann)
    assert new() == []


def test_members_and_domains_changed_in_the_admin_are_recorded(signed_in: Client, team: Team, new: Any) -> None:
    bob = person("bob", email="bob@example.com", password=PASSWORD)
    domain = team.domains.get()
    new()
    sent = {
        "slug": "web",
        "name": "Web",
        "default_domain": "Shop.Example",
        "organization": "",
        "email": "",
        "members": [bob.pk],
        "domains-TOTAL_FORMS": 2,
        "domains-INITIAL_FORMS": 1,
        "domains-0-id": domain.pk,
        "domains-0-team": team.pk,
        "domains-0-name": domain.name,
        "domains-0-DELETE": "on",
        "domains-1-team": team.pk,
        "domains-1-name": "SHOP.example.",
    }
    posted(signed_in, address(team), sent)
    found = new()
    assert {actor for _, actor, _ in found} == {"ann"}
    by_event: dict[str, list[dict[str, Any]]] = {}
    for event, _, data in found:
        by_event.setdefault(event, []).append(data)
    assert by_event["domain:deleted"][0]["name"] == "example.com"
    assert by_event["domain:created"][0]["name"] == "shop.example"
    links = [data for data in by_event["team:changed"] if "relation" in data]
    assert sorted(key for data in links for key in data if key in ("added", "removed")) == [
        "added",
        "removed",
    ]
    team.refresh_from_db()
    assert team.default_domain == "shop.example"


@pytest.mark.parametrize("forms", [0, 1])
def test_default_domain_outside_the_domains_is_refused_in_the_admin(signed_in: Client, team: Team, forms: int) -> None:
    """S7."""
    sent = {
        "slug": "web",
        "name": "Web",
        "default_domain": "evil.example",
        "domains-TOTAL_FORMS": forms,
        "domains-INITIAL_FORMS": forms,
        "domains-0-id": team.domains.get().pk,
        "domains-0-team": team.pk,
        "domains-0-name": "example.com",
    }
    response = signed_in.post(address(team), sent, secure=True)
    assert response.status_code == 200
    assert "outside the team&#x27;s domains" in response.content.decode()


@pytest.mark.parametrize("way", ["delete", "move"])
def test_team_that_loses_a_domain_is_notified(team: Team, ann: Any, way: str) -> None:
    domain = team.domains.get()
    attribute(domain, Actor("user", "carol"))
    if way == "delete":
        domain.delete()
    else:
        domain.team = Team.objects.create(slug="new", name="New")
        domain.save()
    mail = OutgoingMail.objects.get()  # nobody is in the team that gets it
    assert mail.recipient == ann.email
    assert "Team Web no longer owns example.com" in mail.subject
    assert "Changed by: carol" in mail.body


def test_team_that_loses_a_part_of_its_domain_is_notified(team: Team) -> None:
    other = Team.objects.create(slug="new", name="New")
    Domain.objects.create(name="pay.example.com", team=other)
    assert "Team Web no longer owns pay.example.com" in OutgoingMail.objects.get().subject
    Domain.objects.create(name="deep.pay.example.com", team=other)
    assert OutgoingMail.objects.count() == 1
    domain = Domain.objects.get(name="pay.example.com")
    assert domain.team == other
    domain.team = Team.objects.create(slug="third", name="Third")
    domain.save()
    subjects = list(OutgoingMail.objects.values_list("subject", flat=True))
    assert subjects == [f"Team {name} no longer owns pay.example.com" for name in ("Web", "New")]


def test_change_at_every_other_channel_is_recorded_as_unattributed(team: Team, ann: Any, new: Any) -> None:
    """A shell, a command, a script: what is written through the ORM leaves an event."""
    token = ApiToken.objects.create(
        name="t", prefix="p", sha256="x", user=ann, team=team, created_at=database_now(), expires_at=database_now() + timedelta(days=9)
    )
    issuer = Issuer.objects.create(name="CA", slug="ca", created_at=database_now())
    permission = Permission.objects.all()[0]
    group = Group.objects.create(name="readers")
    new()
    expected = []

    def did(event: str) -> None:
        expected.append(event)
        found = new()
        assert [(name, actor) for name, actor, _ in found] == [(event, UNATTRIBUTED.name)], event

    token.scopes = ["certificates:revoke"]
    token.save()
    did("token:changed")
    issuer.state = Issuer.State.DISTRUSTED
    issuer.save()
    did("issuer:changed")
    group.permissions.add(permission)
    did("group:changed")
    group.permissions.clear()
    did("group:changed")
    group.user_set.add(ann)
    did("user:changed")
    ann.groups.clear()
    did("user:changed")
    ann.teams.remove(team)
    did("team:changed")
    team.members.set([ann])
    did("team:changed")
    Team.objects.filter(pk=team.pk).update(organization="ACME")
    did("team:changed")
    Profile.objects.create(name="odd", ekus=["clientAuth"])
    did("profile:created")
    Policy.objects.create(name="lax")
    did("policy:created")
    ann.user_permissions.add(permission)
    did("user:changed")
    ann.is_staff = False
    ann.save(update_fields=["is_staff"])
    did("user:changed")


def test_rows_that_lose_a_link_by_a_deletion_are_recorded(team: Team, new: Any) -> None:
    bob = person("bob", email="bob@example.com", password=PASSWORD)
    group = Group.objects.create(name="readers")
    bob.groups.add(group)
    team.members.add(bob)
    new()
    group.delete()
    assert sorted(event for event, _, _ in new()) == ["group:deleted", "user:changed"]
    bob.delete()
    assert sorted(event for event, _, _ in new()) == ["person:deleted", "team:changed", "user:deleted"]


def test_each_event_carries_the_digest_of_the_state_that_it_led_to(team: Team, ann: Any) -> None:
    for row in (team, ann, team.domains.get()):
        subject = f"{row._meta.label_lower}:{row.pk}"
        last = AuditEvent.objects.filter(subject=subject).order_by("-subject_seq")[0]
        assert last.data["state_sha256"] == digest_of(row)


def test_change_without_its_event_is_rolled_back(team: Team) -> None:
    with transaction.atomic():
        team.organization = "ACME"
        team.save()
        transaction.set_rollback(True)
    assert not AuditEvent.objects.filter(data__has_key="organization", event="team:changed")


def test_hundreds_of_permissions_fit_into_events(new: Any) -> None:
    group = Group.objects.create(name="readers")
    new()
    group.permissions.set(Permission.objects.all())
    found = new()
    assert len(found) > 1
    assert sum(len(data["added"]) for _, _, data in found) == Permission.objects.count()


def test_createsuperuser_leaves_an_event(new: Any) -> None:
    new()
    call_command("createsuperuser", username="eve", email="e@example.com", interactive=False)
    (person, _, _), (event, _, data) = new()
    assert (person, event, data["is_superuser"]) == ("person:created", "user:created", True)


def test_rows_of_an_earlier_release_are_recorded_as_found(new: Any) -> None:
    Group.objects.bulk_create([Group(name="old")])
    new()
    migration("certs", "power_as_found").record(models_before("certs", "power_as_found"), None)
    group = Group.objects.get(name="old")
    event = AuditEvent.objects.get(subject=f"auth.group:{group.pk}")
    assert (event.event, event.data["as_found"]) == ("group:changed", True)
    assert event.data["state_sha256"] == digest_of(group)


def test_persons_tokens_and_cas_of_an_earlier_release_are_recorded_as_found(team: Team, ann: Any) -> None:
    token = ApiToken.objects.create(
        name="ci",
        prefix="pkip_old",
        sha256="ab",
        user=ann,
        team=team,
        scopes=["certificates:read"],
        created_at=database_now(),
        expires_at=database_now() + timedelta(days=1),
    )
    issuer = Issuer.objects.create(name="Old", slug="old", alias="old", trust_anchor_der=b"\x30", created_at=database_now())
    name = "persons_tokens_issuers_as_found"
    with transaction.atomic():
        migration("certs", name).record(models_before("certs", name), None)
    rows = {"person:changed": Person.objects.get(user=ann), "token:changed": token, "issuer:changed": issuer}
    for event, row in rows.items():
        (found,) = AuditEvent.objects.filter(event=event)
        row.refresh_from_db()
        assert found.data["as_found"] is True
        assert found.data["state_sha256"] == digest_of(row)
