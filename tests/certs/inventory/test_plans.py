"""Plans of PostgreSQL that keep pages of the inventory cheap, by EXPLAIN."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Count, Max, QuerySet, Sum

from certs.inventory import CertificateFilter, active
from certs.inventory.filters import without_text
from certs.models import Certificate
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.counting import plan_of
from tests.cast import person
from tests.certs.inventory.estate import Estate, analyzed
from tests.certs.life import issued

pytestmark = [pytest.mark.django_db(transaction=True)]
DAY = timedelta(days=1)
MANY, LONG = 400, 8


@pytest.fixture
def lives(twin_portal: Requester, make_spec: Callable[..., CertificateSpec]) -> Iterator[list[Certificate]]:
    """Certificates that live 90 days, and a few that live longer."""
    template, now = issued(make_spec("zz.example.com"), twin_portal), datetime.now(UTC)
    made, owner = Estate(template), person("ann")
    for number in range(MANY):
        life = 398 if number % (MANY // LONG) == 0 else 90
        made.add(name=f"n{number}.example.com", owner=owner, not_before=now - DAY, not_after=now + (life - 1) * DAY)
    made.save()
    with analyzed(Certificate):
        yield made.certificates


def plan(rows: QuerySet[Any], *without: str) -> str:
    """Return the plan where no table is read from its beginning to its end: the rows are as few as no inventory has."""
    off = ("enable_seqscan", "enable_bitmapscan", *without)
    with connection.cursor() as cursor:
        for name in off:
            cursor.execute(f"SET {name} = off")
        try:
            return rows.explain()
        finally:
            for name in off:
                cursor.execute(f"RESET {name}")


def long_lives(days: int) -> QuerySet[Certificate]:
    return without_text(Certificate.objects.all(), CertificateFilter(longer_than=days), now=datetime.now(UTC))


def test_postgresql_knows_how_many_certificates_live_longer(lives: list[Certificate]) -> None:
    """Of a comparison of two columns it expects a third of all, and then reads in the order of the end for the few."""
    assert LONG / 2 <= plan_of(long_lives(200)).rows <= 2 * LONG
    assert plan_of(long_lives(47)).rows >= MANY * 0.9
    assert long_lives(200).count() == LONG


@pytest.mark.parametrize("order", [(), ("not_after", "pk")])
def test_what_filters_compare_most_is_read_from_the_index_of_ends_without_a_row(lives: list[Certificate], order: tuple[str, ...]) -> None:
    columns = ("pk", "team", "issuer", "key_type", "request", "alert_at", "not_before", "issued_at")
    rows = Certificate.objects.filter(status="good", not_after__gte=datetime.now(UTC)).order_by(*order).values(*columns)
    assert "Index Only Scan using certificate_ends" in plan(rows)


@pytest.mark.parametrize(
    ("sought", "index"),
    [
        (CertificateFilter(longer_than=200), "certificate_life"),
        (CertificateFilter(longer_than=47, issued_after=date(2031, 1, 1)), "certificate_issued"),
        (CertificateFilter(issued_before=date(2020, 1, 1)), "certificate_issued"),
        (CertificateFilter(profile="code-signing"), "certificate_rare_profile"),
        (CertificateFilter(state="being_revoked"), "certificate_not_good"),
        (CertificateFilter(status="revocation_pending"), "certificate_not_good"),
    ],
)
def test_what_hardly_any_certificate_meets_has_an_index(lives: list[Certificate], sought: CertificateFilter, index: str) -> None:
    """Without one all were read, to find that there is none."""
    rows = without_text(Certificate.objects.all(), sought, now=datetime.now(UTC))
    assert f"using {index} " in plan(rows.order_by().values("pk"))


def test_what_a_person_owns_is_summed_from_an_index(lives: list[Certificate]) -> None:
    """The page that hands over 80,000 certificates read the row of each."""
    owned = active(Certificate.objects.filter(owner=lives[0].owner), now=datetime.now(UTC)).order_by()
    by_team = owned.values_list("team").annotate(Count("pk"), Sum("pk"), Max("pk"))
    found = plan(by_team, "enable_hashjoin", "enable_mergejoin")
    assert "Index Only Scan using certificate_owner_ends" in found, found


def test_whether_a_certificate_is_served_is_looked_up_for_each_in_the_order_of_the_list(lives: list[Certificate]) -> None:
    """Without an index of the certificates that places serve, all rows were joined and sorted for a page."""
    rows = without_text(Certificate.objects.all(), CertificateFilter(served="no"), now=datetime.now(UTC))
    first = plan(rows.filter(status="good").order_by("not_after", "pk").values("pk")[:26], "enable_hashjoin", "enable_mergejoin")
    assert "place_served" in first
    assert "Index Only Scan using certificate_ends" in first
