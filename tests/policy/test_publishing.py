"""Versions as rows: drafted, published once, in force from their date, never changed after that, each step audited."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, connection, transaction
from django.test import Client

from audit.log import Actor
from audit.models import AuditEvent
from policy.drafting import change_draft, delete_draft, draft_version
from policy.errors import PolicyConflict, PolicyCorrupt, PolicyImmutable, PolicyMissing, PublicationRefused
from policy.models import PolicyVersion
from policy.presets import DEFAULT_V2_3
from policy.publishing import WITHDRAWN_BEFORE, publish_as, publish_version, version_in_force, withdraw_as
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


def test_second_draft_of_a_version_is_refused_and_the_first_stays() -> None:
    """B10: a second "add" of the same version replaced the first draft without a word."""
    first = draft_version("default", DEFAULT_V2_3, actor=ADA, now=NOW)
    with pytest.raises(PolicyConflict, match=r"There is a draft of version v2\.3 already, by ada"):
        draft_version("default", DEFAULT_V2_3 | {"approval_valid_days": 30}, actor=ADA, now=NOW)
    assert PolicyVersion.objects.get().digest == first.digest
    publish_version(first, actor=ADA, now=NOW)
    with pytest.raises(PolicyConflict, match="is published and cannot be drafted again"):
        draft_version("default", DEFAULT_V2_3, actor=ADA, now=NOW)
    with pytest.raises(PolicyConflict, match="published already"):
        publish_version(first, actor=ADA, now=NOW)
    assert events() == ["policy:drafted", "policy:published"]


def test_draft_is_changed_only_as_it_was_shown() -> None:
    """Two tabs: the second save does not undo the first."""
    shown = draft_version("default", DEFAULT_V2_3, actor=ADA, now=NOW)
    changed = change_draft(shown, DEFAULT_V2_3 | {"version": "v2.4"}, actor=ADA, now=NOW, note="because")
    assert (changed.pk, changed.version, changed.note) == (shown.pk, "v2.4", "because")
    with pytest.raises(PolicyConflict, match="was changed since you saw it"):
        change_draft(shown, DEFAULT_V2_3, actor=ADA, now=NOW)
    with pytest.raises(PolicyConflict, match="was changed since you saw it"):
        delete_draft(shown, actor=ADA, now=NOW)
    delete_draft(changed, actor=ADA, now=NOW)
    assert not PolicyVersion.objects.exists()
    assert events() == ["policy:drafted", "policy:draft_changed", "policy:draft_deleted"]


def test_draft_takes_no_name_of_another_version() -> None:
    published("v2.3")
    draft = draft_version("default", DEFAULT_V2_3 | {"version": "v2.4"}, actor=ADA, now=NOW)
    with pytest.raises(PolicyConflict, match="is published"):
        change_draft(draft, DEFAULT_V2_3, actor=ADA, now=NOW)


def officer(name: str) -> Any:
    return person(name, "security officer", email=f"{name}@example.org")


def test_draft_that_changed_since_it_was_shown_is_not_published() -> None:
    """The digest of what was shown is what is published: rules, date and note."""
    officer("ada")
    shown = draft_version("default", DEFAULT_V2_3, actor=ADA, now=NOW)
    change_draft(shown, DEFAULT_V2_3, actor=ADA, now=NOW, proposed_from=NOW + timedelta(days=1))
    with pytest.raises(PolicyConflict, match="was changed since you saw it"):
        publish_as(shown, user=officer("grace"), now=NOW)
    assert not PolicyVersion.objects.published().exists()


def test_no_author_of_a_draft_publishes_it_not_even_a_superuser() -> None:
    ada, grace = officer("ada"), officer("grace")
    root = get_user_model().objects.create_superuser("root", "root@example.org")
    draft = draft_version("default", DEFAULT_V2_3, actor=ADA, now=NOW)
    draft = change_draft(draft, DEFAULT_V2_3 | {"version": "v2.4"}, actor=Actor("user", "grace"), now=NOW)
    draft = change_draft(draft, DEFAULT_V2_3 | {"version": "v2.5"}, actor=Actor("user", "root"), now=NOW)
    for author in (ada, grace, root):
        with pytest.raises(PublicationRefused, match="a second person publishes it"):
            publish_as(draft, user=author, now=NOW)
    other = officer("other")
    other.groups.clear()
    with pytest.raises(PublicationRefused, match="may not publish"):
        publish_as(draft, user=other, now=NOW)
    assert publish_as(draft, user=officer("fourth"), now=NOW).published_by == "fourth"


def test_proposed_date_is_when_the_version_begins() -> None:
    officer("ada")
    start = NOW + timedelta(days=16)
    draft = draft_version("default", DEFAULT_V2_3, actor=ADA, now=NOW, proposed_from=start)
    assert publish_as(draft, user=officer("grace"), now=NOW).effective_from == start
    late = draft_version("default", DEFAULT_V2_3 | {"version": "v2.4"}, actor=ADA, now=NOW, proposed_from=start)
    with pytest.raises(PolicyConflict, match="begins at the same moment"):
        publish_as(late, user=officer("fourth"), now=NOW)
    with pytest.raises(PolicyConflict, match="in the past"):
        publish_as(late, user=get_user_model().objects.get(username="fourth"), now=start + timedelta(days=1))


def test_planned_version_is_withdrawn_before_it_begins_and_never_after() -> None:
    published("v2.3")
    start = NOW + timedelta(days=10)
    planned = published("v2.4", effective_from=start)
    grace = officer("grace")
    with pytest.raises(PublicationRefused):
        withdraw_as(planned, user=person("mallory"), reason="no", now=NOW)
    for moment in (start - WITHDRAWN_BEFORE, start):
        with pytest.raises(PolicyConflict, match="has begun"):
            withdraw_as(planned, user=grace, reason="late", now=moment)
    withdraw_as(planned, user=grace, reason="The vendor is late.", now=NOW)
    assert version_in_force("default", start).version == "v2.3"
    assert [row.version for row in PolicyVersion.objects.in_force("default", start)] == ["v2.3"]
    with pytest.raises(PolicyConflict, match="withdrawn already"):
        withdraw_as(planned, user=grace, reason="again", now=NOW)
    assert events()[-1] == "policy:withdrawn"


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


def test_admin_only_shows_versions(client: Client) -> None:
    """No way around the second person: the admin neither drafts nor publishes, for superusers either."""
    client.force_login(get_user_model().objects.create_superuser("grace", "grace@example.org"))
    draft = draft_version("default", DEFAULT_V2_3, actor=ADA, now=NOW)
    client.post("/admin/policy/policyversion/", {"action": "publish_selected", "_selected_action": [draft.pk]})
    draft.refresh_from_db()
    assert draft.state == "draft"
    page = client.get(f"/admin/policy/policyversion/{draft.pk}/change/")
    assert (page.status_code, page.context["has_change_permission"], page.context["has_delete_permission"]) == (200, False, False)
    assert client.post(f"/admin/policy/policyversion/{draft.pk}/change/", {"rules": "{}"}).status_code == 403
    assert client.get("/admin/policy/policyversion/add/").status_code == 403
