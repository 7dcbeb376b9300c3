"""What the policy in force says of each certificate is kept, and kept up to date."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from audit.log import Actor
from certs.models import Certificate, PolicyVerdict, VerdictRun
from certs.reports import facts, verdicts
from certs.reports.verdicts import keep_verdicts
from db.clock import database_now
from policy.drafting import draft_version
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from tests.certs.inventory.estate import Estate
from tests.certs.inventory.test_listing import template  # noqa: F401 - a fixture

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
SYSTEM = Actor("system", "test")


@pytest.fixture
def now() -> Any:
    return database_now()


def publish(version: str) -> None:
    now = database_now()
    draft = draft_version("default", DEFAULT_V2_3 | {"version": version}, actor=SYSTEM, now=now)
    publish_version(draft, actor=SYSTEM, now=now)


def failing() -> dict[str, str]:
    return dict(PolicyVerdict.objects.values_list("certificate__common_name", "rules"))


@pytest.fixture
def estate(template: Certificate, now: Any, monkeypatch: pytest.MonkeyPatch) -> Estate:  # noqa: F811
    monkeypatch.setattr(facts, "PAGE", 2)
    made = Estate(template)
    for name, key in (("a", "rsa-2048"), ("b", "ec-p256"), ("c", "rsa-2048"), ("d", "rsa-3072")):
        made.add(name=f"{name}.example.com", key_type=key)
    made.add(name="e.example.com", key_type="rsa-2048", not_after=now - timedelta(days=1))
    made.save()
    return made


def test_what_the_policy_refuses_is_kept_with_the_rules(estate: Estate) -> None:
    assert keep_verdicts() == 5  # the one that ended is not judged
    assert set(failing()) == {"a.example.com", "c.example.com"}
    assert all(rules.strip() for rules in failing().values())
    run = VerdictRun.objects.get()
    assert run.complete_at is not None
    assert run.policy_version == "v2.3"
    assert keep_verdicts() == 0


def test_only_new_certificates_are_judged_between_runs(estate: Estate) -> None:
    keep_verdicts()
    more = Estate(estate.template, begin=50)
    more.add(name="f.example.com", key_type="rsa-2048")
    more.save()
    assert keep_verdicts() == 1
    assert "f.example.com" in failing()


def test_a_run_is_done_anew_each_day(estate: Estate) -> None:
    keep_verdicts()
    Certificate.objects.filter(common_name="a.example.com").update(not_after=database_now() - timedelta(days=1))
    Certificate.objects.filter(common_name="b.example.com").update(key_type="rsa-2048")
    assert keep_verdicts() == 0
    VerdictRun.objects.update(begun_at=database_now() - timedelta(days=1))
    assert keep_verdicts() == 4
    assert set(failing()) == {"b.example.com", "c.example.com"}


def test_another_version_in_force_judges_everything_anew(estate: Estate) -> None:
    keep_verdicts()
    PolicyVerdict.objects.filter(certificate__common_name="a.example.com").delete()
    publish("v2.4")
    assert keep_verdicts() == 5
    assert set(failing()) == {"a.example.com", "c.example.com"}
    assert VerdictRun.objects.get().policy_version == "v2.4"


def test_a_run_goes_on_where_a_dead_worker_left_it(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    record = verdicts.record_page
    pages: list[Any] = []

    def dies(*args: Any) -> bool:
        if len(pages) == 1:
            raise MemoryError
        pages.append(args)
        return record(*args)

    monkeypatch.setattr(verdicts, "record_page", dies)
    with pytest.raises(MemoryError):
        keep_verdicts()
    assert VerdictRun.objects.get().complete_at is None
    monkeypatch.setattr(verdicts, "record_page", record)
    assert keep_verdicts() == 3
    assert set(failing()) == {"a.example.com", "c.example.com"}


def test_of_two_runs_at_once_each_page_counts_once(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = verdicts.verdicts_of
    done: list[int] = []

    def overtaken(*args: Any) -> Any:
        if not done:
            done.append(0)
            done[0] = keep_verdicts()
        return judge(*args)

    monkeypatch.setattr(verdicts, "verdicts_of", overtaken)
    assert keep_verdicts() == 0
    assert done == [5]
    assert set(failing()) == {"a.example.com", "c.example.com"}
