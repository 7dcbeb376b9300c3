"""What a replay says is what happens: the same as plans of renewals and decisions on requests."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from certs.models import Certificate, Domain
from certs.renewal.plan import RELATED, RenewalPlan, Verdict, plan_renewals
from certs.replay.at_once import replay_at_once
from certs.replay.reading import certificates
from certs.replay.timelines import candidate_time_line, counting_waivers, present_time_line
from certs.replay.verdicts import Outcome, Rules, TimeLine
from certs.replay.work import judge_certificates, judge_requests
from certs.requests.facts.ownership import Ownership
from certs.requests.submit import submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from policy.drafting import draft_version
from policy.models import PolicyWaiver
from policy.publishing import publish_version
from policy.rules import ruleset_from_dict
from tests.cast import Cast
from tests.certs.life import SYSTEM, brought, issued
from tests.certs.requests.facts.test_decisions import NAMES, waived
from tests.certs.requests.facts.test_decisions import spec as request_spec
from tests.certs.steps import check_policy
from tests.policy.examples import rules_with

pytestmark = [pytest.mark.django_db(transaction=True)]

STRICTER = [
    {"max_validity": {"days": 45}},
    {"allowed_keys": {"rsa": {"min_bits": 3072}, "ec": [384]}, "max_validity": {"days": 45}},
    {"key_reuse_at_renewal": {"allowed": False}},
    {"wildcards": {"decision": "deny"}, "max_names": {"maximum": 1}},
    {"wildcards": {"decision": "allow"}},
]


def stricter(**changes: Any) -> dict[str, Any]:
    data = rules_with(**changes) | {"version": "v9"}
    data["defaults"] = data["defaults"] | {"validity_days": 30}
    return data


def estate(cast: Cast) -> None:
    web = cast.requester("requester")
    issued(CertificateSpec("a.example.com", ("a.example.com",), (), "ec-p256", 90, "tls-server"), web)
    issued(CertificateSpec("b.example.com", ("b.example.com",), (), "ec-p256", 30, "tls-server"), web)
    issued(CertificateSpec("c.example.com", ("c.example.com", "d.example.com"), (), "ec-p256", 90, "tls-server"), web)
    issued(brought("e.example.com"), web)


def outcome_of(plan: RenewalPlan) -> Outcome:
    days = plan.certificate.request.validity_days
    match plan.verdict:
        case Verdict.NEEDS_APPROVAL:
            return Outcome.APPROVAL
        case Verdict.REFUSED:
            return Outcome.REFUSED
        case Verdict.NEEDS_CSR:
            return Outcome.NEEDS_CSR
    if plan.spec.validity_days != days:
        return Outcome.SHORTENED
    return Outcome.NEW_KEY if plan.new_key else Outcome.PASSES


@pytest.mark.parametrize("changes", STRICTER)
def test_replay_says_what_renewals_do_once_the_version_counts(cast: Cast, changes: dict[str, Any]) -> None:
    estate(cast)
    # A name that went to another team since: its renewal is refused.
    Domain.objects.create(name="d.example.com", team=cast.other)
    now = database_now()
    ruleset = ruleset_from_dict(stricter(**changes))
    candidate, _ = candidate_time_line(present_time_line(now, []), ruleset, starts=now, waivers=[])
    tally = judge_certificates(1, 10**9, candidate=candidate, present=present_time_line(now, []), ownership=Ownership(), now=now)
    said = {pk: outcome for pk, _, outcome, *_ in tally.findings}
    publish_version(draft_version("default", stricter(**changes), actor=SYSTEM, now=now), actor=SYSTEM, now=now)
    rows = list(Certificate.objects.select_related(*RELATED).order_by("pk"))
    plans = plan_renewals(rows, at=database_now())
    assert {row.pk: said.get(row.pk, Outcome.PASSES) for row in rows} == {plan.certificate.pk: outcome_of(plan) for plan in plans}


def test_kinds_are_judged_once_and_as_each_alone(cast: Cast) -> None:
    estate(cast)
    now, ownership = database_now(), Ownership()
    rules = Rules(ruleset_from_dict(stricter(max_validity={"days": 45})))
    for page in certificates(1, 10**9, now=now, with_key_use=False):
        for due in page * 3:
            assert rules.verdict(due, due.kind(ownership), ownership) == rules.evaluate(due, ownership, ())
    assert rules.kinds == 4


def test_version_touches_only_renewals_from_its_day_on_until_the_next_begins() -> None:
    first, second, third = (Rules(ruleset_from_dict(rules_with() | {"version": f"v{n}"})) for n in range(3))
    line = TimeLine([(date(2026, 1, 1), first), (date(2027, 1, 1), third)]).with_version(date(2026, 6, 1), second)
    days = (date(2025, 1, 1), date(2026, 5, 31), date(2026, 6, 1), date(2026, 12, 31), date(2027, 1, 1))
    assert [line.on(day) for day in days] == [first, first, second, second, third]


@given(st.lists(st.tuples(NAMES, st.sampled_from(["rsa-2048", "ec-p256"]), st.integers(1, 500)), min_size=1, max_size=5))
@example([(["old.example.com"], "rsa-2048", 90), (["*.example.com"], "ec-p256", 90), (["x.other.test"], "ec-p256", 90)])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_replay_over_recorded_requests_gives_the_recorded_decisions(cast: Cast, asked: list[Any]) -> None:
    """Property of the issue: a version replayed over what it decided says the same, request by request, waivers included."""
    if not PolicyWaiver.objects.exists():
        waived(cast)
    specs = [request_spec(*names, key=key, days=days) for names, key, days in asked]
    requests = submit_many(specs, requester=cast.requester("requester"))
    check_policy([row.pk for row in requests])
    now = database_now()
    rules = present_time_line(now, counting_waivers(now)).on(now.date())
    assert rules is not None
    for row in requests:
        row.refresh_from_db()
        recorded = {
            "approved": Outcome.PASSES,
            "awaiting_approval": Outcome.APPROVAL,
            "rejected": Outcome.REFUSED,
        }[row.state]
        tally = judge_requests(row.pk, row.pk, rules=rules, on=now.date(), at=now, since=now - timedelta(days=1))
        assert dict(tally.counts) == {f"{recorded}|{recorded}": 1}, row.names


def test_replay_at_once_counts_outcomes(cast: Cast) -> None:
    estate(cast)
    ruleset = ruleset_from_dict(stricter(max_validity={"days": 45}))
    found = replay_at_once(ruleset, now=database_now())
    assert (found["shortened"], found["passes"]) == (3, 1)
