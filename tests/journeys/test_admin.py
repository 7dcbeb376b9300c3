"""The admin as the security team uses it: every list and every row opens, and history cannot be touched by anybody."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from audit.admin import MOST_COUNTED, PortalAdmin
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.bulk.drafting.draft import draft, lines_of
from certs.bulk.submit import submit_order
from certs.models import ApiToken, Attempt, BulkChunk, BulkItem, BulkOrder, Certificate, CertificateRequest
from certs.requests.plan import plan_words
from certs.requests.submit import submit_many
from pkiportal.web.admin_subjects import REST
from tests.certs import steps
from tests.portal.admin_pages import admin_pages
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = pytest.mark.django_db(transaction=True)
OURS = [
    model
    for label in ("certs", "keys", "policy", "audit")
    for model in apps.get_app_config(label).get_models()
    if admin.site.is_registered(model)
]
FILTERED = [model for model in OURS if admin.site.get_model_admin(model).list_filter]
CHANGEABLE = {"Team", "Profile", "Policy", "GroupMapping"}  # settings, no history; each change is in the audit log


@pytest.fixture
def root(portal: Portal) -> Client:
    """A superuser, in a portal where something has happened."""
    plan: Any = plan_words("Certificate for a.example.com, P-256, 30 days", requester=portal.requester())
    ids = [row.pk for row in submit_many(plan.specs, requester=portal.requester())]
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs, steps.submit_to_ca, steps.record_inventory):
        step(ids)
    submit_order(draft(lines_of(plan), requester=portal.requester(), title="a"), authority=Authority(SYSTEM))
    portal.token()
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("root", "root@example.com", "x"))
    return client


def address(model: Any, page: str, *arguments: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


def test_list_search_and_row_open(root: Client, subtests: pytest.Subtests) -> None:
    for model in OURS:
        with subtests.test(model.__name__):
            assert root.get(address(model, "changelist")).status_code == 200
            if admin.site.get_model_admin(model).search_fields:
                assert root.get(address(model, "changelist"), {"q": "a.example.com ²"}).status_code == 200
            row = model._default_manager.first()
            if row is not None:
                assert root.get(address(model, "change", row.pk)).status_code == 200


def test_filters_read_no_column_of_the_whole_table(root: Client, subtests: pytest.Subtests) -> None:
    for model in FILTERED:
        with subtests.test(model.__name__):
            with CaptureQueriesContext(connection) as queries:
                page = root.get(address(model, "changelist")).content.decode()
            assert [q["sql"] for q in queries if "DISTINCT" in q["sql"]] == []
            assert "changelist-filter" in page


def test_filters_filter_and_lines_of_an_order_are_a_click_away(root: Client) -> None:
    counted = {
        query: root.get(address(CertificateRequest, "changelist") + query).context["cl"].result_count
        for query in ("?door=portal", "?door=api", "?door=nonsense")
    }
    assert counted == {"?door=portal": 1, "?door=api": 0, "?door=nonsense": 1}
    order = BulkOrder.objects.get()
    for model in (BulkItem, BulkChunk):
        path = f"{address(model, 'changelist')}?order__id__exact={order.pk}"
        assert path in root.get(address(BulkOrder, "changelist")).content.decode()
        assert root.get(path).context["cl"].result_count == 1


def test_no_filter_in_an_address_is_a_fault_of_ours(root: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Any field may stand there: years that no date has, patterns without their end, numbers that no column holds.

    One field of each type; the rule is in the class of which all pages of the admin are.
    """
    assert {type(one) for one in admin_pages().values() if not isinstance(one, PortalAdmin)} == set()
    root.raise_request_exception = False
    fields = {type(field): (model, field) for model in admin_pages() for field in model._meta.concrete_fields}
    for model, field in fields.values():
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for lookup, value in product(("year", "gt", "regex"), ("9" * 30, "-1", "99999999999", "(")):
            response = root.get(address, {f"{field.name}__{lookup}": value})
            assert response.status_code in (200, 302, 400), (address, field.name, lookup, value)
    assert len(fields) > 8
    assert not [record for record in caplog.records if record.name == "certs.api.http.failures"]


def test_history_is_nobodys_to_change(root: Client, subtests: pytest.Subtests) -> None:
    for model in OURS:
        if model.__name__ in CHANGEABLE:
            continue
        with subtests.test(model.__name__):
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


def test_a_list_costs_the_same_for_many_rows(root: Client, subtests: pytest.Subtests) -> None:
    """No query for each row, and no count of the whole table: the list is as quick with a million rows."""
    for model in admin_pages():
        with subtests.test(model.__name__):
            assert_list_costs_the_same(root, model)


def assert_list_costs_the_same(root: Client, model: Any) -> None:
    page = admin.site.get_model_admin(model)
    relations = {field.name for field in model._meta.concrete_fields if field.is_relation}
    shown = {name for name in page.list_display if name in relations}
    joined: Any = page.list_select_related
    covered: set[str] = relations if joined is True else {name.partition("__")[0] for name in joined or ()}
    # Django joins the relations of the columns where nothing else is said.
    assert not joined or shown <= covered, f"{model.__name__}: {shown - covered}"
    with CaptureQueriesContext(connection) as queries:
        assert root.get(address(model, "changelist")).status_code == 200
    counts = [q["sql"] for q in queries if "COUNT(" in q["sql"] and f'"{model._meta.db_table}"' in q["sql"]]
    assert [sql for sql in counts if f"LIMIT {MOST_COUNTED + 1}" not in sql] == []
    assert len(queries) <= 32, [q["sql"][:120] for q in queries]


def test_rows_link_to_their_pages_and_moments_have_seconds_and_a_zone(root: Client) -> None:
    certificate = Certificate.objects.get()
    for model in (Certificate, CertificateRequest, Attempt, AuditEvent):
        page = root.get(address(model, "changelist")).content.decode()
        assert "Page<span" in page
    listed = root.get(address(Certificate, "changelist")).content.decode()
    assert f'href="{reverse("certificate", args=[certificate.cert_id])}"' in listed
    assert f"{certificate.not_after:%H:%M:%S} UTC" in listed
    assert "Page in the portal" in root.get(address(Certificate, "change", certificate.pk)).content.decode()
    events = {row.subject.partition(":")[0] for row in AuditEvent.objects.all()}
    assert {"request", "issuer", "bulk"} <= events
    for row in AuditEvent.objects.all():
        link = admin.site.get_model_admin(AuditEvent).get_view_on_site_url(row)
        assert link is None or root.get(link).status_code == 200, link


def test_attempts_are_filtered_by_date(root: Client) -> None:
    found = root.get(
        address(Attempt, "changelist"), {"opened_at__gte": "2000-01-01 00:00:00+00:00", "opened_at__lt": "2001-01-01 00:00:00+00:00"}
    )
    assert found.context["cl"].result_count == 0


def test_index_groups_every_table_by_subject(root: Client) -> None:
    """A table that somebody adds is in the last group until it has a subject; nothing is lost."""
    groups = root.get(reverse("admin:index")).context["app_list"]
    assert [group["name"] for group in groups][:4] == ["Requests", "Bulk orders", "Certificates", "Keys"]
    listed = [table["model"] for group in groups for table in group["models"]]
    assert {model._meta.label for model in listed} == {model._meta.label for model in admin_pages()}
    assert REST not in [group["name"] for group in groups]


def test_a_count_stops_where_nobody_turns_pages_any_more(root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.admin.MOST_COUNTED", 3)
    found = root.get(address(AuditEvent, "changelist"))
    assert found.context["cl"].result_count == 4
