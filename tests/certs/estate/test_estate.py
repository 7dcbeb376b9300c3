"""The estate page: every number is the length of the list to which it leads, for each role."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext

from certs.estate.compliance import judge_day, judge_when_due, line_of
from certs.inventory import CertificateFilter, search_certificates
from certs.inventory.figures import count_states
from certs.inventory.filters import Compliance, StateGroup
from certs.models import Certificate, ComplianceDay, OperatorAlert, PolicyVerdict, ScheduledJob, Team, VerdictRun
from certs.reports.facts import compute
from certs.reports.verdicts import complete_run, keep_verdicts
from certs.reports.weeks import Week
from certs.requests.submit import Requester
from certs.schedules.setup import ensure_schedules
from certs.spec import CertificateSpec
from db.clock import database_now
from policy.waivers.deciding import approve_waiver, request_waiver
from tests.cast import person
from tests.certs.inventory.estate import Estate
from tests.certs.inventory.varied import varied
from tests.certs.life import new_policy
from tests.portal.fixtures import SYSTEM

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

DAY = timedelta(days=1)
# A count that is a link, as tiles, tables and sentences write it.
_TILE = re.compile(r'<a href="([^"]+)"[^>]*><span class="figure-value">([\d,]+)</span>')
_CELL = re.compile(r'<a href="(/certificates/\?[^"]+)">([\d,]+)(?: certificates?(?: in use)?)?</a>')
_WHOSE = re.compile(r'<a href="([^"]+)">[^<]+<strong>([\d,]+)</strong></a>')
_BAR = re.compile(r'<a href="([^"]+)" tabindex="-1"><rect [^>]*><title>[^<]*: ([\d,]+) ')


@pytest.fixture
def estate(twin_portal: Requester, make_spec: Callable[..., CertificateSpec]) -> Estate:
    made = varied(twin_portal, make_spec("template.example.com"))
    count_states()
    return made


def opened(user: Any, path: str = "/estate/") -> str:
    client = Client()
    client.force_login(user)
    response = client.get(path)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def numbers(text: str) -> list[tuple[str, int]]:
    found = [pair for pattern in (_TILE, _CELL, _WHOSE, _BAR) for pair in pattern.findall(text)]
    return [(unescape(url), int(count.replace(",", ""))) for url, count in found if url.startswith("/certificates/")]


def check_numbers(user: Any, text: str) -> int:
    """Compare each number with its list, as that person sees it. Returns how many numbers there were."""
    pairs = numbers(text)
    now = database_now()
    for url, count in pairs:
        sought = CertificateFilter.from_query(QueryDict(url.partition("?")[2]))
        assert search_certificates(user, sought, now=now).count() == count, url
    return len(pairs)


@pytest.mark.parametrize("role", ["auditor", "security officer", "operator", "approver"])
@pytest.mark.parametrize("path", ["/estate/", "/estate/readiness/"])
def test_every_number_is_the_length_of_its_list(estate: Estate, role: str, path: str) -> None:
    user = person("audra", role)
    assert check_numbers(user, opened(user, path)) > 8


@pytest.mark.parametrize("path", ["/estate/", "/estate/readiness/"])
def test_a_requester_sees_the_numbers_of_own_teams_only(estate: Estate, path: str) -> None:
    """ILM core PR 1148: statistics leaked what lists did not show."""
    olga = person("olga", team=Team.objects.get(slug="other"))
    text = opened(olga, path)
    assert check_numbers(olga, text) > 3
    assert "web" not in {one.lower() for one in re.findall(r"<strong>([^<]+)</strong>", text)}
    assert "Machinery" not in re.findall(r"<h2[^>]*>([^<]+)</h2>", text)
    assert "Keys of the CAs" not in text


def test_an_account_without_team_and_role_has_no_estate(estate: Estate) -> None:
    client = Client()
    client.force_login(person("dora"))
    for path in ("/estate/", "/estate/readiness/"):
        assert client.get(path).status_code == 404
        assert Client().get(path).status_code == 302


def test_what_ends_and_is_not_renewed_is_on_the_page_with_team_owner_and_one_action(estate: Estate) -> None:
    """S1: one page view answers what ends in 30 days, will not renew itself, and whose it is."""
    text = opened(person("audra", "auditor"))
    rows = re.findall(r"<tr>(.*?)</tr>", text[: text.index("What ends, and how")])[1:]
    assert len(rows) == 6
    ids = [re.search(r"/certificates/(cert-[^/]+)/", row) for row in rows]
    found = Certificate.objects.in_bulk([match[1] for match in ids if match], field_name="cert_id")
    assert len(found) == 6
    ends = [found[match[1]].not_after for match in ids if match]
    assert ends == sorted(ends)
    now = database_now()
    assert all(end < now + 31 * DAY for end in ends)
    actions = [re.findall(r'class="btn[^>]*>([^<]+)<', row) for row in rows]
    assert all(len(one) == 1 for one in actions)
    assert ["Renew, or let it end"] in actions
    assert ["Renew with a new CSR"] in actions
    assert sum("alice" in row for row in rows) == 5
    assert sum("no owner" in row for row in rows) == 1  # the one whose renewal is switched off
    assert "Switched off: ends" in text


def test_long_and_hostile_texts_stay_texts(estate: Estate) -> None:
    name = "a" * 63 + "." + "b" * 63 + "." + "c" * 63 + ".example.com"
    Team.objects.filter(slug="web").update(name="<script>alert(1)</script>" + "W" * 90)
    Certificate.objects.exclude(renewal_off_reason="").update(common_name=name, renewal_off_reason="<b>" + "x" * 290)
    text = opened(person("audra", "auditor"))
    assert "<script>alert" not in text
    assert "<b>x" not in text
    assert name in text


def test_queries_do_not_grow_with_the_inventory(estate: Estate) -> None:
    audra = person("audra", "auditor")

    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            opened(audra, path)
        return len(captured)

    before = [queries(path) for path in ("/estate/", "/estate/readiness/")]
    more = Estate(estate.template, begin=500)
    for number in range(60):
        team = Team.objects.create(slug=f"t{number}", name=f"Team {number}")
        more.add(not_after=database_now() + number * DAY, renewal_blocked="policy", team=team)
    more.save()
    count_states()
    estate_page, readiness_page = [queries(path) for path in ("/estate/", "/estate/readiness/")]
    assert estate_page <= before[0] + 1  # the list is longer than the page: its teams are read from the figures
    assert readiness_page == before[1]


def test_nothing_is_counted_by_the_page(estate: Estate) -> None:
    with CaptureQueriesContext(connection) as captured:
        opened(person("audra", "auditor"))
    counting = [one["sql"] for one in captured if "COUNT(" in one["sql"] and 'FROM "certs_certificate" ' in one["sql"]]
    assert counting == []


def test_an_empty_portal_says_what_to_do(twin_portal: Requester) -> None:
    audra = person("audra", "auditor")
    assert "Nothing has been counted yet." in opened(audra)
    count_states()
    text = opened(audra)
    assert "Everything that ends within 30 days renews automatically." in text
    assert "No certificate is in use." in text
    assert "No certificate is in use." in opened(audra, "/estate/readiness/")


def test_a_missed_night_is_named_in_red(estate: Estate) -> None:
    """B15: weeks without night runs left no trace."""
    now = database_now()
    ensure_schedules(actor=SYSTEM, now=now - 9 * DAY)
    audra = person("audra", "auditor")
    text = opened(audra)
    assert "The expiry check has not run yet." in text
    ran = now - 3 * DAY
    jobs = ScheduledJob.objects.filter(task="certs.tasks.check_expiry")
    jobs.update(started_at=ran, finished_at=ran, started_period=ran, sent_period=ran, done_until=ran, result="succeeded")
    text = opened(audra)
    assert 'class="answer is-bad">The expiry check was missed' in text
    jobs.update(done_until=now, sent_period=now, started_period=now, started_at=now, finished_at=now, missed=3, missed_at=now)
    text = opened(audra)
    assert "The expiry check ran" in text
    assert "3 nights missed" in text


def test_the_machinery_is_what_the_open_alerts_say(estate: Estate) -> None:
    audra, now = person("audra", "auditor"), database_now()

    def row() -> dict[str, str]:
        text = opened(audra)
        tile = r'<li><a href="([^"]+)"(?: class="is-bad")?><span class="figure-label">([^<]+)</span><span>(.*?)</span></a>'
        found = re.findall(tile, text)
        return {name: f"{url} {' '.join(re.sub('<[^>]+>', '', words).split())}" for url, name, words in found}

    well = row()
    assert list(well) == ["CAs", "CRLs", "OCSP", "Queues", "Schedules", "Audit log", "Mails"]
    assert well["Schedules"] == "/machinery/ all ran"
    for kind, cause, age in (
        ("job_missed", "job:night", 2),
        ("beat_dead", "beat", 3),
        ("ca_stopped", "ca:Old-CA", 4),
        ("expiring", "team:web", 5),
    ):
        at = now - age * DAY
        OperatorAlert.objects.create(kind=kind, cause=cause, message="m", next_step="n", raised_at=at, last_seen_at=now)
    ill = row()
    assert ill["Schedules"] == "/alerts/ ! Needs attention: beat is silent, and 1 more, 3 days ago"
    assert ill["CAs"] == "/alerts/ ! Needs attention: Old-CA: stopped, 4 days ago"
    assert [name for name in well if ill[name] != well[name]] == ["CAs", "Schedules"]
    OperatorAlert.objects.update(closed_at=now)
    assert row() == well


def test_auditor_comes_home_to_the_estate_and_others_do_not(estate: Estate) -> None:
    client = Client()
    client.force_login(person("audra", "auditor"))
    assert client.get("/")["Location"] == "/estate/"
    for role in ("approver", "security officer", "operator"):
        client.force_login(person(f"a-{role.partition(' ')[0]}", role))
        assert client.get("/").status_code == 200
    both = person("both", "auditor", team=Team.objects.get(slug="web"))
    client.force_login(both)
    assert client.get("/").status_code == 200


# --- compliance ---


def test_compliance_is_kept_by_team_and_adds_up(estate: Estate) -> None:
    failing = judge_day()
    rows = {row.team.slug if row.team else "": row for row in ComplianceDay.objects.select_related("team")}
    assert rows[""].failing == failing == rows["web"].failing + rows["other"].failing
    assert rows[""].active == rows["web"].active + rows["other"].active
    assert rows["other"].failing >= 1  # on RSA 2048
    now = database_now()
    other = line_of([Team.objects.get(slug="other").pk], now=now)
    assert (other.newest and other.newest.failing) == rows["other"].failing
    whole = line_of(None, now=now)
    assert (whole.newest and whole.newest.active) == rows[""].active
    text = opened(person("olga", team=Team.objects.get(slug="other")))
    assert f"{rows['other'].failing} of {rows['other'].active} certificates would be refused" in text


def refused(user: Any, team: str = "") -> int:
    """Return how many active certificates the inventory lists as outside the policy."""
    sought = CertificateFilter(state=StateGroup.ACTIVE.value, policy=Compliance.FAILS.value, team=team)
    return search_certificates(user, sought, now=database_now()).count()


def test_line_of_compliance_the_list_and_the_report_say_the_same_under_a_waiver(estate: Estate) -> None:
    web = Team.objects.get(slug="web")  # which owns the names
    Certificate.objects.filter(key_type="rsa-2048").update(team=web)
    now, officer = database_now(), person("sec", "security officer", email="sec@example.org")
    waiver = request_waiver(
        "default",
        rule="allowed_keys",
        params={"rsa": {"min_bits": 2048}, "ec": [256]},
        names=[],
        teams=["web"],
        reason="The appliance cannot do more until its replacement.",
        begins=now - timedelta(minutes=1),
        ends=now + 30 * DAY,
        user=officer,
        now=now,
    )
    before = judge_day()
    assert before == refused(officer)
    second = person("second", "security officer", email="second@example.org")
    approve_waiver(waiver, user=second, now=database_now())
    VerdictRun.objects.update(begun_at=now - DAY)
    after = judge_day()
    assert after == before - 1  # the one on RSA 2048
    reported = compute(Week.of(now), now=database_now()).facts["compliance"]
    whole = ComplianceDay.objects.get(team=None)
    assert (whole.failing, whole.active) == (reported["fails"], reported["total"]) == (refused(officer), reported["total"])


def test_one_pass_over_the_inventory_judges_for_the_lists_and_for_the_line(estate: Estate) -> None:
    keep_verdicts()
    of_web = Certificate.objects.filter(team__slug="web", status="good", not_after__gt=database_now() + DAY)
    complies = of_web.filter(verdict=None, renewals=None).order_by("pk")[0]
    before = judge_day()
    PolicyVerdict.objects.create(certificate=complies, rules=" allowed_keys ")  # which judging again would not find
    assert judge_day() == before + 1
    VerdictRun.objects.update(begun_at=database_now() - DAY)
    assert judge_day() == before


def test_line_counts_only_a_complete_run_of_today_under_the_version_in_force(estate: Estate) -> None:
    assert complete_run(database_now()) is None
    keep_verdicts()
    assert complete_run(database_now()) is not None
    assert complete_run(database_now() + DAY) is None
    for changed in ({"complete_at": None}, {"policy_digest": "0" * 64}):
        VerdictRun.objects.update(complete_at=database_now())
        VerdictRun.objects.update(**changed)
        assert complete_run(database_now()) is None


def test_a_day_is_judged_once_and_again_under_another_version(estate: Estate) -> None:
    assert judge_when_due() > 0
    assert judge_when_due() == 0
    ComplianceDay.objects.update(policy_version="v0")
    assert judge_when_due() > 0
    today = database_now().astimezone(UTC).date()
    assert ComplianceDay.objects.filter(day=today, team__isnull=True).count() == 1


def test_days_without_a_judgement_are_gaps(estate: Estate) -> None:
    today = database_now().astimezone(UTC).date()
    for back in (10, 9, 8, 3, 2):
        day = today - timedelta(days=back)
        ComplianceDay.objects.create(day=day, policy_version="v1", active=10, failing=back)
    ComplianceDay.objects.create(day=today - timedelta(days=200), policy_version="v0", active=10, failing=9)
    line = line_of(None, now=database_now())
    assert [point.percent for point in line.points] == [0.0, 10.0, 20.0, 70.0, 80.0]
    text = opened(person("audra", "auditor"))
    assert text.count('<polyline class="line-compliance"') == 2


def test_the_mark_of_a_version_that_began_today_is_not_cut_off(estate: Estate) -> None:
    """It stood right of its line, outside of the picture: only its first letter was seen."""
    new_policy("v3.7")
    text = opened(person("audra", "auditor"))
    assert re.search(r'dx="-4" text-anchor="end" dy="8">v3.7<', text)


# --- readiness ---


def test_readiness_names_teams_that_are_not_automated_and_what_is_shortened(estate: Estate) -> None:
    text = opened(person("audra", "auditor"), "/estate/readiness/")
    assert "from 15 Mar 2027" in text
    assert "in force since 15 Mar 2026" in text
    assert "longer_than=47" in text
    assert "Who is not automated" in text
    assert "tried in this process: makes a key, signs and verifies" in text
    assert "makes no such keys" in text
