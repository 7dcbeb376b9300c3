"""S6: schedules that the portal needs stop only on purpose, and nobody changes one without an event."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as portal_settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from certs.models import OperatorAlert
from db.clock import database_now
from tests.certs.access.admin_forms import address, posted

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


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
