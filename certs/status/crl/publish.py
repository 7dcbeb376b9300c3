"""Publish the next CRL of a distribution point (RFC 5280 5): number, snapshot, signature, publication."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain
from time import sleep
from typing import Any

from cryptography import x509
from django.conf import settings
from django.db import transaction

from audit.events import EventType
from audit.log import Actor, Value, record
from certs.ca.lifetime import end_of, has_ended
from certs.enums import RevocationReason
from certs.errors import Conflict
from certs.models import CRL, Certificate, CRLPoint, CRLSegment, IssuanceIntent, Revocation
from certs.status.crl.points import idp_url, take_number
from certs.status.crl.segments import RowsContradict, Snapshot, changed, take_snapshot
from certs.x509.crl import REASON_CODES, CRLFrame, crl_around, read_entries
from db.clock import database_now
from db.tolerance import CLOCK_TOLERANCE
from keys.models import Key
from keys.signing import signing_hash
from keys.use import sign_digest_with, sign_many_with

log = logging.getLogger(__name__)

MARK_AT_ONCE = 5_000
VANISHED_AT_ONCE = 1_000  # serial numbers in one query
KEPT_FOR = timedelta(hours=1)  # a reader or builder of a CRL ends within this
_SECOND = timedelta(seconds=1)
_HOLD = REASON_CODES[RevocationReason.CERTIFICATE_HOLD]


class CRLWithheld(Exception):
    """The new CRL must not be published: it would take back what the public CRL says, or rows contradict each other."""


def needs_new_crl(point: CRLPoint, *, now: datetime) -> bool:
    """Return whether nothing is published yet, something changed, or the published CRL is old enough."""
    published = point.published
    if published is None or published.distribution_point != idp_url(point):
        return True
    every = timedelta(hours=settings.PKI_CRL_EVERY_HOURS)
    return now >= published.this_update + every or changed(point)


def publish_crl(point: CRLPoint, *, actor: Actor, validity: timedelta | None = None) -> CRL | None:
    """Build, sign and publish a CRL. Returns None when another builder published a later one in the meantime.

    Effects: the CRL, its segments, `crl:published` in the audit log, and the number of its first CRL in
    each revocation. No transaction may be open in production: the key may be in Vault or an HSM.

    Raises Conflict after the CA's end, CRLWithheld, and KeyBackendError when the issuer's key cannot be used.
    """
    try:
        return _build(point, actor=actor, validity=validity)
    except CRLSegment.DoesNotExist:
        # Another builder cleared up what this one had read: this one was held up for longer than KEPT_FOR (a machine
        # that was suspended), or the clock jumped. Nothing was published, and what is public now has its segments.
        log.info("segments of a CRL of %s were cleared up while it was built: it is built anew", point)
        return _build(point, actor=actor, validity=validity)


def _build(point: CRLPoint, *, actor: Actor, validity: timedelta | None) -> CRL | None:
    """Build, sign and publish once. Raises also CRLSegment.DoesNotExist: begin again."""
    # 1. A CRL signed after the CA's notAfter would end before it begins.
    issuer = point.issuer
    if has_ended(issuer, now=database_now()):
        raise Conflict(
            f"{issuer.name} ended on {end_of(issuer).day} {end_of(issuer):%b %Y %H:%M} UTC, and so did every certificate beneath it. "
            "No CRL can be signed for it any more.",
            next_step="Nothing is to be done for it: its last CRL stays public. Are certificates needed, roll over to another CA.",
        )
    # 2. The number, committed before any row is read. So of two builders at once the one with the higher number
    #    has read the inventory later, and the other one gives up in step 7: no revocation is ever taken back.
    number = take_number(point)
    point.refresh_from_db(fields=["published"])
    # 3. thisUpdate and Last-Modified have whole seconds: of two CRLs in one second a cache would keep the older one
    #    (RFC 9110 8.8.2.2). At most a second, and only behind a CRL that is that young because of a revocation.
    if point.published is not None:
        missing = point.published.this_update + _SECOND - database_now()
        if timedelta(0) < missing <= _SECOND:
            sleep(missing.total_seconds())
    # 4. Encode the ranges of serial numbers that changed, and take over the others as they are.
    now = database_now()
    try:
        snapshot = take_snapshot(point, now=now)
    except RowsContradict as exc:
        raise CRLWithheld(str(exc)) from exc
    # 5. Every unexpired entry of the public CRL is in the new one, whatever the tables say by now.
    _check_nothing_vanished(point, snapshot, now=now)
    # 6. Sign, outside of any transaction.
    crl = signed_crl(point, number, snapshot, now=now, validity=validity or timedelta(hours=settings.PKI_CRL_VALID_HOURS))
    # 7. Publish: compare and set, with its event.
    if not publish_signed(point, crl, snapshot, actor=actor):
        return None
    # 8. What need not be in that transaction. After a crash here the next CRL does it: the number of the
    #    first CRL of the other revocations, and segments that no recent CRL has. Rows of old CRLs stay as history.
    _mark(snapshot.fresh[MARK_AT_ONCE:], crl.number)
    recent = CRL.objects.filter(point=point, published_at__gte=now - KEPT_FOR).values_list("segments", flat=True)
    needed = set(crl.segments).union(*recent)
    CRLSegment.objects.filter(point=point, created_at__lt=now - KEPT_FOR).exclude(pk__in=needed).delete()
    return crl


def this_update_of(now: datetime, snapshot: Snapshot, before: CRL | None) -> datetime:
    """Return thisUpdate: back-dated like certificates, for clients whose clock is behind.

    Never before a revocationDate on the CRL, nor less than a second after the thisUpdate of the CRL
    before it; that one is ignored where a wrong clock had put it into the future.
    """
    earliest = [now - CLOCK_TOLERANCE]
    if snapshot.latest_revocation:
        earliest.append(min(now, snapshot.latest_revocation))
    if before and before.this_update + _SECOND <= now:
        earliest.append(before.this_update + _SECOND)
    return max(earliest).replace(microsecond=0)


def _check_nothing_vanished(point: CRLPoint, snapshot: Snapshot, *, now: datetime) -> None:
    """Compare with the published CRL. Raises CRLWithheld where an unexpired entry is missing without a release of its hold."""
    # 1. The serial numbers of each range that was encoded anew.
    new: dict[tuple[str, int], set[str]] = {}
    replaced_keys = {(one.source, one.number) for one in snapshot.replaced}
    for segment in snapshot.segments:
        if (segment.source, segment.number) in replaced_keys:
            new[segment.source, segment.number] = {serial for serial, _ in read_entries(bytes(segment.entries))}
    # 2. Entries of the published CRL that are not in them.
    vanished: dict[str, int] = {}
    for old in snapshot.replaced:
        there = new.get((old.source, old.number), set())
        vanished |= {serial: reason for serial, reason in read_entries(bytes(old.entries)) if serial not in there}
    # 3. Those of expired certificates may leave, and those of holds that were released.
    wrong, serials = set(vanished), list(vanished)
    for first in range(0, len(serials), VANISHED_AT_ONCE):
        part = serials[first : first + VANISHED_AT_ONCE]
        rows = Certificate.objects.filter(issuer=point.issuer, serial_number__in=part)
        for serial, status, not_after in rows.values_list("serial_number", "status", "not_after"):
            released = vanished[serial] == _HOLD and status not in Certificate.SAYS_REVOKED
            if not_after < now or released:
                wrong.discard(serial)
        elsewhere = IssuanceIntent.objects.filter(issuer=point.issuer, serial_number__in=part, not_after__lt=now)
        wrong -= set(elsewhere.values_list("serial_number", flat=True))
    if wrong:
        raise CRLWithheld(
            f"{len(wrong)} revoked and unexpired certificates of {point} would vanish from its CRL, the first is serial {min(wrong)}."
        )


def signed_crl(point: CRLPoint, number: int, snapshot: Snapshot, *, now: datetime, validity: timedelta) -> CRL:
    """Return the signed CRL, not saved. The TBSCertList is hashed in pieces and never in memory as a whole, unless the key's scheme
    needs the whole message.
    """
    # The parts around the entries need only their length, so the entries pass by once, for the signature, and are stored apart.
    assert point.issuer.key is not None
    certificate = x509.load_der_x509_certificate(bytes(point.issuer.certificate_der or b""))
    this_update = this_update_of(now, snapshot, point.published)
    url = idp_url(point)
    # No CRL outlives its CA: after notAfter no relying party could verify it.
    next_update = min(this_update + validity, certificate.not_valid_after_utc)
    frame = CRLFrame(certificate, number, this_update, next_update, url)
    before, after = frame.before(snapshot.length), frame.after()
    ids = [segment.pk for segment in snapshot.segments]
    signature, digest = sign_crl(point.issuer.key, certificate.public_key(), chain([before], entries_of(ids), [after]))
    tbs_length = len(before) + snapshot.length + len(after)
    header, behind = crl_around(certificate.public_key(), tbs_length, signature)
    return CRL(
        point=point,
        number=number,
        this_update=this_update,
        next_update=next_update,
        segments=ids,
        count=snapshot.count,
        length=len(header) + tbs_length + len(behind),
        distribution_point=url,
        tbs_sha256=digest,
        head=header + before,
        tail=after + behind,
    )


def entries_of(segments: Sequence[int]) -> Iterator[bytes]:
    """Return the entries of each segment, in that order, one segment in memory at a time. Raises CRLSegment.DoesNotExist."""
    for pk in segments:
        yield bytes(CRLSegment.objects.values_list("entries", flat=True).get(pk=pk))


def sign_crl(key: Key, public_key: Any, pieces: Iterable[bytes]) -> tuple[bytes, str]:
    """Return the signature and the SHA-256 of what was signed. A CA whose key was reported as compromised still signs CRLs."""
    algorithm = signing_hash(public_key)
    if algorithm is None:
        message = b"".join(pieces)
        return sign_many_with(key, [message], for_status=True)[0], hashlib.sha256(message).hexdigest()
    seen, signed = hashlib.sha256(), hashlib.new(algorithm.name)
    for piece in pieces:
        seen.update(piece)
        if algorithm.name != "sha256":
            signed.update(piece)
    digest = seen.digest() if algorithm.name == "sha256" else signed.digest()
    return sign_digest_with(key, digest, for_status=True), seen.hexdigest()


@transaction.atomic
def publish_signed(point: CRLPoint, crl: CRL, snapshot: Snapshot, *, actor: Actor) -> bool:
    """Replace the published CRL if this one has a higher number; return whether it did. One transaction with the event."""
    # Locked first and read then: a join in the locking statement would show the list of before the wait.
    row = CRLPoint.objects.select_for_update().get(pk=point.pk)
    # A later number was taken later, and its builder has read the inventory later: it has every revocation that is in this one.
    if row.published_id is not None and CRL.objects.filter(pk=row.published_id, number__gte=crl.number).exists():
        return False
    crl.published_at = database_now()
    crl.save()
    row.published = point.published = crl
    row.save(update_fields=["published"])
    _mark(snapshot.fresh[:MARK_AT_ONCE], crl.number)
    data: dict[str, Value] = {
        "number": crl.number,
        "shard": point.shard,
        "entries": crl.count,
        "tbs_sha256": crl.tbs_sha256,
        "this_update": crl.this_update.isoformat(),
        "next_update": crl.next_update.isoformat(),
    }
    record(EventType.CRL_PUBLISHED, subject=f"issuer:{point.issuer.slug}", actor=actor, at=crl.published_at, data=data)
    return True


def _mark(certificates: Sequence[int], number: int) -> None:
    """Note the number of the first CRL of these revocations. After a crash in between the next CRL notes its own number."""
    # In parts, of which only the first shares the transaction of the publication: a storm of revocations must not lock 100,000
    # rows while a CRL waits to become public.
    for first in range(0, len(certificates), MARK_AT_ONCE):
        part = list(certificates[first : first + MARK_AT_ONCE])
        Revocation.objects.filter(pk__in=part, first_crl_number__isnull=True).update(first_crl_number=number)
