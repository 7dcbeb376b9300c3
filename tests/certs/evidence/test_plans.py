"""No search reads the whole log: every plan of PostgreSQL begins at an index, whatever is looked for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from audit.models import AuditEvent
from certs.evidence.events import PAGE, Period, Place, Selection, statement_of
from certs.evidence.kinds import EventKind, types_of
from certs.evidence.subjects import Source

pytestmark = [pytest.mark.django_db]
EVENTS = 60_000
BEGIN = datetime(2027, 1, 1, tzinfo=UTC)
# Of what a log consists: the portal's own work, and now and then a person.
FILL = f"""
INSERT INTO audit_event (event, subject, subject_seq, actor_kind, actor_name, at, data)
SELECT CASE WHEN n %% 5000 = 0 THEN 'policy:published' WHEN n %% 9 = 0 THEN 'request:submitted' ELSE 'certificate:issued' END,
  'request:req-' || (n / 8), n %% 8 + 1, 'system', CASE WHEN n %% 700 = 0 THEN 'ann' ELSE 'worker' END,
  %s + n * interval '1 second', '{{}}'
FROM generate_series(1, {EVENTS}) AS n
"""
MIDDLE: Place = (BEGIN + timedelta(seconds=EVENTS // 2), 10**9)
PLACES: dict[str, Place | None] = {"newest page": None, "page in the middle": MIDDLE}
SELECTIONS = {
    "whole log": Selection(None),
    "one day in the past": Selection(None, (), Period(BEGIN, BEGIN + timedelta(hours=1))),
    "rare kind": Selection(None, types_of((EventKind.POLICY,))),
    "every kind": Selection(None, types_of(tuple(EventKind))),
    "certificate": Selection((Source(subjects=tuple(f"request:req-{n}" for n in range(100, 103))),)),
    "certificate, one kind": Selection((Source(subjects=("request:req-7",)),), types_of((EventKind.REQUESTS,))),
    "person": Selection((Source(subjects=("user:ann",)), Source(actor="ann"))),
    "person of another kind": Selection((Source(actor="ann"),), types_of((EventKind.SIGN_IN,))),
    "nobody": Selection((Source(actor="nobody"), Source(subjects=("request:req-none",)))),
    "event": Selection((Source(number=17),)),
}


@pytest.fixture
def _log(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(FILL, [BEGIN])
        cursor.execute("ANALYZE audit_event")


def nodes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes_of(child))]


@pytest.mark.usefixtures("_log")
def test_no_search_reads_more_than_some_pages_of_an_index() -> None:
    wrong = []
    for what, selection in SELECTIONS.items():
        for where, place in PLACES.items():
            for newer in (False, True) if place else (False,):
                statement = statement_of(selection, place, PAGE + 1, newer=newer)
                assert statement is not None
                with connection.cursor() as cursor:
                    cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement[0]}", statement[1])
                    found = cursor.fetchone()[0]
                (plan,) = json.loads(found) if isinstance(found, str) else found
                for node in nodes_of(plan["Plan"]):
                    read = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
                    if node["Node Type"] == "Seq Scan" or read > 3000:
                        wrong.append((what, where, newer, node["Node Type"], read))
    assert wrong == []
    assert AuditEvent.objects.count() >= EVENTS
