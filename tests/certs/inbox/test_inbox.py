"""What stands in whose inbox, in which order, at what cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.contrib.auth.models import Permission as DjangoPermission
from pytest_django import DjangoAssertNumQueries

from audit.log import Actor
from certs.access.permissions import teams_of
from certs.enums import AlertKind
from certs.enums import RequestState as S
from certs.inbox.alerts import way_of
from certs.inbox.inbox import Reader, count_waiting, inbox_of
from certs.inbox.matters import Kind
from certs.inventory.figures import count_states
from certs.models import CAAddition, Certificate, CertificateRequest, Issuer, OperatorAlert, RenewalBlocked
from certs.replay.jobs import begin_replay
from certs.requests.approvals.approval import approve
from certs.requests.approvals.questions import ask_back
from certs.requests.domains.domain_requests import ask_for_domain
from certs.requests.submit import submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from policy.drafting import draft_version
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from tests.cast import Cast, person
from tests.certs.life import SYSTEM, issued, walk
from tests.policy.waivers.requested import requested_waiver

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


def alert(kind: AlertKind, cause: str = "ca:x", *, hours: int = 0) -> OperatorAlert:
    at = database_now() - timedelta(hours=hours)
    return OperatorAlert.objects.create(kind=kind, cause=cause, message=f"{kind} {cause}", next_step="Look.", raised_at=at, last_seen_at=at)


def kinds(cast: Cast, name: str, teams: Any = ()) -> list[Kind]:
    return [one.kind for one in inbox_of(Reader.of(cast[name]), teams=teams, most=50, now=database_now()).matters]


def waiting(user: Any) -> int:
    return count_waiting(Reader.of(user))


def wildcard(cast: Cast, make_spec: MakeSpec, name: str = "*.apps.example.com", who: str = "requester") -> CertificateRequest:
    (row,) = submit_many([make_spec(name)], requester=cast.requester(who))
    walk([row.pk])
    return row


@pytest.fixture
def everything(cast: Cast, make_spec: MakeSpec, settings: Any) -> CertificateRequest:
    """One thing of each kind."""
    settings.PKI_RENEW_BEFORE_DAYS = 400
    certificate = issued(make_spec("old.example.com"), cast.requester("requester"))
    Certificate.objects.filter(pk=certificate.pk).update(
        renewal_blocked=RenewalBlocked.NEEDS_CSR, alert_at=database_now() - timedelta(days=2), owner=None
    )
    count_states()
    alert(AlertKind.KEY_BLOCKED, "key:ab")
    alert(AlertKind.REPORT_FAILED, "report:2026-48", hours=50)
    ask_for_domain("pay.example.net", why="Ours.", requester=cast.requester("requester"))
    return wildcard(cast, make_spec)


def test_each_role_finds_what_it_can_do_something_about(cast: Cast, everything: CertificateRequest) -> None:
    assert kinds(cast, "approver") == [Kind.APPROVAL]
    assert kinds(cast, "operator") == [Kind.KEY, Kind.ALERT]
    assert set(kinds(cast, "officer")) == {Kind.KEY, Kind.ALERT, Kind.RENEWAL, Kind.DOMAIN, Kind.OWNER}
    assert kinds(cast, "requester", [cast.web]) == [Kind.RENEWAL]
    for name in ("auditor", "nobody"):
        assert kinds(cast, name) == []
    assert kinds(cast, "outsider", [cast.other]) == []


def test_who_may_decide_for_some_teams_finds_nothing_of_the_others(cast: Cast, everything: CertificateRequest) -> None:
    """A group that an installation composed: its approvers do not learn what other teams ask for."""
    group = Group.objects.create(name="approvers of team other")
    group.permissions.add(*DjangoPermission.objects.filter(codename__in=["decide_requests", "act_for_every_team"]))
    local = person("local", email="local@example.org", team=cast.other)
    local.groups.add(group)
    found = inbox_of(Reader.of(local), teams=[cast.other], most=50, now=database_now())
    assert not {Kind.APPROVAL, Kind.DOMAIN} & {one.kind for one in found.matters}
    before = waiting(local)
    cast.web.members.add(local)
    found = inbox_of(Reader.of(local), teams=[cast.other], most=50, now=database_now())
    assert {Kind.APPROVAL, Kind.DOMAIN} <= {one.kind for one in found.matters}
    assert waiting(local) == before + 2


def test_urgent_comes_first_and_then_what_waited_longest(cast: Cast, everything: CertificateRequest) -> None:
    found = inbox_of(Reader.of(cast["root"]), teams=[], most=50, now=database_now()).matters
    assert found[0].kind is Kind.KEY
    ages = [one.since for one in found if not one.is_urgent and one.since]
    assert ages == sorted(ages)
    assert all(one.title and one.why and one.url and one.action for one in found)


def test_nobody_finds_a_request_of_their_own_to_decide(cast: Cast, make_spec: MakeSpec) -> None:
    cast.web.members.add(cast["approver"])
    own = wildcard(cast, make_spec, who="approver")
    assert kinds(cast, "approver") == []
    assert waiting(cast["approver"]) == 0
    twin = person("twin", "approver", email="approver@example.org")  # the same person's other account
    assert inbox_of(Reader.of(twin), teams=[], most=50, now=database_now()).matters == ()
    assert own.state == S.SUBMITTED


def test_what_is_due_before_its_time_has_no_age_in_the_future(cast: Cast, everything: CertificateRequest) -> None:
    """While a CA is replaced the page said "in 309 days" where others say how long they have waited."""
    Certificate.objects.update(alert_at=database_now() + timedelta(days=309))
    Issuer.objects.update(state=Issuer.State.DISTRUSTED)
    found = inbox_of(Reader.of(cast["officer"]), teams=[], most=50, now=database_now()).matters
    assert [one.since for one in found if one.kind is Kind.RENEWAL] == [None]


def test_what_one_has_approved_waits_for_others_only(cast: Cast, make_spec: MakeSpec) -> None:
    """It stayed in the inbox and in the badge of the first approver, who had nothing more to do."""
    rules = DEFAULT_V2_3 | {"version": "v9", "approval": {"approvers": 2}}
    publish_version(draft_version("default", rules, actor=SYSTEM, now=database_now()), actor=SYSTEM, now=database_now())
    row = wildcard(cast, make_spec)
    row.refresh_from_db()
    second = person("second", "approver", email="second@example.org")
    approve(row, user=cast["approver"], digest=row.digest)
    assert (kinds(cast, "approver"), waiting(cast["approver"])) == ([], 0)
    assert [one.kind for one in inbox_of(Reader.of(second), teams=[], most=50, now=database_now()).matters] == [Kind.APPROVAL]
    assert waiting(second) == 1


def test_a_list_that_is_cut_says_where_the_rest_is(cast: Cast, make_spec: MakeSpec) -> None:
    for number in range(3):
        wildcard(cast, make_spec, f"*.a{number}.example.com")
    found = inbox_of(Reader.of(cast["approver"]), teams=[], most=2, now=database_now())
    assert len(found.matters) == 2
    assert [one.url for one in found.more] == ["/requests/?state=awaiting_approval"]


def test_replayed_draft_and_waiver_wait_for_another_officer_than_their_author(cast: Cast) -> None:
    now = database_now()
    draft = draft_version("default", DEFAULT_V2_3 | {"version": "v9"}, actor=Actor("user", "officer"), now=now)
    begin_replay(draft, starts=now, days_back=1, asked_by="officer")
    requested_waiver(cast["officer"])
    assert kinds(cast, "officer") == []
    assert kinds(cast, "veteran") == [Kind.POLICY, Kind.POLICY]
    assert (waiting(cast["officer"]), waiting(cast["veteran"])) == (0, 2)
    assert kinds(cast, "auditor") == []


def test_a_ca_that_passed_its_test_waits_for_another_officer_than_who_added_it(cast: Cast) -> None:
    """It waited on its page alone, which nobody else had a reason to open."""
    CAAddition.objects.create(
        public_id="ca-1",
        kind="rest",
        name="Branch-CA",
        test_name="t.example.com",
        state="ready",
        began_by=cast["officer"],
        began_by_name="officer",
        created_at=database_now(),
    )
    assert (kinds(cast, "officer"), waiting(cast["officer"])) == ([], 0)
    assert (kinds(cast, "veteran"), waiting(cast["veteran"])) == ([Kind.CA], 1)
    assert kinds(cast, "auditor") == kinds(cast, "operator") == []
    CAAddition.objects.update(state="testing")
    assert kinds(cast, "veteran") == []


def test_more_rows_cost_no_more_queries(cast: Cast, make_spec: MakeSpec, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    for number in range(6):
        wildcard(cast, make_spec, f"*.a{number}.example.com")
        ask_for_domain(f"a{number}.example.net", why="x", requester=cast.requester("requester"))
        alert(AlertKind.CA_ENDS, f"ca:{number}")
    reader = Reader.of(cast["root"])
    with django_assert_max_num_queries(22):
        assert len(inbox_of(reader, teams=[], most=50, now=database_now()).matters) >= 18
    with django_assert_max_num_queries(1):
        assert count_waiting(reader) == 18


@pytest.mark.parametrize(
    ("kind", "cause", "url"),
    [
        (AlertKind.KEY_BLOCKED, "key:" + "ab" * 32, f"/certificates/?state=in_force&spki={'ab' * 32}"),
        (AlertKind.RENEWAL_FAILED, "certificate:cert-1", "/certificates/cert-1/"),
        (AlertKind.EXPIRING, "team:web", "/certificates/?state=due&team=web"),
        (AlertKind.EXPIRED, "team:web", "/certificates/?state=expired&team=web&replaced=no"),
        (AlertKind.CERTIFICATE_OF_ANOTHER, "req-1:x", "/requests/req-1/"),
        (AlertKind.REPORT_FAILED, "report:2026-48", "/reports/"),
        (AlertKind.CA_UNAVAILABLE, "ca:Internal", "/machinery/"),
        (AlertKind.SECRET_PASTED, "team:web", None),
    ],
)
def test_an_alert_leads_to_where_it_is_dealt_with(kind: AlertKind, cause: str, url: str | None) -> None:
    way = way_of(OperatorAlert(kind=kind, cause=cause))
    assert (way.url if way else None) == url


def test_members_find_a_certificate_whose_key_others_know(cast: Cast, make_spec: Callable[..., CertificateSpec]) -> None:
    """Home said that nothing waits, beside a certificate marked "key blocked"."""
    certificate = issued(make_spec("old.example.com"), cast.requester("requester"))
    alert(AlertKind.KEY_BLOCKED, f"key:{certificate.spki_sha256}")
    alert(AlertKind.KEY_BLOCKED, f"key:{'0' * 64}")
    teams = [certificate.team]
    (matter,) = inbox_of(Reader.of(cast["requester"]), teams=teams, most=50, now=database_now()).matters
    assert (matter.kind, matter.is_urgent) == (Kind.REPLACEMENT, True)
    assert matter.url == f"/certificates/{certificate.cert_id}/revoke/?reason=keyCompromise"
    Certificate.objects.update(status=Certificate.Status.REVOKED)
    assert inbox_of(Reader.of(cast["requester"]), teams=teams, most=50, now=database_now()).matters == ()


def test_members_find_what_has_expired_in_their_team_and_nothing_replaced(cast: Cast) -> None:
    team = cast.requester("requester").team
    found = alert(AlertKind.EXPIRED, f"team:{team.slug}")
    alert(AlertKind.EXPIRED, "team:another")
    (matter,) = inbox_of(Reader.of(cast["requester"]), teams=[team], most=50, now=database_now()).matters
    assert (matter.kind, matter.title, matter.is_urgent) == (Kind.EXPIRED, found.title, True)
    assert matter.url == f"/certificates/?state=expired&team={team.slug}&replaced=no"
    assert kinds(cast, "operator", [team]) == [Kind.ALERT, Kind.ALERT]


def test_certificate_that_the_policy_refuses_to_renew_waits_until_another_takes_its_place(cast: Cast, make_spec: MakeSpec) -> None:
    requester, now = cast.requester("requester"), database_now()
    old, other = (issued(make_spec(name), requester) for name in ("old.example.com", "other.example.com"))
    Certificate.objects.filter(pk__in=[old.pk, other.pk]).update(
        renewal_blocked=RenewalBlocked.POLICY,
        alert_at=now - timedelta(days=2),
        issued_at=now - timedelta(days=80),
        not_after=now + timedelta(days=9),
        owner=cast["requester"],
    )

    def named() -> list[str]:
        found = inbox_of(Reader.of(cast["requester"]), teams=[requester.team], most=50, now=now).matters
        return [one.title.partition(" ")[0] for one in found]

    assert sorted(named()) == ["old.example.com", "other.example.com"]
    issued(make_spec("old.example.com"), requester)
    assert named() == ["other.example.com"]


@pytest.mark.parametrize("blocked", [RenewalBlocked.NEEDS_CSR, RenewalBlocked.FAILED, RenewalBlocked.OFF, RenewalBlocked.APPROVAL])
def test_certificate_whose_names_have_a_newer_one_waits_for_nobody(cast: Cast, make_spec: MakeSpec, blocked: RenewalBlocked) -> None:
    requester, now = cast.requester("requester"), database_now()
    old = issued(make_spec("old.example.com"), requester)
    Certificate.objects.filter(pk=old.pk).update(
        renewal_blocked=blocked,
        alert_at=now - timedelta(days=2),
        issued_at=now - timedelta(days=80),
        not_after=now + timedelta(days=9),
    )
    assert kinds(cast, "requester", [requester.team]) == [Kind.RENEWAL]
    more = replace(make_spec("old.example.com"), dns_names=("old.example.com", "more.example.com"))
    issued(more, requester)  # more than its names is another content
    assert kinds(cast, "requester", [requester.team]) == [Kind.RENEWAL]
    newer = issued(make_spec("old.example.com"), requester)
    assert kinds(cast, "requester", [requester.team]) == []
    Certificate.objects.filter(pk=newer.pk).update(status=Certificate.Status.REVOKED)
    assert kinds(cast, "requester", [requester.team]) == [Kind.RENEWAL]


def test_badge_counts_every_line_but_those_about_certificates(cast: Cast, everything: CertificateRequest) -> None:
    """B: the badge said seven beside ten lines, and no page said why."""
    alert(AlertKind.EXPIRED, f"team:{cast.web.slug}")
    for name in ("officer", "operator", "approver", "root", "auditor"):
        for member in (False, True):
            if member:
                cast.web.members.add(cast[name])
            teams = teams_of(cast[name])
            found = inbox_of(Reader.of(cast[name]), teams=teams, most=50, now=database_now())
            assert waiting(cast[name]) == len(found.matters) - found.about_certificates, (name, member)


def test_badge_counts_questions_to_the_own_teams(cast: Cast, everything: CertificateRequest) -> None:
    everything.refresh_from_db()
    ask_back(everything, user=cast["approver"], question="Why?")
    before = waiting(cast["auditor"])
    cast.web.members.add(cast["auditor"])
    assert (before, waiting(cast["auditor"])) == (0, 1)
    assert kinds(cast, "auditor", teams_of(cast["auditor"])) == [Kind.QUESTION, Kind.RENEWAL]
