"""The entries of a CRL, encoded range by range of row ids and kept as long as nothing in a range changes.

Which ranges changed is seen from the rows themselves: every change of a certificate's status raises its `status_version`, so the
number of revoked rows in a range, the sum of their ids and the sum of id times version show it. A range is encoded after its
fingerprint was taken: a change in between leaves an older fingerprint on newer entries and only has the range encoded again.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connection

from certs.models import CRL, Certificate, CRLPoint, CRLSegment
from certs.x509.crl import encode_entries
from db.reads import one_ahead
from db.rows import give_ids, insert
from db.sql import numbers_collected, numbers_result, texts_joined, time_digits, time_parameter, time_result
from db.tolerance import CLOCK_TOLERANCE

RANGE = 16_384  # ids; some 800 kB of entries when all are revoked
Source = CRLSegment.Source
_REVOKED = ", ".join(f"'{status.value}'" for status in Certificate.SAYS_REVOKED)
_TABLE = {Source.CERTIFICATES: "certs_certificate", Source.INTENTS: "certs_issuanceintent"}
_ON_CRL = {
    Source.CERTIFICATES: f"x.issuer_id = %(issuer)s{{shard}} AND x.status IN ({_REVOKED})",
    # What was never recorded: abandoned, or signed and then revoked because nobody was to have it.
    Source.INTENTS: (
        "x.issuer_id = %(issuer)s{shard} AND (x.state = 'abandoned' OR x.revoked_at IS NOT NULL)"
        " AND NOT EXISTS (SELECT 1 FROM certs_certificate c WHERE c.issuer_id = x.issuer_id AND c.serial_number = x.serial_number)"
    ),
}
_VERSION = {Source.CERTIFICATES: "x.status_version", Source.INTENTS: "1"}


def _on_crl(source: Source, point: CRLPoint) -> str:
    """Return the SQL condition for the rows in a CRL's scope: shard 0 is complete, for every client."""
    return _ON_CRL[source].format(shard=" AND x.crl_shard = %(shard)s" if point.shard else "")


class RowsContradict(Exception):
    """A certificate is revoked without a record of when and why: no CRL is made from such rows."""


Key = tuple[str, int]  # source and number of a range


@dataclass(slots=True)
class Snapshot:
    """A CRL's segments in order, and which revocations are on a CRL for the first time."""

    segments: list[CRLSegment] = field(default_factory=list)  # without their entries
    fresh: array[int] = field(default_factory=lambda: array("q"))  # certificate ids
    replaced: list[CRLSegment] = field(default_factory=list)  # of the CRL before, not taken over

    @property
    def length(self) -> int:
        return sum(segment.length for segment in self.segments)

    @property
    def latest_revocation(self) -> datetime | None:
        """The newest revocationDate on the CRL: its thisUpdate must not lie before it."""
        return max((one.latest_revocation for one in self.segments if one.latest_revocation), default=None)

    @property
    def count(self) -> int:
        return sum(segment.count for segment in self.segments)


def fingerprints(point: CRLPoint) -> dict[Key, tuple[int, str]]:
    """Return the number of rows and the fingerprint of each range that has anything on the CRL."""
    found: dict[Key, tuple[int, str]] = {}
    for source in Source:
        counted = f"x.id / {RANGE}, count(*), sum(x.id), sum(x.id * {_VERSION[source]})"
        sql = f"SELECT {counted} FROM {_TABLE[source]} x WHERE {_on_crl(source, point)} GROUP BY 1 ORDER BY 1"  # noqa: S608 - constants
        with connection.cursor() as cursor:
            cursor.execute(sql, {"issuer": point.issuer_id, "shard": point.shard})
            for number, count, ids, versions in cursor.fetchall():
                found[source.value, number] = (count, f"{count}.{ids}.{versions}")
    return found


def published_segments(point: CRLPoint) -> dict[Key, CRLSegment]:
    """Return the segments of the published CRL, without their entries."""
    ids = point.published.segments if point.published else []
    rows = CRLSegment.objects.filter(pk__in=ids).defer("entries")
    return {(row.source, row.number): row for row in rows}


def changed(point: CRLPoint) -> bool:
    """Return whether the published CRL misses something, or has something that is not true any more."""
    kept = published_segments(point)
    wanted = fingerprints(point)
    return any(key not in kept or kept[key].fingerprint != fingerprint for key, (_, fingerprint) in wanted.items()) or any(
        key not in wanted and segment.count for key, segment in kept.items()
    )


def _settled(point: CRLPoint, now: datetime) -> CRL | None:
    """Return the last CRL that has been public for a whole period.

    An entry stays until it was on a regularly scheduled CRL beyond its certificate's validity (RFC
    5280 3.3), so what that CRL had of expired certificates may leave.
    """
    # thisUpdate may be back-dated by the tolerance; it was public for a whole period only after both.
    before = now - timedelta(hours=settings.PKI_CRL_EVERY_HOURS) - CLOCK_TOLERANCE
    return CRL.objects.filter(point=point, this_update__lte=before).order_by("-number").first()


def _is_stale(segment: CRLSegment, fingerprint: str, settled: CRL | None) -> bool:
    """Return whether a range is encoded anew: a row of it has changed, or an entry of it may leave the CRL."""
    if segment.fingerprint != fingerprint:
        return True
    return settled is not None and segment.earliest_expiry is not None and segment.earliest_expiry < settled.this_update


def take_snapshot(point: CRLPoint, *, now: datetime) -> Snapshot:
    """Encode the ranges that changed since the published CRL, and take over the others as they are. Raises RowsContradict."""
    # 1. Fingerprints first, content second. A revocation in between is in the content under an older fingerprint, so its range
    #    is encoded once more for the next CRL; in the other order it could be missing under the newer one.
    kept, snapshot, settled = published_segments(point), Snapshot(), _settled(point, now)
    wanted = fingerprints(point)
    stale = [key for key, (_, fingerprint) in wanted.items() if key not in kept or _is_stale(kept[key], fingerprint, settled)]
    # 2. Encode the ranges that changed. One range is read from the database while the one before is encoded.
    with one_ahead([partial(_read, Source(source), point, number, settled) for source, number in stale]) as ranges:
        for key, (count, fingerprint) in wanted.items():
            taken_over = kept.get(key)
            if taken_over is None or _is_stale(taken_over, fingerprint, settled):
                taken_over = _encoded(point, key, fingerprint, next(ranges), snapshot, now=now, expected=count)
            snapshot.segments.append(taken_over)
    # 3. What is not taken over, so that the publisher can check that no entry of it has vanished.
    taken = {segment.pk for segment in snapshot.segments}
    snapshot.replaced = [segment for segment in kept.values() if segment.pk not in taken]
    return snapshot


def _encoded(point: CRLPoint, key: Key, fingerprint: str, row: _Range, snapshot: Snapshot, *, now: datetime, expected: int) -> CRLSegment:
    """Insert a new segment of one range, and note which of its revocations have never been on a CRL."""
    source, number = key
    # Fewer rows than the fingerprint counted: a revoked certificate without a revocation fell out of the join. A CRL without it
    # would take its revocation back.
    if row.rows < expected:
        raise RowsContradict(
            f"{expected - row.rows} of {point.issuer.name}'s revoked certificates have no revocation on record ({source} {number})."
        )
    entries = encode_entries(line.split(",") for line in row.lines.split(";")) if row.lines else b""  # type: ignore[misc]
    snapshot.fresh.extend(row.fresh)
    segment = CRLSegment(
        point=point,
        source=source,
        number=number,
        fingerprint=fingerprint,
        count=row.count,
        length=len(entries),
        earliest_expiry=row.earliest,
        latest_revocation=row.latest,
        entries=entries,
        created_at=now,
    )
    give_ids([segment])
    insert([segment])
    del segment.entries  # read again when they are needed, so that memory holds one range and not the whole CRL
    return segment


@dataclass(frozen=True, slots=True)
class _Range:
    """What is on record of one range.

    `rows`: all of them; the rest is about those that are on the CRL. `lines`: their fields as text, one entry after the other.
    """

    rows: int
    lines: str
    count: int
    fresh: list[int]
    earliest: datetime | None
    latest: datetime | None  # revocationDate


_CERTIFICATE_ROWS = """
    SELECT x.id AS id, x.not_after AS not_after, r.first_crl_number IS NULL AS fresh, coalesce(r.first_crl_number, 0) AS first_on,
           r.requested_at AS since,
           x.serial_number || ',' || {requested_at} || ',' || r.reason || ',' || {invalidity_date} AS line
    FROM certs_certificate x
    JOIN certs_revocation r ON r.certificate_id = x.id AND r.certificate_id BETWEEN %(first)s AND %(last)s
    WHERE {on_crl} AND x.id BETWEEN %(first)s AND %(last)s ORDER BY x.id
"""
_INTENT_ROWS = """
    SELECT x.id AS id, x.not_after AS not_after, x.not_after IS NULL AS fresh, 0 AS first_on, x.revoked_at AS since,
           x.serial_number || ',' || {revoked_at} || ',' || x.revocation_reason || ',' AS line
    FROM certs_issuanceintent x WHERE {on_crl} AND x.id BETWEEN %(first)s AND %(last)s ORDER BY x.id
"""
_ONE_STATEMENT = """
    SELECT count(*), {lines} FILTER (WHERE kept), count(*) FILTER (WHERE kept), {ids} FILTER (WHERE fresh),
           min(not_after) FILTER (WHERE kept), max(since) FILTER (WHERE kept)
    FROM (
        SELECT id, not_after, fresh, line, since,
               fresh OR not_after >= %(settled)s OR first_on > %(settled_number)s AS kept FROM ({rows}) AS x
    ) AS y
"""


def _read(source: Source, point: CRLPoint, number: int, settled: CRL | None) -> _Range:
    """Return everything about a range in one statement, so that it is of one moment."""
    rows = _CERTIFICATE_ROWS if source is Source.CERTIFICATES else _INTENT_ROWS
    # As `certs.x509.crl.stamp` writes them.
    times = {name: time_digits(column) for name, column in _TIMES.items()}
    sql = _ONE_STATEMENT.format(
        lines=texts_joined("line", ";", order="id"),
        ids=numbers_collected("id"),
        rows=rows.format(on_crl=_on_crl(source, point), **times),
    )
    bounds: dict[str, Any] = {"issuer": point.issuer_id, "shard": point.shard, "first": number * RANGE, "last": (number + 1) * RANGE - 1}
    since = settled.this_update if settled else datetime(1970, 1, 1, tzinfo=UTC)
    bounds |= {"settled": time_parameter(since), "settled_number": settled.number if settled else 0}
    with connection.cursor() as cursor:
        cursor.execute(sql, bounds)
        count, lines, kept, ids, earliest, latest = cursor.fetchone()
    fresh = [] if source is Source.INTENTS else numbers_result(ids)
    return _Range(count, lines or "", kept, fresh, time_result(earliest), time_result(latest))


_TIMES = {"requested_at": "r.requested_at", "invalidity_date": "r.invalidity_date", "revoked_at": "x.revoked_at"}
