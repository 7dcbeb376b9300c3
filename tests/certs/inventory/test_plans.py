"""Plans of PostgreSQL that keep pages of the inventory cheap, by EXPLAIN."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet

from certs.inventory import CertificateFilter
from certs.inventory.filters import without_text
from certs.models import Certificate
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.counting import plan_of
from tests.certs.inventory.estate import Estate
from tests.certs.life import issued

pytestmark = [pytest.mark.django_db(transaction=True)]
DAY = timedelta(days=1)
MANY, LONG = 400, 8


@pytest.fixture
def lives(twin_portal: Requester, make_spec: Callable[..., CertificateSpec]) -> list[Certificate]:
    """Certificates that live 90 days, and a few that live longer."""
    template, now = issued(make_spec("zz.example.com"), twin_portal), datetime.now(UTC)
    made = Estate(template)
    for number in range(MANY):
        life = 398 if number % (MANY // LONG) == 0 else 90
        made.add(name=f"n{number}.example.com", not_before=now - DAY, not_after=now + (life - 1) * DAY)
    made.save()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE certs_certificate")
    return made.certificates


def plan(rows: QuerySet[Any]) -> str:
    """Return the plan where no table is read from its beginning to its end: the rows are as few as no inventory has."""
    with connection.cursor() as cursor:
        for name in ("enable_seqscan", "enable_bitmapscan"):
            cursor.execute(f"SET {name} = off")
        try:
            return rows.explain()
        finally:
            cursor.execute("RESET enable_seqscan; RESET enable_bitmapscan")


def long_lives(days: int) -> QuerySet[Certificate]:
    return without_text(Certificate.objects.all(), CertificateFilter(longer_than=days), now=datetime.now(UTC))


def test_postgresql_knows_how_many_certificates_live_longer(lives: list[Certificate]) -> None:
    """Of a comparison of two columns it expects a third of all, and then reads in the order of the end for the few."""
    assert LONG / 2 <= plan_of(long_lives(200)).rows <= 2 * LONG
    assert plan_of(long_lives(47)).rows >= MANY * 0.9
    assert long_lives(200).count() == LONG


@pytest.mark.parametrize("order", [(), ("not_after", "pk")])
def test_how_long_a_certificate_of_a_team_lives_is_compared_without_its_row(lives: list[Certificate], order: tuple[str, ...]) -> None:
    rows = long_lives(200).filter(team__in=[lives[0].team_id], status="good").order_by(*order).values("pk")
    assert "Index Only Scan using certificate_ends" in plan(rows)
