"""The kept figures: each is the length of its list, for each role, and stays so under change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from certs.inventory import CertificateFilter, CertificateState, filter_certificates
from certs.inventory.counting import NEEDS, Kind, figures_by_filter, filter_of, listed, mondays
from certs.inventory.figures import (
    by_team,
    count_states,
    count_when_due,
    figures_of,
    kept_of,
    kept_since,
    state_figures,
    wrong_figures,
)
from certs.models import Certificate, Figure, FigureCount, Team
from certs.reconciliation.figures import compare_figures
from certs.reconciliation.records.comparison import Comparison
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.certs.inventory.estate import Estate
from tests.certs.inventory.varied import varied

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

DAY = timedelta(days=1)


@pytest.fixture
def estate(twin_portal: Requester, make_spec: Callable[..., CertificateSpec]) -> Estate:
    return varied(twin_portal, make_spec("template.example.com"))


def test_each_figure_is_the_length_of_its_list_for_all_teams_and_for_each(estate: Estate) -> None:
    count_states()
    now, rows = database_now(), Certificate.objects.all()
    figures = figures_of(None)
    seen = set()
    for (kind, value), count in figures.counts.items():
        if kind == Kind.LIFE:
            continue
        sought = filter_of(Kind(kind), value, day=figures.day)
        assert filter_certificates(rows, sought, now=now).count() == count, sought
        assert sum(number for _, number in by_team(Kind(kind), value, teams=None)) == count
        for team, number in by_team(Kind(kind), value, teams=None):
            of_team = listed(Kind(kind), value, team=team.slug, day=figures.day)
            assert filter_certificates(rows, of_team, now=now).count() == number, of_team
        seen.add(kind)
    assert seen == {kind.value for kind in Kind} - {Kind.LIFE}
    assert {value for kind, value in figures.counts if kind == Kind.NEED} == {need.key for need in NEEDS} - {"not_installed"}
    assert wrong_figures() == []


def test_a_list_of_which_a_figure_is_kept_has_that_figure_for_everybody_and_for_one_team(estate: Estate) -> None:
    count_states()
    now, rows = database_now(), Certificate.objects.all()
    web = Team.objects.get(slug="web")
    complies = CertificateFilter(policy="passes")  # kept as what is in force but for what fails
    known = [*figures_by_filter(now.astimezone(UTC).date()), complies, CertificateFilter()]
    kept = 0
    for sought in known:
        for teams, one in ((None, sought), (None, replace(sought, team="web")), ({web.pk}, sought)):
            seen = rows if teams is None else rows.filter(team__in=teams)
            found = kept_of(one, teams, now=now)
            assert found in (None, filter_certificates(seen, one, now=now).count()), one
            kept += found is not None
    assert kept > len(known)
    for unknown in (CertificateFilter(owner="alice"), replace(complies, key="rsa")):
        assert kept_of(unknown, None, now=now) is None


def test_what_is_not_counted_is_not_in_the_lists_either(estate: Estate) -> None:
    count_states()
    figures, now = figures_of(None), database_now()
    for monday in mondays(figures.day):
        for renewal in ("itself", "by_hand", "blocked", "off"):
            sought = filter_of(Kind.WEEK, f"{monday} {renewal}", day=figures.day)
            found = filter_certificates(Certificate.objects.all(), sought, now=now).count()
            assert found == figures.count(Kind.WEEK, f"{monday} {renewal}")


def test_a_team_is_counted_for_those_who_see_it_and_for_nobody_else(estate: Estate) -> None:
    count_states()
    web, other = Team.objects.get(slug="web"), Team.objects.get(slug="other")
    assert figures_of([other.pk]).of(Kind.KEY) == {"ec-p256": 3, "rsa-2048": 1}
    assert figures_of([]).counts == {}
    whole, parts = figures_of(None), [figures_of([web.pk]), figures_of([other.pk])]
    both = figures_of([web.pk, other.pk])
    for key, count in whole.counts.items():
        if key[0] != Kind.LIFE:
            assert count == both.counts[key] == sum(part.counts.get(key, 0) for part in parts)
    assert state_figures([other.pk])[0][CertificateState.RENEWING] == 1
    assert [team.slug for team, _ in by_team(Kind.ACTIVE, teams=[other.pk])] == ["other"]


def test_a_figure_that_became_zero_is_gone(estate: Estate) -> None:
    count_states()
    assert figures_of(None).count(Kind.KEY, "rsa-2048") == 1
    Certificate.objects.filter(key_type="rsa-2048").update(key_type="ec-p384")
    count_states()
    assert figures_of(None).of(Kind.KEY)["ec-p384"] == 1
    assert figures_of(None).count(Kind.KEY, "rsa-2048") == 0
    assert not Figure.objects.filter(value="rsa-2048").exists()


def test_figures_written_by_sql_are_put_right_by_the_next_count(estate: Estate) -> None:
    count_states()
    Figure.objects.filter(kind=Kind.ACTIVE, team__isnull=True).update(count=9999)
    Figure.objects.create(kind=Kind.NEED, value="invented", count=3)
    assert {one.name for one in wrong_figures()} == {"active", "need invented"}
    count_states()
    assert wrong_figures() == []
    assert figures_of(None).count(Kind.ACTIVE) < 9999


def test_an_older_count_that_ends_last_changes_nothing(estate: Estate) -> None:
    """Two counts at once: the later one stays, whichever ends last."""
    count_states()
    later = database_now() + timedelta(minutes=5)
    FigureCount.objects.update(counted_at=later)
    Certificate.objects.filter(key_type="rsa-2048").update(key_type="ec-p384")
    count_states()
    assert figures_of(None).counted_at == later
    assert figures_of(None).count(Kind.KEY, "rsa-2048") == 1


def test_a_count_that_took_long_is_not_repeated_at_once(estate: Estate) -> None:
    assert count_when_due() > 0
    FigureCount.objects.update(seconds=10)
    assert count_when_due() == 0
    FigureCount.objects.update(seconds=10, counted_at=database_now() - timedelta(seconds=501))
    assert count_when_due() > 0


def test_figures_agree_with_each_other_while_certificates_change(estate: Estate, twin_portal: Requester) -> None:
    """A reader never sees parts of two counts, and the last count is that of the inventory."""
    count_states()
    before = figures_of(None).count(Kind.ACTIVE)
    stop, changed, wrong = threading.Event(), threading.Event(), list[Any]()

    def change() -> None:
        number = 0
        while not stop.is_set():
            more = Estate(estate.template, begin=1000 + 10 * number)
            for one in range(5):
                more.add(not_after=database_now() + (20 + one) * DAY, renewal_blocked="policy" if one % 2 else "")
            more.save()
            Certificate.objects.filter(key_type="ec-p384").update(key_type="ec-p256")
            Certificate.objects.filter(pk=more.certificates[0].pk).update(key_type="ec-p384")
            number += 1
            changed.set()
        connection.close()

    def read() -> None:
        while not stop.is_set():
            figures = figures_of(None)
            sums = {kind: sum(figures.of(kind).values()) for kind in (Kind.ACTIVE, Kind.KEY, Kind.ISSUER, Kind.RENEWAL)}
            if len(set(sums.values())) != 1:
                wrong.append(sums)
        connection.close()

    threads = [threading.Thread(target=one) for one in (change, read)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        count_states()
    assert changed.wait(30)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    count_states()
    assert wrong_figures() == []
    assert figures_of(None).count(Kind.ACTIVE) > before


def test_reading_costs_two_queries_whatever_was_counted(estate: Estate) -> None:
    count_states()
    with CaptureQueriesContext(connection) as queries:
        figures_of(None)
    assert len(queries) == 2


def test_verify_states_names_a_figure_that_is_not_its_list(estate: Estate) -> None:
    count_states()
    Figure.objects.filter(kind=Kind.KEY, value="ec-p256", team__isnull=True).update(count=7000)
    comparison = Comparison()
    compare_figures(comparison)
    (found,) = comparison.problems
    assert (found.kind, found.name) == ("figure", "key ec-p256")
    assert "7000" in found.problem


def test_before_the_first_count_there_is_nothing(twin_portal: Requester) -> None:
    assert state_figures() == ({}, None)
    assert figures_of(None).day == database_now().astimezone(UTC).date()


def test_a_figure_says_since_when_it_is_not_zero(estate: Estate) -> None:
    """How long certificates have been without an owner: nobody writes down when the last one left."""
    count_states()
    since = kept_since(Kind.NEED, "no_owner")[1]
    assert since is not None
    assert since == FigureCount.objects.get().counted_at
    without = filter_certificates(Certificate.objects.all(), filter_of(Kind.NEED, "no_owner", day=since.date()), now=since)
    one = without.order_by("pk")[0]
    member = one.team.members.create(username="owner")
    Certificate.objects.filter(pk=one.pk).update(owner=member)
    count_states()
    assert kept_since(Kind.NEED, "no_owner")[1] == since
    Certificate.objects.update(owner=member)
    for team in Team.objects.all():
        team.members.add(member)
    count_states()
    assert kept_since(Kind.NEED, "no_owner")[1] is None
    Certificate.objects.update(owner=None)
    count_states()
    again = kept_since(Kind.NEED, "no_owner")[1]
    assert again is not None
    assert again > since
