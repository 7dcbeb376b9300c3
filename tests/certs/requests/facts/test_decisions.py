"""Recorded decisions are made again with the same result, and an altered record shows."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.models import AuditEvent
from certs.errors import NotFound
from certs.models import PolicyEvaluation, WaiverUse
from certs.requests.facts.decisions import evaluations_of, run_again
from certs.requests.submit import submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from policy.models import PolicyWaiver
from policy.waivers.deciding import approve_waiver, request_waiver
from tests.cast import Cast, person
from tests.certs.steps import check_policy

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

NAMES = st.lists(
    st.sampled_from(["a.example.com", "*.example.com", "b.example.test", "x.other.test", "10.0.0.1"]),
    min_size=1,
    max_size=3,
    unique=True,
)


def spec(*names: str, key: str = "ec-p256", days: int = 90) -> CertificateSpec:
    dns = tuple(name for name in names if not name[0].isdecimal())
    return CertificateSpec(names[0], dns, tuple(set(names) - set(dns)), key, days, "tls-server")


@given(st.lists(st.tuples(NAMES, st.sampled_from(["rsa-2048", "ec-p256"]), st.integers(1, 500)), min_size=1, max_size=4))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_replay_of_recorded_requests_gives_the_recorded_decisions(cast: Cast, asked: list[Any]) -> None:
    """Issue 19, policy: every decision can be re-run with the same result."""
    specs = [spec(*names, key=key, days=days) for names, key, days in asked]
    requests = submit_many(specs, requester=cast.requester("requester"))
    check_policy([row.pk for row in requests])
    evaluations = list(PolicyEvaluation.objects.filter(request__in=[row.pk for row in requests]))
    assert len(evaluations) >= len(specs)
    for row in evaluations:
        again = run_again(row)
        assert (again.differences, again.decision and str(again.decision.outcome)) == ((), row.outcome)


def test_decision_names_version_and_hashes_in_row_and_audit_log(cast: Cast) -> None:
    (request,) = submit_many([spec("a.example.com")], requester=cast.requester("requester"))
    check_policy([request.pk])
    (row,) = evaluations_of(request.public_id)
    assert (row.policy_version, len(row.rules_digest), len(row.facts_digest)) == ("v2.3", 64, 64)
    event = AuditEvent.objects.get(event="policy:evaluated", subject=request.subject)
    assert (event.data["rules_sha256"], event.data["facts_sha256"]) == (row.rules_digest, row.facts_digest)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"facts": {"on": "2026-01-01"}}, "do not match their hash"),
        ({"rules_digest": "0" * 64}, "do not match the recorded hash"),
        ({"outcome": "deny"}, "outcome: recorded 'deny', now 'allow'"),
        ({"policy_version": "v9"}, "no policy version v9"),
        ({"facts": None}, "the stored facts are gone"),
        ({"facts": None, "facts_digest": ""}, "the stored facts are gone"),
    ],
)
def test_altered_record_is_a_difference(cast: Cast, change: dict[str, Any], difference: str) -> None:
    (request,) = submit_many([spec("a.example.com")], requester=cast.requester("requester"))
    check_policy([request.pk])
    PolicyEvaluation.objects.filter(request=request).update(**change)
    (row,) = evaluations_of(request.public_id)
    assert difference in "".join(run_again(row).differences)


def test_decision_of_a_release_that_stored_no_facts_is_not_compared_and_not_different(cast: Cast) -> None:
    (request,) = submit_many([spec("a.example.com")], requester=cast.requester("requester"))
    # As that release wrote it; the audit log has no hash of its facts either.
    PolicyEvaluation.objects.filter(request=request).delete()
    row = PolicyEvaluation.objects.create(
        request=request, policy_version="v2.3", outcome="allow", checks=[], evaluated_at=database_now(), facts=None
    )
    again = run_again(row)
    assert (again.same, again.differences) == (None, ())
    assert "an earlier release" in again.not_compared
    out = StringIO()
    call_command("replay_decision", request.public_id, json=True, stdout=out)
    answer = json.loads(out.getvalue())
    assert (answer["success"], answer["decisions"][0]["same"]) == (True, None)


def test_unknown_decision_is_not_found(cast: Cast) -> None:
    for name in ("req-0", "0", "9" * 30):
        with pytest.raises(NotFound):
            evaluations_of(name)


def waived(cast: Cast, **changes: Any) -> PolicyWaiver:
    now = database_now()
    values: dict[str, Any] = {
        "rule": "allowed_keys",
        "params": {"rsa": {"min_bits": 2048}, "ec": [256]},
        "names": ["old.example.com"],
        "teams": ["web"],
        "reason": "The appliance cannot do more until its replacement.",
        "begins": now - timedelta(minutes=1),
        "ends": now + timedelta(days=30),
    }
    row = request_waiver("default", **(values | changes), user=cast["officer"], now=now)
    second = person("second", "security officer", email="second@example.org")
    return approve_waiver(row, user=second, now=database_now())


def test_request_under_a_waiver_names_it_and_its_decision_can_be_made_again(cast: Cast) -> None:
    waiver = waived(cast)
    other, excepted = submit_many(
        [spec("new.example.com", key="rsa-2048"), spec("old.example.com", key="rsa-2048")],
        requester=cast.requester("requester"),
    )
    check_policy([other.pk, excepted.pk])
    other.refresh_from_db()
    excepted.refresh_from_db()
    assert (other.state, excepted.state) == ("rejected", "approved")
    uses = WaiverUse.objects.filter(waiver=waiver)
    assert {use.request_id for use in uses} == {excepted.pk}
    (row,) = evaluations_of(excepted.public_id)
    assert "(waiver W-" in row.checks[0]["message"]
    assert run_again(row).differences == ()


def test_waiver_that_ended_counts_no_more(cast: Cast) -> None:
    waiver = waived(cast)
    PolicyWaiver.objects.filter(pk=waiver.pk).update(ends=database_now())
    (request,) = submit_many([spec("old.example.com", key="rsa-2048")], requester=cast.requester("requester"))
    check_policy([request.pk])
    request.refresh_from_db()
    assert request.state == "rejected"
