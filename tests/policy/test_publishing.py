"""Versions as rows: drafted, published once, in force from their date, never changed after that, each step audited."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, connection, transaction
from django.test import Client

from audit.log import Actor
from audit.models import AuditEvent
from policy.errors import PolicyConflict, PolicyCorrupt, PolicyImmutable, PolicyMissing
from policy.models import PolicyVersion
from policy.presets import DEFAULT_V2_3
from policy.publishing import draft_version, publish_version, version_in_force
from policy.rules import RuleSetInvalid, ruleset_from_dict
from tests.cast import person

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ADA = Actor("user", "ada")


def published(version: str = "v2.3", effective_from: datetime | None = None, now: datetime = NOW) -> PolicyVersion:
    draft = draft_version("default", DEFAULT_V2_3 | {"version": version}, actor=ADA, now=now)
    return publish_version(draft, actor=ADA, now=now, effective_from=effective_from)


def events() -> list[str]:
    return list(AuditEvent.objects.filter(subject="policy:default").order_by("pk").values_list("event", flat=True))


def test_published_version_is_in_force_and_audited() -> None:
    version = published()
    found = version_in_force("default", NOW)
    assert (found.pk, found.version, found.published_by, found.effective_from) == (version.pk, "v2.3", "ada", NOW)
    assert found.ruleset == ruleset_from_dict(DEFAULT_V2_3)
    assert events() == ["policy:drafted", "policy:published"]


def test_rules_are_parsed_once_a_process() -> None:
    published()
    assert version_in_force("default", NOW).ruleset is version_in_force("default", NOW).ruleset


def test_missing_policy_names_bootstrap() -> None:
    draft_version("default", DEFAULT_V2_3, actor=ADA, now=NOW)
    with pytest.raises(PolicyMissing, match=r"'default' is in force.*manage.py bootstrap"):
        version_in_force("default", NOW)


def test_newest_effective_version_counts() -> None:
    published("v2.3")
    published("v2.4", effective_from=NOW + timedelta(days=10))
    assert version_in_force("default", NOW + timedelta(days=10, seconds=-1)).version == "v2.3"
    assert version_in_force("default", NOW + timedelta(days=10)).version == "v2.4"
    with pytest.raises(PolicyMissing):
        version_in_force("default", NOW - timedelta(seconds=1))
    with pytest.raises(PolicyMissing):
        version_in_force("other", NOW)


def test_draft_may_be_replaced_until_it_is_published() -> None:
    first = draft_version("default", DEFAULT_V2_3, actor=ADA, now=NOW)
    second = draft_version("default", DEFAULT_V2_3 | {"approval_valid_days": 30}, actor=ADA, now=NOW)
    assert first.pk != second.pk  # a row that was shown never gets another content
    assert first.digest != second.digest
    publish_version(second, actor=ADA, now=NOW)
    with pytest.raises(PolicyConflict, match="is published and cannot be drafted again"):
        draft_version("default", DEFAULT_V2_3, actor=ADA, now=NOW)
    with pytest.raises(PolicyConflict, match="published already"):
        publish_version(second, actor=ADA, now=NOW)
    assert events() == ["policy:drafted", "policy:drafted", "policy:published"]


def test_publishing_into_the_past_is_refused() -> None:
    draft = draft_version("default", DEFAULT_V2_3, actor=ADA, now=NOW)
    with pytest.raises(PolicyConflict, match="cannot take effect in the past"):
        publish_version(draft, actor=ADA, now=NOW, effective_from=NOW - timedelta(seconds=1))
    assert events() == ["policy:drafted"]


def test_unreadable_rules_make_no_draft() -> None:
    with pytest.raises(RuleSetInvalid):
        draft_version("default", {"version": "v9"}, actor=ADA, now=NOW)
    assert (PolicyVersion.objects.count(), events()) == (0, [])


def test_published_row_is_refused_by_the_models() -> None:
    version = published()
    version.version = "v9"
    with pytest.raises(PolicyImmutable, match="Draft a new version"):
        version.save()
    with pytest.raises(PolicyImmutable):
        version.delete()
    with pytest.raises(PolicyImmutable):
        PolicyVersion.objects.filter(pk=version.pk).update(version="v9")
    with pytest.raises(PolicyImmutable):
        PolicyVersion.objects.all().delete()
    assert PolicyVersion.objects.get().version == "v2.3"


def test_published_row_is_refused_by_the_database() -> None:
    version = published()
    with pytest.raises(IntegrityError, match="cannot be changed"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE policy_policyversion SET digest = 'x' WHERE id = %s", [version.pk])
    if connection.vendor == "postgresql":
        with pytest.raises(IntegrityError, match="cannot be changed"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM policy_policyversion WHERE id = %s", [version.pk])
    version.refresh_from_db()
    assert version.digest != "x"


def test_half_published_row_is_refused_by_the_database() -> None:
    draft = draft_version("default", DEFAULT_V2_3, actor=ADA, now=NOW)
    draft.state = PolicyVersion.State.PUBLISHED
    with pytest.raises(IntegrityError), transaction.atomic():
        draft.save()


def test_rules_that_do_not_match_their_digest_judge_nothing() -> None:
    draft = draft_version("default", DEFAULT_V2_3, actor=ADA, now=NOW)
    draft.digest = "0" * 64
    draft.save()
    with pytest.raises(PolicyCorrupt, match="do not match their digest"):
        publish_version(draft, actor=ADA, now=NOW)
    assert not PolicyVersion.objects.published().exists()


def test_admin_publishes_a_draft_and_then_only_shows_it(client: Client) -> None:
    client.force_login(get_user_model().objects.create_superuser("grace", "grace@example.org"))
    draft = draft_version("default", DEFAULT_V2_3, actor=ADA, now=NOW)
    client.post("/admin/policy/policyversion/", {"action": "publish_selected", "_selected_action": [draft.pk]})
    draft.refresh_from_db()
    assert (draft.state, draft.published_by) == ("published", "grace")
    page = client.get(f"/admin/policy/policyversion/{draft.pk}/change/")
    assert (page.status_code, page.context["has_change_permission"], page.context["has_delete_permission"]) == (200, False, False)
    refused = client.post(f"/admin/policy/policyversion/{draft.pk}/change/", {"rules": "{}"})
    assert refused.status_code == 403


def test_admin_is_closed_to_outsiders(client: Client) -> None:
    client.force_login(person("mallory"))
    draft = draft_version("default", DEFAULT_V2_3, actor=ADA, now=NOW)
    client.post("/admin/policy/policyversion/", {"action": "publish_selected", "_selected_action": [draft.pk]})
    draft.refresh_from_db()
    assert draft.state == "draft"


def test_admin_form_names_the_mistake(client: Client) -> None:
    client.force_login(get_user_model().objects.create_superuser("grace"))
    version = published()
    page = client.post("/admin/policy/policyversion/add/", {"policy": version.policy_id, "rules": '{"version": "v9"}'})
    assert page.context["adminform"].form.errors == {"rules": ["policy: field 'defaults' is missing"]}
    assert PolicyVersion.objects.count() == 1
