"""The status of a serial number in the inventory now. Read before every response, also before one that is kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from certs.ca.lifetime import loaded
from certs.models import Certificate, IssuanceIntent, Issuer
from certs.x509.ocsp import GOOD, UNKNOWN, Status
from db.clock import database_now
from db.pipeline import Lookups
from db.sql import epoch

# The issuer's state comes with every row: a kept response must not be sent once the CA is distrusted.
# Times are cut off to whole seconds, as in CRLs, not rounded.
_ISSUER_STATE = "(SELECT i.state FROM certs_issuer i WHERE i.id = x.issuer_id)"
_RECORDED = (
    f"SELECT x.status, x.status_version, {epoch('r.requested_at')}, r.reason, {_ISSUER_STATE}, {epoch('r.released_at')}"  # noqa: S608 - constants
    " FROM certs_certificate x LEFT JOIN certs_revocation r ON r.certificate_id = x.id WHERE x.issuer_id = %s AND x.serial_number = %s"
)
_INTENDED = (
    f"SELECT x.state, 0, {epoch('x.revoked_at')}, x.revocation_reason, {_ISSUER_STATE}, NULL"  # noqa: S608 - constants
    " FROM certs_issuanceintent x WHERE x.issuer_id = %s AND x.serial_number = %s"
)
lookups = Lookups({"recorded": _RECORDED, "intended": _INTENDED})
_DISTRUSTED = Issuer.State.DISTRUSTED.value
_CLOCK_EVERY = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Found:
    """A status, and what shows whether it is still the same: the row's values and version."""

    status: Status
    version: tuple[str, ...]
    since: datetime | None = None  # when the status began, where that is on record


NOT_ISSUED = Found(UNKNOWN, ())


def look_up(issuer_id: int, serial: str) -> Found:
    """Return the status of a serial number (lower-case hex) of a CA.

    Of a distrusted CA every serial is revoked (RFC 6960 2.7), also one that is not on record: a person
    who has its key can sign any. Raises psycopg.Error or django.db.Error when the database does not
    answer, and LookupError for a revoked certificate without a revocation.
    """
    found = NOT_ISSUED
    # 1. A certificate in the inventory. One that was on hold is good again since its release.
    row = lookups.first("recorded", issuer_id, serial)
    if row is not None:
        version = ("certificate", *row)
        found = _revoked(row, version) if row[0] in Certificate.SAYS_REVOKED else Found(GOOD, version, _moment(row[5]))
    # 2. One that was only intended. Abandoned is revoked: the CA may still sign it late. What nobody has signed yet is unknown.
    elif (row := lookups.first("intended", issuer_id, serial)) is not None:
        version = ("intent", *row)
        if row[2] or row[0] == IssuanceIntent.State.ABANDONED:
            found = _revoked(row, version)
        else:
            found = Found(GOOD if row[0] == IssuanceIntent.State.SIGNED else UNKNOWN, version)
    # 3. A serial that is on record nowhere stays unknown, never good.
    distrusted = row[4] == _DISTRUSTED if row else Issuer.objects.filter(pk=issuer_id, state=_DISTRUSTED).exists()
    return _of_distrusted(issuer_id, found) if distrusted else found


def _revoked(row: tuple[str, ...], version: tuple[str, ...]) -> Found:
    at = _moment(row[2])
    if at is None:
        raise LookupError("a certificate is revoked, but no revocation is on record")
    return Found(Status("revoked", at, row[3]), version, at)


def _moment(seconds: str) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None


def _of_distrusted(issuer_id: int, found: Found) -> Found:
    """Return revoked since the CA was, for its reason; what was revoked before that stays as it was."""
    # The earlier time counts: a status that moves its revocation to a later time would make signatures of before valid again.
    issuer = Issuer.objects.get(pk=issuer_id)
    serial = f"{loaded(bytes(issuer.certificate_der or b'')).serial_number:x}"
    entry = IssuanceIntent.objects.get(issuer=issuer.parent_id, serial_number=serial, revoked_at__isnull=False)
    assert entry.revoked_at is not None  # as asked for
    at = entry.revoked_at.replace(microsecond=0)
    if found.status.revoked_at is not None and found.status.revoked_at <= at:
        return found
    return Found(Status("revoked", at, entry.revocation_reason), ("distrusted", *found.version), at)


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
