"""S6: whatever gives somebody power leaves an event with who, the old and the new value."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as portal_settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from audit.admin import AttributedAdmin, ReadOnlyAdmin
from audit.changes import UNATTRIBUTED, attribute, digest_of, watched
from audit.events import Actor
from audit.models import AuditEvent
from certs.models import ApiToken, Domain, Issuer, OperatorAlert, OutgoingMail, Team
from db.clock import database_now
from policy.models import Person, Policy, PolicyVersion, PolicyWaiver, Profile
from tests.cast import person
from tests.certs.access.upgrading import migration, models_before
from tests.portal.admin_pages import admin_pages

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

PASSWORD = "correct horse battery"
# Written by use cases that record their own events (policy:drafted, policy:published, waiver:approved).
AUDITED_ELSEWHERE = {PolicyVersion, PolicyWaiver}


@pytest.fixture
def ann() -> Any:
    return get_user_model().objects.create_superuser("ann", "ann@example.com", PASSWORD)


@pytest.fixture
def signed_in(ann: Any) -> Client:
    """A browser in which Ann is signed in."""
    client = Client()
    client.force_login(ann)
    return client


@pytest.fixture
def team(ann: Any) -> Team:
    team = Team.objects.create(slug="web", name="Web", default_domain="example.com")
    Domain.objects.create(name="example.com", team=team)
    team.members.add(ann)
    return team


@pytest.fixture
def new() -> Any:
    """Events since the test began to act: call it for (event, actor, data) of each."""
    start = [0]

    def events() -> list[tuple[str, str, dict[str, Any]]]:
        rows = AuditEvent.objects.filter(id__gt=start[0]).order_by("id")
        found = [(row.event, row.actor_name, row.data) for row in rows]
        start[0] = max([start[0], *rows.values_list("id", flat=True)])
        return found

    return events


def address(row: Any, page: str = "change") -> str:
    meta = row._meta
    return f"/admin/{meta.app_label}/{meta.model_name}/{row.pk}/{page}/"


def posted(client: Client, url: str, data: dict[str, Any]) -> None:
    response = client.post(url, data, secure=True)
    found = response.context and response.context.get("errors")
    assert response.status_code == 302, (response.status_code, found)


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
    assert Domain.objects.get(name="pay.example.com").team == other


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


@pytest.fixture
def schedules() -> None:
    for name, entry in portal_settings.PKI_SCHEDULES.items():
        interval, _ = IntervalSchedule.objects.get_or_create(every=entry["every_seconds"], period=IntervalSchedule.SECONDS)
        PeriodicTask.objects.create(name=name, task=entry["task"], interval=interval)
    assert not OperatorAlert.objects.exists()


SEAL = "audit: seal new events"


SCHEDULES = "/admin/django_celery_beat/periodictask/"


def schedule(row: PeriodicTask, /, **changed: Any) -> dict[str, Any]:
    fields = {"name": row.name, "task": row.task, "interval": row.interval_id, "args": "[]", "kwargs": "{}", "headers": "{}"}
    fields |= {"enabled": "on"} if row.enabled else {}
    return {name: value for name, value in (fields | changed).items() if value is not None}


@pytest.mark.usefixtures("schedules")
def test_sealing_switched_off_in_the_admin_is_recorded_and_an_alert(signed_in: Client, new: Any) -> None:
    task = PeriodicTask.objects.get(name=SEAL)
    new()
    posted(signed_in, address(task), schedule(task, enabled=None, confirmation=SEAL))
    ((event, actor, data),) = new()
    assert (event, actor, data["enabled"]) == ("schedule:changed", "ann", [True, False])
    alert = OperatorAlert.objects.get()
    assert (alert.kind, alert.cause) == ("schedule_off", "schedule:audit.tasks.seal")
    posted(signed_in, SCHEDULES, {"action": "enable_tasks", "_selected_action": [task.pk]})
    alert.refresh_from_db()
    assert alert.closed_at is not None


@pytest.mark.usefixtures("schedules")
@pytest.mark.parametrize(
    "changed",
    [
        {"enabled": None},
        {"enabled": None, "confirmation": "audit"},
        {"task": "certs.tasks.sweep"},
        {"args": "[1]"},
        {"queue": "nowhere"},
        {"one_off": "on"},
        {"expire_seconds": "1"},
        {"start_time_0": "2199-01-01", "start_time_1": "00:00:00"},
    ],
)
def test_a_schedule_that_the_portal_needs_stops_only_where_its_name_is_typed(signed_in: Client, new: Any, changed: dict[str, Any]) -> None:
    task = PeriodicTask.objects.get(name=SEAL)
    new()
    response = signed_in.post(address(task), schedule(task, **changed), secure=True)
    assert response.status_code == 200
    assert "confirmation" in response.context["adminform"].form.errors
    assert new() == []
    assert not OperatorAlert.objects.exists()


@pytest.mark.usefixtures("schedules")
@pytest.mark.parametrize("action", ["disable_tasks", "toggle_tasks"])
def test_no_action_on_many_rows_stops_what_the_portal_needs(signed_in: Client, new: Any, action: str) -> None:
    """What the portal does not need is switched by it, with its event."""
    task = PeriodicTask.objects.get(name=SEAL)
    other = PeriodicTask.objects.create(name="an operator's own", task="x.y", interval=task.interval)
    new()
    response = signed_in.post(SCHEDULES, {"action": action, "_selected_action": [task.pk, other.pk]}, secure=True, follow=True)
    assert "open it and type its name" in response.content.decode()
    assert [(event, data["enabled"]) for event, _, data in new()] == [("schedule:changed", [True, False])]
    task.refresh_from_db()
    assert task.enabled


@pytest.mark.usefixtures("schedules")
def test_a_shared_interval_is_not_made_too_slow_in_the_admin(signed_in: Client, new: Any) -> None:
    interval = PeriodicTask.objects.get(name=SEAL).interval
    new()
    inline = {"periodictask_set-TOTAL_FORMS": "0", "periodictask_set-INITIAL_FORMS": "0", "period": "seconds"}
    response = signed_in.post(address(interval), inline | {"every": "10000"}, secure=True)
    assert response.status_code == 200
    assert SEAL in str(response.context["errors"])
    assert new() == []
    posted(signed_in, address(interval), inline | {"every": "6"})
    assert len(new()) == 1


@pytest.mark.usefixtures("schedules")
def test_rows_of_schedules_are_changed_by_operators_only(ann: Any) -> None:
    """Django's permission on the table alone is not enough, nor for its actions."""
    clerk = get_user_model().objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(content_type__app_label="django_celery_beat"))
    client = Client()
    client.force_login(clerk)
    task = PeriodicTask.objects.get(name=SEAL)
    other = PeriodicTask.objects.create(name="another", task="x.y", interval=task.interval)
    assert client.post(address(other), schedule(other, enabled=None), secure=True).status_code == 403
    assert client.post(address(other, "delete"), {"post": "yes"}, secure=True).status_code == 403
    for action in ("disable_tasks", "delete_selected"):
        client.post(SCHEDULES, {"action": action, "_selected_action": [other.pk], "post": "yes"}, secure=True)
    other.refresh_from_db()
    assert other.enabled


@pytest.mark.usefixtures("schedules")
@pytest.mark.parametrize(
    "change",
    [
        {"enabled": False},
        {"task": "certs.tasks.sweep"},
        {"args": "[1]"},
        {"queue": "nowhere"},
        {"one_off": True},
        {"expires": database_now},
        {"start_time": lambda: database_now() + timedelta(days=900)},
    ],
)
def test_whatever_keeps_the_sealer_from_running_is_an_alert(change: dict[str, Any]) -> None:
    task = PeriodicTask.objects.get(name=SEAL)
    for name, value in change.items():
        setattr(task, name, value() if callable(value) else value)
    task.save()
    assert OperatorAlert.objects.get().cause == "schedule:audit.tasks.seal"


@pytest.mark.usefixtures("schedules")
def test_interval_made_endless_or_deleted_is_an_alert_for_each_of_its_tasks(new: Any) -> None:
    interval = PeriodicTask.objects.get(name=SEAL).interval
    assert interval is not None
    interval.every = 10_000
    interval.save()
    assert "schedule:audit.tasks.seal" in OperatorAlert.objects.values_list("cause", flat=True)
    interval.every = 5
    interval.save()
    assert not OperatorAlert.objects.filter(closed_at=None).exists()
    new()
    interval.delete()
    assert {"schedule:deleted"} == {event for event, _, _ in new()}
    assert OperatorAlert.objects.filter(closed_at=None).exists()


@pytest.mark.usefixtures("schedules")
def test_schedule_of_the_portal_is_not_deleted_in_the_admin(signed_in: Client) -> None:
    task = PeriodicTask.objects.get(name=SEAL)
    assert signed_in.post(address(task, "delete"), {"post": "yes"}, secure=True).status_code == 403
    interval = address(task.interval, "delete")
    assert signed_in.post(interval, {"post": "yes"}, secure=True).status_code == 403
    sent = {"action": "delete_selected", "_selected_action": [task.pk], "post": "yes"}
    signed_in.post("/admin/django_celery_beat/periodictask/", sent, secure=True)
    assert PeriodicTask.objects.filter(name=SEAL).exists()


def test_secret_in_the_arguments_of_a_schedule_is_not_recorded(new: Any) -> None:
    interval = IntervalSchedule.objects.create(every=5, period="seconds")
    token = "hvs." + "a" * 24
    new()
    PeriodicTask.objects.create(name="odd", task="x.y", interval=interval, kwargs=json.dumps({"token": token}))
    ((_, _, data),) = new()
    assert token not in json.dumps(data)
    assert "[withheld]" in data["kwargs"]


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
