"""The admin shows the ledger and changes nothing, for nobody."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import RequestFactory
from django.urls import reverse

from audit.models import AuditEvent, Checkpoint
from audit.transparency.sealer import seal
from tests.audit.ledger import write

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


@pytest.mark.parametrize("model", [AuditEvent, Checkpoint])
def test_superuser_may_look_and_no_more(model: type[AuditEvent | Checkpoint]) -> None:
    page = admin.site.get_model_admin(model)
    request = RequestFactory().get("/")
    request.user = User(username="root", is_superuser=True, is_staff=True, is_active=True)
    assert page.get_model_perms(request) == {"add": False, "change": False, "delete": False, "view": True}
    assert page.get_actions(request) == {}


def test_account_without_the_permission_sees_nothing() -> None:
    page = admin.site.get_model_admin(AuditEvent)
    request = RequestFactory().get("/")
    request.user = User.objects.create(username="staff", is_staff=True)
    assert not page.has_view_permission(request)
    request.user.user_permissions.add(Permission.objects.get(codename="view_auditevent"))
    request.user = User.objects.get(username="staff")
    assert page.has_view_permission(request)


def test_list_and_single_pages_are_shown() -> None:
    from django.test import Client  # noqa: PLC0415 - only here

    write("req-1")
    seal()
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    event, checkpoint = AuditEvent.objects.get(subject="req-1"), Checkpoint.objects.get()
    for address in (
        reverse("admin:audit_auditevent_changelist") + "?q=req-1",
        reverse("admin:audit_auditevent_change", args=[event.pk]),
        reverse("admin:audit_checkpoint_changelist"),
        reverse("admin:audit_checkpoint_change", args=[checkpoint.pk]),
    ):
        assert client.get(address).status_code == 200
    assert client.post(reverse("admin:audit_auditevent_delete", args=[event.pk]), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("text", ["request:req-1", "req-1", " req-1 ", "ann"])
def test_search_takes_what_pages_show(text: str) -> None:
    """B8: its own help said `req-...`, and that found nothing."""
    write("request:req-1")
    page = admin.site.get_model_admin(AuditEvent)
    found, _ = page.get_search_results(RequestFactory().get("/"), AuditEvent.objects.all(), text)
    assert found.count() == 1
    nothing, _ = page.get_search_results(RequestFactory().get("/"), AuditEvent.objects.all(), "req-2")
    assert not nothing
