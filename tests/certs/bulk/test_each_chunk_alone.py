"""One bulk chunk or order that cannot be ended stops no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from django.db import connection

from certs.access.permissions import Authority
from certs.bulk import dispatch
from certs.bulk.submit import submit_order
from certs.models import BulkChunk, BulkOrder, OperatorAlert
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from tests.certs.bulk.orders import drafted, issue_lines

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
POSTGRES_REFUSES = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE 'row refused'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON {table} FOR EACH ROW WHEN (NEW.id = {pk})
EXECUTE FUNCTION refuse()
"""
SQLITE_REFUSES = """
CREATE TRIGGER refuse BEFORE UPDATE ON {table} WHEN NEW.id = {pk}
BEGIN SELECT RAISE(ABORT, 'row refused'); END
"""
REFUSE = {"postgresql": (POSTGRES_REFUSES,), "sqlite": (SQLITE_REFUSES,)}
ALLOW = {
    "postgresql": ("DROP TRIGGER IF EXISTS refuse ON {table}", "DROP FUNCTION IF EXISTS refuse"),
    "sqlite": ("DROP TRIGGER IF EXISTS refuse",),
}


def run(statements: Mapping[str, tuple[str, ...]], table: str, pk: int = 0) -> None:
    with connection.cursor() as cursor:
        for statement in statements[connection.vendor]:
            cursor.execute(statement.format(table=table, pk=pk))


@pytest.fixture
def refuse_updates() -> Iterator[Callable[[BulkChunk | BulkOrder], None]]:
    """The database refuses to change one row, as it does for a fault that nobody foresaw."""
    tables: list[str] = []

    def refuse(row: BulkChunk | BulkOrder) -> None:
        tables.append(row._meta.db_table)
        run(REFUSE, tables[-1], row.pk)

    yield refuse
    for table in tables:
        run(ALLOW, table)


def order_of(names: str, make_spec: Callable[..., CertificateSpec], who: Requester) -> BulkOrder:
    specs = [make_spec(f"{name}.example.com") for name in names]
    return submit_order(drafted(specs, who), authority=Authority(who.actor))


def issue_chunks() -> list[BulkChunk]:
    """All lines get their certificates, and the messages that close their chunks are lost."""
    dispatch.dispatch()
    queued = list(BulkChunk.objects.filter(state="queued").order_by("pk"))
    for chunk in queued:
        issue_lines(chunk)
    return queued


def failures() -> list[str]:
    return list(OperatorAlert.objects.filter(kind="sweep_failed", closed_at=None).values_list("message", flat=True))


def test_chunk_that_cannot_be_closed_stops_no_other(
    twin_portal: Requester,
    make_spec: Callable[..., CertificateSpec],
    refuse_updates: Callable[[BulkChunk | BulkOrder], None],
    settings: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.PKI_BULK_CHUNK = 1
    order = order_of("abc", make_spec, twin_portal)
    bad, *others = issue_chunks()
    refuse_updates(bad)
    caplog.clear()
    assert dispatch.close_chunks() == len(others) == 2
    assert [r.getMessage() for r in caplog.records] == [f"closing bulk chunk {bad.pk} failed"]
    assert failures()[0].startswith(f"closing bulk chunk: 1 failed, first {bad.pk}: ")
    assert dispatch.close_chunks() == 0
    assert OperatorAlert.objects.get(kind="sweep_failed").occurrences == 2
    run(ALLOW, "certs_bulkchunk")
    assert dispatch.close_chunks() == 1
    order.refresh_from_db()
    assert (order.state, failures()) == ("done", [])


def test_order_that_cannot_be_finished_stops_no_other(
    twin_portal: Requester,
    make_spec: Callable[..., CertificateSpec],
    refuse_updates: Callable[[BulkChunk | BulkOrder], None],
) -> None:
    bad, good = (order_of(names, make_spec, twin_portal) for names in ("a", "b"))
    issue_chunks()
    refuse_updates(bad)
    assert dispatch.close_chunks() == 2
    states = dict(BulkOrder.objects.values_list("pk", "state"))
    assert (states[bad.pk], states[good.pk]) == ("running", "done")
    assert failures()[0].startswith(f"finishing bulk order: 1 failed, first {bad.pk}: ")
