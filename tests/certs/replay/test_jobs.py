"""The life of a replay: parts shared by workers, a killed worker, a cancel, and results that become outdated."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError

from audit.log import Actor
from certs.errors import Conflict
from certs.models import Certificate, PolicyReplay, ReplayFinding, ReplayPart, Team
from certs.replay import jobs
from certs.replay.lists import Sought, csv_lines, page
from certs.replay.verdicts import Outcome
from certs.requests.submit import submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from policy.drafting import change_draft, draft_version
from policy.models import PolicyVersion
from tests.cast import Cast
from tests.certs.replay.test_verdicts import estate, stricter
from tests.certs.steps import check_policy

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

OFFICER = Actor("user", "officer")
SHORT = stricter(max_validity={"days": 45})


@pytest.fixture
def draft(cast: Cast) -> PolicyVersion:
    return draft_version("default", SHORT, actor=OFFICER, now=database_now())


def begun(draft: PolicyVersion, **more: Any) -> PolicyReplay:
    values: dict[str, Any] = {"starts": database_now(), "days_back": 30, "asked_by": "officer"} | more
    return jobs.begin_replay(draft, **values)


def finished(replay: PolicyReplay) -> PolicyReplay:
    jobs.work_on(replay.pk)
    replay.refresh_from_db()
    return replay


def test_replay_counts_renewals_and_requests_by_outcome_team_and_week(cast: Cast, draft: PolicyVersion) -> None:
    estate(cast)
    refused = CertificateSpec("x.other.test", ("x.other.test",), (), "ec-p256", 40, "tls-server")
    (request,) = submit_many([refused], requester=cast.requester("requester"))
    check_policy([request.pk])
    replay = finished(begun(draft))
    assert (replay.state, replay.error) == ("done", "")
    certificates, requests = replay.summary["certificates"], replay.summary["requests"]
    assert certificates["outcomes"]["shortened"] == {"total": 3, "changed": 3}
    assert certificates["outcomes"]["passes"] == {"total": 1, "changed": 0}
    assert [(one["key"], one["changed"]) for one in certificates["teams"]] == [(str(cast.web.pk), 3)]
    assert sum(one["outcomes"]["shortened"] for one in certificates["weeks"]) == 3
    # Four requests of 90 and 30 days, and the one that was refused then as now.
    assert requests["outcomes"]["refused"] == {"total": 4, "changed": 3}
    lines, following = page(replay, Sought(Outcome.SHORTENED), after=0)
    assert (len(lines), following, lines[0].reason) == (3, 0, "Shortened from 90 to 45 days")
    assert len(list(csv_lines(replay, Sought(Outcome.REFUSED, changed=False)))) == 5
    # No cell is a formula, in full-width letters neither.
    Team.objects.filter(pk=cast.web.pk).update(name="\uff1dHYPERLINK(1)")
    assert all(",'\uff1dHYPERLINK(1)," in line for line in list(csv_lines(replay, Sought(Outcome.SHORTENED)))[1:])


def test_parts_are_shared_and_one_lost_with_its_worker_is_judged_again(
    cast: Cast, draft: PolicyVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    estate(cast)
    monkeypatch.setattr(jobs, "RANGE", 2)
    replay = begun(draft)
    parts = ReplayPart.objects.filter(replay=replay).order_by("pk")
    assert parts.count() >= 4
    # A worker has claimed the first part and is gone.
    ReplayPart.objects.filter(pk=parts[0].pk).update(tries=1, lease_until=database_now() + timedelta(minutes=1))
    assert finished(replay).state == "running"
    assert jobs.progress(replay) == (parts.count() - 1, parts.count())
    ReplayPart.objects.filter(pk=parts[0].pk).update(lease_until=database_now() - timedelta(seconds=1))
    PolicyReplay.objects.update(begun_at=database_now() - timedelta(minutes=1))
    assert jobs.sweep_replays() == 1
    assert finished(replay).state == "done"
    assert ReplayFinding.objects.filter(replay=replay, certificate__isnull=False).count() == 3


def test_part_that_kills_its_workers_ends_the_replay_and_says_so(cast: Cast, draft: PolicyVersion) -> None:
    estate(cast)
    replay = begun(draft)
    ReplayPart.objects.update(tries=jobs.MOST_TRIES)
    finished(replay)
    assert (replay.state, replay.error.startswith("Workers were lost")) == ("failed", True)


def test_part_during_which_the_database_was_lost_is_judged_again(cast: Cast, draft: PolicyVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(_rows: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    estate(cast)
    replay = begun(draft)
    with monkeypatch.context() as patched:
        patched.setattr(jobs, "write_new", lost)
        with pytest.raises(OperationalError):
            jobs.work_on(replay.pk)
    replay.refresh_from_db()
    assert (replay.state, replay.error) == ("running", "")
    ReplayPart.objects.update(lease_until=database_now() - timedelta(seconds=1))
    PolicyReplay.objects.update(begun_at=database_now() - timedelta(minutes=1))
    assert jobs.sweep_replays() == 1
    assert finished(replay).state == "done"


def test_late_result_of_a_part_is_not_counted_twice(cast: Cast, draft: PolicyVersion) -> None:
    estate(cast)
    replay = begun(draft)
    ReplayPart.objects.update(tries=1)
    finished(replay)
    before = ReplayFinding.objects.count()
    jobs.work_on(replay.pk)
    assert ReplayFinding.objects.count() == before


def test_cancelled_replay_stops_and_a_second_one_may_begin(cast: Cast, draft: PolicyVersion) -> None:
    estate(cast)
    replay = begun(draft)
    with pytest.raises(Conflict, match="runs already"):
        begun(draft)
    assert jobs.cancel_replay(replay)
    assert finished(replay).state == "cancelled"
    assert not jobs.cancel_replay(replay)
    assert finished(begun(draft)).state == "done"


def test_result_is_outdated_when_draft_versions_or_inventory_change(cast: Cast, draft: PolicyVersion) -> None:
    estate(cast)
    replay = finished(begun(draft))
    now = database_now()
    assert jobs.outdated_because(replay, now=now) == []
    assert jobs.outdated_because(replay, now=now + timedelta(days=2)) == ["it is older than a day"]
    last = Certificate.objects.order_by("-pk")[0]
    PolicyReplay.objects.update(last_certificate=last.pk - 1)
    change_draft(draft, stricter(max_validity={"days": 44}), actor=OFFICER, now=now)
    found = PolicyReplay.objects.select_related("version").get(pk=replay.pk)
    assert jobs.outdated_because(found, now=now) == ["the rules were changed since", "certificates were issued since"]


def test_empty_inventory_is_replayed_at_once(draft: PolicyVersion) -> None:
    replay = begun(draft)
    assert (replay.state, replay.summary) == ("done", {})


def test_old_replays_are_deleted_with_what_they_found(cast: Cast, draft: PolicyVersion) -> None:
    estate(cast)
    replay = finished(begun(draft))
    PolicyReplay.objects.update(ended_at=database_now() - jobs.KEPT - timedelta(days=1))
    assert jobs.delete_old_replays() == 1
    assert not PolicyReplay.objects.filter(pk=replay.pk).exists()
    assert not ReplayFinding.objects.exists()
