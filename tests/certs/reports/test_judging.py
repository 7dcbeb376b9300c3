"""Judging by kinds gives what judging one by one gives."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.log import Actor
from certs.models import Domain, Team
from certs.reports.judging import Judge, Judged
from certs.requests.facts.policy_facts import PolicyInput, evaluate_many
from certs.spec import CertificateSpec
from db.clock import database_now
from policy.drafting import draft_version
from policy.models import Profile
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from policy.rules import ruleset_from_dict

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
START = datetime(2026, 1, 1, tzinfo=UTC)
_LABELS = st.sampled_from(["www", "shop", "deep", "*"])
_BASES = st.sampled_from(["example.com", "shop.example.com", "deep.shop.example.com", "other.test", "unknown.test", "test"])
_NAMES = st.builds(lambda label, base: f"{label}.{base}", _LABELS, _BASES) | _BASES


@pytest.fixture
def domains(transactional_db: None) -> dict[str, Team]:
    """`other` owns a domain beneath one of `web`, so that wildcards and hosts cross a border."""
    now, actor = database_now(), Actor("command", "test")
    publish_version(draft_version("default", DEFAULT_V2_3, actor=actor, now=now), actor=actor, now=now)
    Profile.objects.create(name="tls-server", ekus=["serverAuth"])
    Profile.objects.create(name="tls-client", ekus=["clientAuth"])
    teams = {slug: Team.objects.create(slug=slug, name=slug) for slug in ("web", "other")}
    for slug, name in (("web", "example.com"), ("other", "other.test"), ("other", "deep.shop.example.com")):
        Domain(name=name, team=teams[slug]).save()
    return teams


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    many=st.lists(
        st.tuples(
            st.sampled_from(["web", "other"]),
            st.lists(_NAMES, min_size=1, max_size=3, unique=True),
            st.lists(st.sampled_from(["192.0.2.1", "10.0.0.7"]), max_size=1),
            st.sampled_from(["rsa-2048", "rsa-3072", "ec-p256", "ed25519"]),
            st.sampled_from([1, 90, 397, 398]),
            st.sampled_from(["tls-server", "tls-client"]),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    ),
    network=st.sampled_from([[], ["10.0.0.0/8"]]),
    most=st.sampled_from([2, 100]),
)
def test_the_verdict_of_a_kind_is_that_of_each_certificate(
    domains: dict[str, Team], many: list[tuple[Any, ...]], network: list[str], most: int
) -> None:
    rules = DEFAULT_V2_3["rules"] | {"ip_addresses": {"networks": network}, "max_names": {"maximum": most}}
    judge = Judge(ruleset_from_dict({**DEFAULT_V2_3, "rules": rules}), on=date(2026, 11, 29))
    for team, dns, ips, key, days, profile, named in many:
        one = Judged(
            team_id=domains[team].pk,
            profile=profile,
            key_type=key,
            common_name=dns[0] if named else "elsewhere.example.com",
            dns_names=tuple(dns),
            ip_addresses=tuple(ips),
            not_before=START,
            not_after=START + timedelta(days=days, minutes=5),
        )
        assert judge.failing_rules(one) == {check.rule for check in judge.failures(one)}


def test_a_certificate_is_judged_as_a_request_for_the_same_would_be(domains: dict[str, Team]) -> None:
    """The facts that the report gives to the policy are those of the use case."""
    judge = Judge(ruleset_from_dict(DEFAULT_V2_3), on=database_now().date())
    for name in ("www.example.com", "a.deep.shop.example.com", "*.shop.example.com", "www.other.test"):
        one = Judged(domains["web"].pk, "tls-server", "rsa-2048", name, (name,), (), START, START + timedelta(days=398))
        _, (decision,) = evaluate_many([PolicyInput(_spec(one), domains["web"])], at=database_now())
        assert judge.failures(one) == decision.failures


def _spec(one: Judged) -> CertificateSpec:
    return CertificateSpec(one.common_name, one.dns_names, one.ip_addresses, one.key_type, one.days, one.profile)


def test_the_policy_is_asked_once_for_each_kind(domains: dict[str, Team]) -> None:
    judge = Judge(ruleset_from_dict(DEFAULT_V2_3), on=date(2026, 11, 29))
    for number in range(500):
        name = f"host-{number}.example.com"
        judge.failing_rules(Judged(domains["web"].pk, "tls-server", "ec-p256", name, (name,), (), START, START + timedelta(days=90)))
    assert judge.kinds == 1
