"""What the inventory says of a serial number now. Asked before every answer, also before one that is kept (PROTOCOLS 9).

On PostgreSQL each thread has a connection of its own with two prepared statements: five times the rate of the ORM, and no
transaction is ever open on it. On SQLite, and inside a test's transaction, Django's connection serves.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from django.db import connection

from audit.clock import database_now
from audit.vendor import on_postgresql
from certs.models import Certificate, IssuanceIntent
from certs.x509.ocsp import GOOD, UNKNOWN, Status

_RECORDED = (
    "SELECT c.status, c.status_version, r.requested_at, r.reason FROM certs_certificate c"
    " LEFT JOIN certs_revocation r ON r.certificate_id = c.id WHERE c.issuer_id = {} AND c.serial_number = {}"
)
_INTENDED = "SELECT state, 0, revoked_at, revocation_reason FROM certs_issuanceintent WHERE issuer_id = {} AND serial_number = {}"
_STATEMENTS = {b"ocsp_recorded": _RECORDED, b"ocsp_intended": _INTENDED}
_CLOCK_EVERY = 60.0  # seconds
_EPOCH = "CAST(floor(extract(epoch FROM {})) AS bigint)"  # cut off, as in CRLs, not rounded


@dataclass(frozen=True, slots=True)
class Found:
    """A status, and what tells whether it is still the same: the row's words and version."""

    status: Status
    version: tuple[str, ...]


NOT_ISSUED = Found(UNKNOWN, ())
Row = tuple[str, ...]


def look_up(issuer_id: int, serial: str) -> Found:
    """Raises psycopg.Error or django.db.Error when the database does not answer.

    A serial that an intent names but nobody signed yet is unknown; an abandoned one is revoked; one never heard of is unknown, never good.
    """
    row = _ask(b"ocsp_recorded", issuer_id, serial)
    if row is not None:
        return Found(_status(row, good=row[0] not in Certificate.SAYS_REVOKED), ("certificate", *row))
    row = _ask(b"ocsp_intended", issuer_id, serial)
    if row is None:
        return NOT_ISSUED
    if row[0] == IssuanceIntent.State.INTENDED and not row[2]:  # a late answer for it may have been revoked all the same
        return Found(UNKNOWN, ("intent", *row))
    return Found(_status(row, good=row[0] == IssuanceIntent.State.SIGNED and not row[2]), ("intent", *row))


def _status(row: Row, *, good: bool) -> Status:
    if good:
        return GOOD
    if not row[2]:
        raise LookupError("a certificate is revoked, but no revocation is on record")
    return Status("revoked", datetime.fromtimestamp(int(row[2]), UTC), row[3])


def _ask(statement: bytes, issuer_id: int, serial: str) -> Row | None:
    if on_postgresql() and not connection.in_atomic_block:
        return _prepared(statement, issuer_id, serial)
    return _by_django(statement, issuer_id, serial)


def _by_django(statement: bytes, issuer_id: int, serial: str) -> Row | None:
    with connection.cursor() as cursor:
        cursor.execute(_STATEMENTS[statement].format("%s", "%s"), [issuer_id, serial])
        row = cursor.fetchone()
    if row is None:
        return None
    at = row[2]
    if isinstance(at, str):  # SQLite
        at = datetime.fromisoformat(at).replace(tzinfo=UTC)
    return (str(row[0]), str(row[1]), str(int(at.timestamp())) if at else "", row[3] or "")


class _Connections(threading.local):
    one: psycopg.Connection[Any] | None = None


_connections = _Connections()
os.register_at_fork(after_in_child=lambda: setattr(_connections, "one", None))


def _prepared(statement: bytes, issuer_id: int, serial: str) -> Row | None:
    """One round trip through libpq. A connection that broke while it was idle is replaced once."""
    known = _connections.one
    try:
        return _run(known or _connected(), statement, issuer_id, serial)
    except psycopg.Error:
        forget_connection()
        if known is None:
            raise
    return _run(_connected(), statement, issuer_id, serial)


def _run(conn: psycopg.Connection[Any], statement: bytes, issuer_id: int, serial: str) -> Row | None:
    result = conn.pgconn.exec_prepared(statement, [str(issuer_id).encode(), serial.encode()])
    if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
        raise psycopg.OperationalError(result.error_message.decode("utf-8", "replace"))
    if not result.ntuples:
        return None
    return tuple((result.get_value(0, column) or b"").decode() for column in range(4))


def _connected() -> psycopg.Connection[Any]:
    parameters = connection.get_connection_params()
    for unwanted in ("context", "cursor_factory", "prepare_threshold", "server_side_binding"):
        parameters.pop(unwanted, None)
    conn = psycopg.connect(**parameters, autocommit=True)
    for name, sql in _STATEMENTS.items():
        seconds = sql.replace("r.requested_at", _EPOCH.format("r.requested_at")).replace(" revoked_at,", f" {_EPOCH.format('revoked_at')},")
        result = conn.pgconn.prepare(name, seconds.format("$1", "$2").encode())
        if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
            raise psycopg.OperationalError(result.error_message.decode("utf-8", "replace"))
    _connections.one = conn
    return conn


def forget_connection() -> None:
    """This thread's connection is closed; the next question opens another."""
    if _connections.one is not None:
        _connections.one.close()
    _connections.one = None


class _Clock:
    """The database's time without asking it each time: how far this host is off is measured once a minute."""

    def __init__(self) -> None:
        self._offset, self._measured = 0.0, -_CLOCK_EVERY

    def now(self) -> datetime:
        if time.monotonic() - self._measured > _CLOCK_EVERY:
            self._offset = database_now().timestamp() - time.time()
            self._measured = time.monotonic()
        return datetime.fromtimestamp(time.time() + self._offset, UTC)


clock = _Clock()
