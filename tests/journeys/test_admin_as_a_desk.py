"""Journey S8: an operator works in the admin, with the clicks that it takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import PeriodicTask
from playwright.sync_api import expect

from audit.models import AuditEvent
from certs.models import CertificateRequest, GroupMapping, OperatorAlert, Team
from certs.schedules.setup import ensure_schedules
from db.clock import database_now
from tests.journeys.conftest import Visitor
from tests.journeys.test_cas import Clicks
from tests.portal.authority import issue
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = pytest.mark.django_db(transaction=True)
SEAL = "audit: seal new events"


@pytest.fixture
def operator(portal: Portal, look: Callable[..., Visitor]) -> Visitor:
    portal.carol.groups.set([Group.objects.get(name="operator")])
    ensure_schedules(actor=SYSTEM, now=database_now())
    issue(portal, 2)
    return look("carol")


def test_from_the_index_to_the_page_of_a_request_in_two_clicks(operator: Visitor) -> None:
    """Subjects with plain names, moments to the second with their zone, and a link to the portal on each row."""
    clicks, page = Clicks(operator), operator.page
    operator.open("/admin/")
    subjects = page.locator("#content-main .module caption").all_inner_texts()
    assert [text.lower() for text in subjects[:4]] == ["requests", "bulk orders", "certificates", "keys"]
    assert operator.axe() == []
    clicks.follow(page.get_by_role("link", name="Attempts (calls of a key backend or CA)").first)
    row = page.locator("#result_list tbody tr").first
    assert row.inner_text().count(" UTC") >= 1
    assert operator.axe() == []
    clicks.follow(row.get_by_role("link", name="Page"))
    assert CertificateRequest.objects.filter(public_id=page.url.rstrip("/").rpartition("/")[2]).exists()
    assert clicks.count == 2


def test_every_row_of_every_table_has_a_page_of_the_portal(portal: Portal) -> None:
    ensure_schedules(actor=SYSTEM, now=database_now())
    issue(portal, 1)
    portal.token()
    GroupMapping.objects.create(group="auditors", role=Group.objects.get(name="auditor"))
    client = Client()
    root = get_user_model().objects.create_superuser("root", "root@example.com", "x")
    client.force_login(root, backend="django.contrib.auth.backends.ModelBackend")
    with_rows = 0
    for model in admin.site._registry:  # noqa: SLF001 - every table, also one that is added later
        text = client.get(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")).content.decode()
        rows = text.partition('id="result_list"')[2].split("<tr>")[2:]
        with_rows += bool(rows)
        addresses = [re.findall(r'class="field-portal_page"><a href="([^"]+)"', row) for row in rows]
        assert all(addresses), f"{model.__name__}: {rows[0][:300]}"
        for (address,) in addresses[:1]:
            assert client.get(unescape(address)).status_code == 200, (model.__name__, address)
    assert with_rows > 15


def test_a_schedule_that_the_portal_needs_is_not_stopped_by_a_slip(operator: Visitor) -> None:
    """Opened in two clicks; saving it switched off needs its name, raises an alert, and is an event. It has no delete button."""
    clicks, page = Clicks(operator), operator.page
    operator.open("/admin/")
    clicks.follow(page.get_by_role("link", name="Schedules", exact=True).first)
    clicks.follow(page.get_by_role("link", name=SEAL, exact=True))
    assert page.get_by_role("link", name="Delete").count() == 0
    clicks.click(page.get_by_label("Enabled"))
    clicks.follow(page.get_by_role("button", name="Save", exact=True))
    expect(page.get_by_text("it would not run as it must")).to_be_visible()
    assert operator.axe() == []
    assert PeriodicTask.objects.get(name=SEAL).enabled
    page.get_by_label("Name of the schedule").fill(SEAL)
    clicks.follow(page.get_by_role("button", name="Save", exact=True))
    assert clicks.count == 5
    assert not PeriodicTask.objects.get(name=SEAL).enabled
    assert OperatorAlert.objects.filter(closed_at=None, cause="schedule:audit.tasks.seal").exists()
    assert AuditEvent.objects.filter(event="schedule:changed", actor_name="carol").exists()


def test_a_look_into_the_admin_leaves_the_portal_dark(portal: Portal, look: Callable[..., Visitor]) -> None:
    """Both keep the chosen theme under one name, and the admin writes "auto" there."""
    operator = look("carol", dark=True)
    operator.open("/admin/")
    operator.open("/account/")
    assert operator.page.evaluate("document.documentElement.dataset.bsTheme") == "dark"


def admin_action(client: Client, model: str, action: str, *rows: Any, **more: str) -> Any:
    chosen = {"action": action, "_selected_action": [str(row.pk) for row in rows], **more}
    return client.post(reverse(f"admin:{model}_changelist"), chosen)


def test_no_bulk_action_deletes_what_the_portal_needs(portal: Portal) -> None:
    """Not the portal's schedules, not history, not by a superuser, and not with the confirmation sent along."""
    ensure_schedules(actor=SYSTEM, now=database_now())
    issue(portal, 1)
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("root", "root@example.com", "x"))
    needed = PeriodicTask.objects.get(name=SEAL)
    admin_action(client, "django_celery_beat_periodictask", "delete_selected", needed, post="yes")
    admin_action(client, "django_celery_beat_periodictask", "disable_tasks", needed)
    assert PeriodicTask.objects.get(name=SEAL).enabled
    row = CertificateRequest.objects.get()
    admin_action(client, "certs_certificaterequest", "delete_selected", row, post="yes")
    assert CertificateRequest.objects.filter(pk=row.pk).exists()
    events = AuditEvent.objects.count()
    admin_action(client, "audit_auditevent", "delete_selected", AuditEvent.objects.earliest("id"), post="yes")
    assert AuditEvent.objects.count() == events


@pytest.mark.parametrize("role", ["security officer", "operator", "approver", "auditor", "security-team"])
def test_mapping_of_groups_is_no_way_round_the_rules_of_roles(portal: Portal, role: str) -> None:
    """It gives roles, so the right to change rows of the portal is not enough: it takes the right to change accounts."""
    mapping = GroupMapping.objects.create(group="web people", team=Team.objects.get(slug="web"))
    portal.carol.groups.set([Group.objects.get(name=role)])
    client = Client()
    client.force_login(portal.carol)
    given = {"group": "everybody", "team": "", "role": str(Group.objects.get(name="security-team").pk)}
    assert client.post(reverse("admin:certs_groupmapping_add"), given).status_code == 403
    assert client.post(reverse("admin:certs_groupmapping_change", args=[mapping.pk]), given).status_code == 403
    assert client.post(reverse("admin:certs_groupmapping_delete", args=[mapping.pk]), {"post": "yes"}).status_code == 403
    admin_action(client, "certs_groupmapping", "delete_selected", mapping, post="yes")
    (kept,) = GroupMapping.objects.all()
    assert (kept.group, kept.role) == ("web people", None)


def test_each_change_of_a_mapping_is_an_event_of_who_made_it(portal: Portal) -> None:
    root = get_user_model().objects.create_superuser("root", "root@example.com", "x")
    client = Client()
    client.force_login(root)
    role = str(Group.objects.get(name="auditor").pk)
    assert client.post(reverse("admin:certs_groupmapping_add"), {"group": "auditors", "team": "", "role": role}).status_code == 302
    mapping = GroupMapping.objects.get()
    client.post(reverse("admin:certs_groupmapping_change", args=[mapping.pk]), {"group": "reviewers", "team": "", "role": role})
    admin_action(client, "certs_groupmapping", "delete_selected", mapping, post="yes")
    assert not GroupMapping.objects.exists()
    events = AuditEvent.objects.filter(event__startswith="group_mapping:").order_by("id").values_list("event", "actor_name")
    assert list(events) == [(f"group_mapping:{what}", "root") for what in ("created", "changed", "deleted")]
