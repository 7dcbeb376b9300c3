"""The admin as the security team uses it: every list and every row opens, and history cannot be touched by anybody."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from audit.models import AuditEvent
from certs.models import ApiToken, Certificate
from certs.workflow import steps
from certs.workflow.issuance import submit_many
from certs.workflow.planning import plan_words
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
OURS = [
    model
    for label in ("certs", "keys", "policy", "audit")
    for model in apps.get_app_config(label).get_models()
    if model in admin.site._registry
]
CHANGEABLE = {"Team", "Profile", "Policy", "PolicyVersion"}


@pytest.fixture
def root(portal: Portal) -> Client:
    """A superuser, in a portal where something has happened."""
    plan: Any = plan_words("Certificate for a.example.com, P-256, 30 days", requester=portal.requester())
    ids = [row.pk for row in submit_many(plan.specs, requester=portal.requester())]
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs, steps.submit_to_ca, steps.record_inventory):
        step(ids)
    portal.token()
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("root", "root@example.com", "x"))
    return client


def address(model: Any, page: str, *arguments: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_list_search_and_row_open(root: Client, model: Any) -> None:
    assert root.get(address(model, "changelist")).status_code == 200
    if admin.site._registry[model].search_fields:
        assert root.get(address(model, "changelist"), {"q": "a.example.com ²"}).status_code == 200
    row = model._default_manager.first()
    if row is not None:
        assert root.get(address(model, "change", row.pk)).status_code == 200


@pytest.mark.parametrize("model", [model for model in OURS if model.__name__ not in CHANGEABLE], ids=lambda model: model.__name__)
def test_history_is_nobodys_to_change(root: Client, model: Any) -> None:
    assert root.get(address(model, "add")).status_code == 403
    row = model._default_manager.first()
    if row is not None:
        assert root.post(address(model, "change", row.pk), {}).status_code == 403
        assert root.post(address(model, "delete", row.pk), {"post": "yes"}).status_code == 403


def test_security_team_revokes_a_leavers_token(root: Client) -> None:
    token = ApiToken.objects.get()
    root.post(address(ApiToken, "changelist"), {"action": "revoke", "_selected_action": [token.pk]})
    token.refresh_from_db()
    assert token.revoked_at is not None
    assert AuditEvent.objects.filter(event="token:revoked").count() == 1


def test_no_page_shows_a_token_hash_or_key_bytes(root: Client) -> None:
    page = root.get(address(ApiToken, "change", ApiToken.objects.get().pk)).content.decode()
    assert ApiToken.objects.get().sha256 not in page
    assert root.get(address(Certificate, "change", Certificate.objects.get().pk)).status_code == 200
