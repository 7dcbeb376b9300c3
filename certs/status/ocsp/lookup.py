"""The status of a serial number in the inventory now. Read before every response, also before one that is kept.

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

from certs.ca.lifetime import loaded
from certs.models import Certificate, IssuanceIntent, Issuer
from certs.x509.ocsp import GOOD, UNKNOWN, Status
from db.backend import on_postgresql
from db.clock import database_now

# The issuer's state comes with every row: a kept answer is of no use once the CA is distrusted.
_ISSUER_STATE = "(SELECT i.state FROM certs_issuer i WHERE i.id = x.issuer_id)"
_RECORDED = (
    f"SELECT x.status, x.status_version, r.requested_at, r.reason, {_ISSUER_STATE}, r.released_at"  # noqa: S608 - constants
    " FROM certs_certificate x LEFT JOIN certs_revocation r ON r.certificate_id = x.id WHERE x.issuer_id = {} AND x.serial_number = {}"
)
_INTENDED = (
    f"SELECT x.state, 0, x.revoked_at, x.revocation_reason, {_ISSUER_STATE}, NULL"  # noqa: S608 - constants
    " FROM certs_issuanceintent x WHERE x.issuer_id = {} AND x.serial_number = {}"
)
_STATEMENTS = {b"ocsp_recorded": _RECORDED, b"ocsp_intended": _INTENDED}
_DISTRUSTED = Issuer.State.DISTRUSTED.value
_CLOCK_EVERY = 60.0  # seconds
_EPOCH = "CAST(floor(extract(epoch FROM {})) AS bigint)"  # cut off, as in CRLs, not rounded


@dataclass(frozen=True, slots=True)
class Found:
    """A status, and what shows whether it is still the same: the row's values and version."""

    status: Status
    version: tuple[str, ...]
    since: datetime | None = None  # when the status began, where that is on record


NOT_ISSUED = Found(UNKNOWN, ())
Row = tuple[str, ...]


def look_up(issuer_id: int, serial: str) -> Found:
    """Raises psycopg.Error or django.db.Error when the database does not answer.

    A serial that an intent names but nobody signed yet is unknown; an abandoned one is revoked; one never heard of is unknown, never good.
    Of a distrusted CA every serial is revoked (RFC 6960 2.7), also one that is not on record: who has its key can sign any.
    """
    row, found = _ask(b"ocsp_recorded", issuer_id, serial), NOT_ISSUED
    if row is not None:
        found = _recorded(row)
    elif (row := _ask(b"ocsp_intended", issuer_id, serial)) is not None:
        found = _intended(row)
    distrusted = row[4] == _DISTRUSTED if row else _is_distrusted(issuer_id)
    return _of_distrusted(issuer_id, found) if distrusted else found


def _recorded(row: Row) -> Found:
    version = ("certificate", *row)
    if row[0] in Certificate.SAYS_REVOKED:
        return _revoked(row, version)
    return Found(GOOD, version, _moment(row[5]))  # good again since a hold was released


def _intended(row: Row) -> Found:
    version = ("intent", *row)
    if row[2] or row[0] == IssuanceIntent.State.ABANDONED:  # a late answer for it may have been revoked all the same
        return _revoked(row, version)
    return Found(GOOD if row[0] == IssuanceIntent.State.SIGNED else UNKNOWN, version)


def _revoked(row: Row, version: tuple[str, ...]) -> Found:
    at = _moment(row[2])
    if at is None:
        raise LookupError("a certificate is revoked, but no revocation is on record")
    return Found(Status("revoked", at, row[3]), version, at)


def _moment(seconds: str) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None


def _is_distrusted(issuer_id: int) -> bool:
    return Issuer.objects.filter(pk=issuer_id, state=_DISTRUSTED).exists()


def _of_distrusted(issuer_id: int, found: Found) -> Found:
    """Return revoked since the CA was, for its reason; what was revoked before that stays as it was."""
    issuer = Issuer.objects.get(pk=issuer_id)
    serial = f"{loaded(bytes(issuer.certificate_der or b'')).serial_number:x}"
    entry = IssuanceIntent.objects.get(issuer=issuer.parent_id, serial_number=serial, revoked_at__isnull=False)
    assert entry.revoked_at is not None  # as asked for
    at = entry.revoked_at.replace(microsecond=0)
    if found.status.revoked_at is not None and found.status.revoked_at <= at:
        return found
    return Found(Status("revoked", at, entry.revocation_reason), ("distrusted", *found.version), at)


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
    return (str(row[0]), str(row[1]), _seconds(row[2]), row[3] or "", row[4], _seconds(row[5]))


def _seconds(at: datetime | str | None) -> str:
    """Return whole seconds since 1970, "" for None; SQLite has times as text."""
    if isinstance(at, str):
        at = datetime.fromisoformat(at).replace(tzinfo=UTC)
    return str(int(at.timestamp())) if at else ""


class _Connections(threading.local):
    one: psycopg.Connection[Any] | None = None


status_connections = _Connections()
os.register_at_fork(after_in_child=lambda: setattr(status_connections, "one", None))


def _prepared(statement: bytes, issuer_id: int, serial: str) -> Row | None:
    """One round trip through libpq. A connection that broke while it was idle is replaced once."""
    known = status_connections.one
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
    return tuple((result.get_value(0, column) or b"").decode() for column in range(6))


def _connected() -> psycopg.Connection[Any]:
    parameters = connection.get_connection_params()
    for unwanted in ("context", "cursor_factory", "prepare_threshold", "server_side_binding"):
        parameters.pop(unwanted, None)
    conn = psycopg.connect(**parameters, autocommit=True)
    for name, sql in _STATEMENTS.items():
        for column in ("r.requested_at", "r.released_at", "x.revoked_at"):
            sql = sql.replace(column, _EPOCH.format(column))  # noqa: PLW2901 - the same statement, in seconds
        result = conn.pgconn.prepare(name, sql.format("$1", "$2").encode())
        if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
            raise psycopg.OperationalError(result.error_message.decode("utf-8", "replace"))
    status_connections.one = conn
    return conn


def forget_connection() -> None:
    """Close this thread's connection; the next look-up opens another."""
    if status_connections.one is not None:
        status_connections.one.close()
    status_connections.one = None


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
