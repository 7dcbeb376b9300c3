"""Facts for the policy: read now, for a whole batch, and of nobody else's certificates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from certs.models import Certificate, CertificateRequest, Domain, Team
from certs.renewal.renew import renew
from certs.requests.facts.policy_facts import (
    UNUSED,
    KeyUse,
    PolicyInput,
    evaluate_many,
    key_use,
    policy_facts,
    policy_input,
    request_facts,
    requesters_for,
)
from certs.requests.submit import Requester, submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from db.reads import read
from keys.models import PublicKey
from policy.engine import Outcome
from policy.facts import RequesterFacts
from policy.models import Profile
from tests.cast import Cast
from tests.certs.life import PORTAL, brought, issued, new_policy

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]
DAY = timedelta(days=1)


def reads(act: Callable[[], object]) -> int:
    """How many queries it takes."""
    with CaptureQueriesContext(connection) as captured:
        act()
    return len(captured)


# A request's facts


def test_a_row_is_judged_by_what_its_specification_was_judged_by(cast: Cast, make_spec: MakeSpec) -> None:
    """Planning looks at specifications, the policy step at rows: both must say the same."""
    end = database_now().date() + 40 * DAY
    specs = [make_spec("a.example.com"), make_spec("*.example.com", until=end), brought("own.example.com")]
    rows = submit_many(specs, requester=cast.requester("requester"))
    at = database_now()
    for spec, row in zip(specs, rows, strict=True):
        given = policy_input(row)
        assert request_facts(given, ("serverAuth",), at=at) == request_facts(PolicyInput(spec, cast.web), ("serverAuth",), at=at)
        assert (given.renewal, given.judged_first, given.called) == (False, True, f"request {row.public_id}")


def test_a_renewal_with_the_same_key_says_so_and_names_the_key(twin_portal: Requester, make_spec: MakeSpec) -> None:
    certificate = issued(make_spec(), twin_portal)
    row = renew(certificate, authority=PORTAL, channel="command", begin=False).request
    given = policy_input(CertificateRequest.objects.get(pk=row.pk))
    assert (given.renewal, given.key_reused) == (True, row.key_reused)
    assert given.spki_sha256 == (certificate.spki_sha256 if row.key_reused else "")
    facts = request_facts(given, (), at=database_now(), use=KeyUse(30, 2))
    assert (facts.renewal, facts.key_age_days, facts.key_certificates) == (True, 30, 2)


def test_days_to_an_end_date_are_counted_from_the_evaluation(cast: Cast, make_spec: MakeSpec) -> None:
    at = database_now().replace(hour=12)
    given = PolicyInput(make_spec(until=date(2031, 5, 20)), cast.web)
    assert request_facts(given, (), at=at).validity_days == (date(2031, 5, 20) - at.date()).days
    assert request_facts(given, (), at=at + DAY).validity_days == (date(2031, 5, 20) - at.date()).days - 1


# Use of a key


def test_every_certificate_of_a_key_counts_revoked_and_expired_ones_too(twin_portal: Requester, make_spec: MakeSpec) -> None:
    certificate = issued(make_spec(), twin_portal)
    at = database_now()
    spki = certificate.spki_sha256
    PublicKey.objects.filter(pk=spki).update(recorded_at=at - 30 * DAY - timedelta(hours=5))
    for status in (Certificate.Status.GOOD, Certificate.Status.REVOKED):
        Certificate.objects.filter(pk=certificate.pk).update(status=status, not_after=at - DAY)
        assert key_use([spki, "unknown"], at=at) == {spki: KeyUse(30, 1), "unknown": UNUSED}
    assert reads(lambda: key_use([spki, "unknown"], at=at)) <= 2  # in one round trip on PostgreSQL
    assert reads(lambda: key_use([], at=at)) == 0


# A requester's facts


def requesters(content: Sequence[tuple[CertificateSpec, Team]]) -> list[RequesterFacts]:
    return requesters_for(content, read(policy_facts(content, at=None)).owners)


def test_a_team_has_its_own_domains_and_sees_those_of_others_near_the_names(cast: Cast, make_spec: MakeSpec) -> None:
    Domain.objects.create(name="shop.example.com", team=cast.other)
    Domain.objects.create(name="elsewhere.test", team=cast.other)

    def facts(*names: str) -> RequesterFacts:
        (found,) = requesters([(CertificateSpec(names[0], names, (), "ec-p256", 90, "tls-server"), cast.web)])
        return found

    assert facts("a.example.com") == RequesterFacts("web", ("example.com",), ())
    assert facts("shop.example.com").foreign_domains == ("shop.example.com",)
    assert facts("x.shop.example.com").foreign_domains == ("shop.example.com",)
    assert facts("*.example.com").foreign_domains == ("shop.example.com",)
    assert facts("*.shop.example.com", "b.other.test").foreign_domains == ("other.test", "shop.example.com")
    assert facts("example.com.test").foreign_domains == ()


def test_each_request_of_a_batch_gets_the_domains_of_its_own_team(cast: Cast, make_spec: MakeSpec) -> None:
    mine, theirs = requesters([(make_spec("a.example.com"), cast.web), (make_spec("a.example.com"), cast.other)])
    assert (mine.team, mine.owned_domains, mine.foreign_domains) == ("web", ("example.com",), ())
    assert (theirs.team, theirs.owned_domains, theirs.foreign_domains) == ("other", ("other.test",), ("example.com",))


def test_the_number_of_queries_does_not_grow_with_the_batch(cast: Cast, make_spec: MakeSpec) -> None:
    few = [PolicyInput(make_spec(f"h{number}.example.com"), cast.web) for number in range(2)]
    many = [PolicyInput(make_spec(f"h{number}.example.com"), cast.web) for number in range(60)]
    new_policy("v2.4", duplicates={"inventory": "deny"})
    evaluate_many(few, at=database_now())
    assert reads(lambda: evaluate_many(many, at=database_now())) == reads(lambda: evaluate_many(few, at=database_now()))


# Evaluation


def test_facts_are_those_of_now(cast: Cast, make_spec: MakeSpec) -> None:
    """A domain or a profile that was taken away since counts at the next evaluation."""
    given = [PolicyInput(make_spec(), cast.web)]

    def outcome() -> Outcome:
        return evaluate_many(given, at=database_now())[1][0].outcome

    assert outcome() is Outcome.ALLOW
    Profile.objects.filter(name="tls-server").update(ekus=["clientAuth"])
    assert outcome() is Outcome.DENY
    Profile.objects.filter(name="tls-server").update(ekus=["serverAuth"])
    assert outcome() is Outcome.ALLOW
    Domain.objects.filter(name="example.com").update(team=cast.other)
    assert outcome() is Outcome.DENY


def outcomes(given: list[PolicyInput], first: dict[object, str] | None = None) -> list[str]:
    _, decisions = evaluate_many(given, at=database_now(), requested_before=first)  # type: ignore[arg-type]
    return [str(decision.outcome) for decision in decisions]


@pytest.fixture
def no_second(twin_portal: Requester) -> None:
    """A policy that refuses a second certificate for the same names."""
    new_policy("v2.4", duplicates={"inventory": "deny"})


@pytest.mark.usefixtures("no_second")
def test_of_several_that_ask_for_the_same_the_first_has_it(cast: Cast, make_spec: MakeSpec) -> None:
    twin = PolicyInput(make_spec("a.example.com"), cast.web, called="row 1")
    assert outcomes([twin, twin, PolicyInput(make_spec("b.example.com"), cast.web)]) == ["allow", "deny", "allow"]


@pytest.mark.usefixtures("no_second")
def test_one_that_is_refused_leaves_the_name_to_the_next(cast: Cast, make_spec: MakeSpec) -> None:
    refused = PolicyInput(make_spec("a.example.com", days=900), cast.web)
    assert outcomes([refused, PolicyInput(make_spec("a.example.com"), cast.web)]) == ["deny", "allow"]


@pytest.mark.usefixtures("no_second")
def test_parts_of_one_order_know_what_the_earlier_parts_asked_for(cast: Cast, make_spec: MakeSpec) -> None:
    first: dict[object, str] = {}
    part = [PolicyInput(make_spec("a.example.com"), cast.web, called="row 1")]
    assert outcomes(part, first) == ["allow"]
    assert outcomes(part, first) == ["deny"]
    assert list(first.values()) == ["row 1"]


@pytest.mark.usefixtures("no_second")
def test_a_living_certificate_of_the_team_is_a_duplicate_and_another_teams_is_not(cast: Cast, make_spec: MakeSpec) -> None:
    certificate = issued(make_spec("a.example.com"), cast.requester("requester"))
    version, (decision,) = evaluate_many([PolicyInput(make_spec("a.example.com"), cast.web)], at=database_now())
    assert (version.version, decision.outcome) == ("v2.4", Outcome.DENY)
    assert any(certificate.cert_id in check.message for check in decision.checks)
    Domain.objects.filter(name="example.com").update(team=cast.other)
    _, (theirs,) = evaluate_many([PolicyInput(make_spec("a.example.com"), cast.other)], at=database_now())
    assert theirs.outcome is Outcome.ALLOW


@pytest.mark.usefixtures("no_second")
def test_a_renewal_is_never_a_duplicate(cast: Cast, make_spec: MakeSpec) -> None:
    issued(make_spec("a.example.com"), cast.requester("requester"))
    assert outcomes([PolicyInput(make_spec("a.example.com"), cast.web, renewal=True)]) == ["allow"]


@pytest.mark.usefixtures("no_second")
def test_of_two_requests_under_way_the_older_one_has_the_name(cast: Cast, make_spec: MakeSpec) -> None:
    older, newer = submit_many([make_spec("a.example.com")] * 2, requester=cast.requester("requester"))
    assert outcomes([policy_input(older)]) == ["allow"]
    assert outcomes([policy_input(newer)]) == ["deny"]
    CertificateRequest.objects.filter(pk=newer.pk).update(state="approved")
    assert outcomes([policy_input(older)]) == ["deny"]  # it comes too late: the other may be on its way to the CA
