"""Lineages: a renewal follows the certificate that it renews, and a revocation of the one may stop the other.

The lock on the renewed certificate's row decides the order of a revocation and a renewal. Revoked first: no renewal begins,
an open one is cancelled, and a certificate that the CA issues all the same is recorded and revoked in one transaction.
Recorded first: the renewal stays valid, and the revocation is about the old certificate (and those on the same key).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from audit.events import EventType
from audit.log import Event, UnitOfWork
from certs.enums import Channel, RevocationReason
from certs.enums import RequestState as S
from certs.models import Certificate, CertificateRequest, PlannedRevocation
from certs.notifications.digests import TOPICS, digest_entries
from certs.notifications.topics import Topic
from certs.requests.states import CANCELLABLE, UNSIGNED, WORKER, Move, transition_many
from db.clock import database_now
from db.reads import Read, read, rows_of
from db.rows import Lock, by_key, select
from db.sql import among_texts, text_list

LONGEST_LINEAGE = 200  # certificates followed when a history is shown
CHUNK = 200


def stops_lineage(certificate: Certificate) -> bool:
    """Return whether the certificate is revoked, or about to be, for another reason than superseded: nothing may follow it."""
    if certificate.status == Certificate.Status.GOOD:
        return False
    return certificate.revocation.reason != RevocationReason.SUPERSEDED


def newest_of(certificate: Certificate) -> Certificate:
    """Return the newest certificate of the lineage, which may be the certificate itself."""
    for _ in range(LONGEST_LINEAGE):
        following = Certificate.objects.filter(renewed_from=certificate).select_related("revocation").first()
        if following is None:
            break
        certificate = following
    return certificate


def lineage_of(certificate: Certificate) -> list[Certificate]:
    """Return the whole lineage, oldest first."""
    before: list[Certificate] = []
    here = certificate
    while here.renewed_from is not None and len(before) < LONGEST_LINEAGE:
        here = here.renewed_from
        before.append(here)
    after: list[Certificate] = []
    following: Certificate | None = certificate
    while following is not None and len(after) < LONGEST_LINEAGE:
        following = Certificate.objects.filter(renewed_from=following).first()
        if following is not None:
            after.append(following)
    return [*reversed(before), certificate, *after]


def lock_renewed(requests: Iterable[CertificateRequest]) -> dict[int, Certificate]:
    """Return by request id the certificate that a renewal renews, locked FOR SHARE until the transaction ends.

    Costs nothing where no request is a renewal. The rows of public keys are locked before, as
    everywhere.
    """
    renewed = {request.pk: request.renewed_from_id for request in requests if request.renewed_from_id is not None}
    if not renewed:
        return {}
    rows = by_key(select(Certificate, lock=Lock.SHARE, id=set(renewed.values())))
    return {pk: rows[certificate] for pk, certificate in renewed.items()}


def stopped_lineages(renewed: Mapping[int, Certificate]) -> dict[int, RevocationReason]:
    """Return by request id why the certificate that it renews was revoked, where it was.

    `renewed`: what `lock_renewed` returned in this transaction; none of them can be revoked
    before it ends.
    """
    doubtful = {row.pk for row in renewed.values() if row.status != Certificate.Status.GOOD}
    if not doubtful:
        return {}
    revoked = Certificate.objects.filter(pk__in=doubtful).select_related("revocation")
    reasons = {row.pk: RevocationReason(row.revocation.reason) for row in revoked if stops_lineage(row)}
    stopped = {pk: reasons[row.pk] for pk, row in renewed.items() if row.pk in reasons}
    # A replacement with a new key was requested together with the revocation, and outlives it.
    wanted = set(_replacements().filter(pk__in=stopped).values_list("pk", flat=True))
    return {pk: reason for pk, reason in stopped.items() if pk not in wanted}


def _replacements() -> QuerySet[CertificateRequest]:
    """Return the requests that replace a certificate which is revoked by plan: its revocation does not stop them."""
    plans = PlannedRevocation.objects.exclude(outcome=PlannedRevocation.Outcome.WITHDRAWN)
    return CertificateRequest.objects.filter(pk__in=plans.values("replacement"), key_reused=False)


def reasons_for_results(requests: Sequence[CertificateRequest], renewed: Mapping[int, Certificate]) -> dict[int, RevocationReason]:
    """Return by request id why its certificate must be revoked as soon as it is recorded.

    The reason is that of the certificate renewed; but another key is not compromised because the
    old one was. `renewed`: what `lock_renewed` returned in this transaction.
    """
    compromised = RevocationReason.KEY_COMPROMISE
    by_id = {request.pk: request for request in requests}
    return {
        pk: RevocationReason.CESSATION_OF_OPERATION if reason is compromised and not by_id[pk].key_reused else reason
        for pk, reason in stopped_lineages(renewed).items()
    }


def keys_reported_by_owner(spkis: Iterable[str]) -> set[str]:
    """Return those keys that their own team reported as compromised.

    They are refused to that team from then on, whatever the officers decide about a block.
    """
    return read(reported_by_owner(spkis))


def reported_by_owner(spkis: Iterable[str]) -> Read[set[str]]:
    """Return `keys_reported_by_owner` as a read, to be sent with others."""
    sql = (
        "SELECT DISTINCT c.spki_sha256 FROM certs_revocation r JOIN certs_certificate c ON c.id = r.certificate_id "  # noqa: S608 - constants
        f"WHERE {among_texts('c.spki_sha256')} AND r.reason = %s AND r.released_at IS NULL"
    )
    return rows_of((sql, [text_list(spkis), RevocationReason.KEY_COMPROMISE.value]), lambda rows: {spki for (spki,) in rows})


def keys_followed(requests: Sequence[CertificateRequest]) -> dict[int, UUID]:
    """Return by request id the key that a renewal's new key replaces. Costs nothing where no request is a renewal."""
    renewed = {request.pk: request.renewed_from_id for request in requests if request.renewed_from_id is not None}
    if not renewed:
        return {}
    keys = dict(Certificate.objects.filter(pk__in=renewed.values(), key__isnull=False).values_list("pk", "key_id"))
    return {pk: keys[certificate] for pk, certificate in renewed.items() if certificate in keys}


def note_succession(work: UnitOfWork, certificates: Sequence[Certificate], *, now: datetime) -> None:
    """Write into the history of each renewed certificate what follows it, and note the new ones for the digests of their
    owners. Needs the transaction that recorded the new ones.
    """
    for topic in TOPICS:
        work.insert(digest_entries(topic, [c for c in certificates if _topic_of(c) is topic], now=now))
    following = {c.renewed_from_id: c for c in certificates if c.renewed_from_id is not None}
    if not following:
        return
    before = Certificate.objects.filter(pk__in=following).order_by("pk").values_list("pk", "cert_id")
    work.record(
        Event(EventType.CERTIFICATE_RENEWED, f"certificate:{cert_id}", WORKER, now, {"renewed_by": following[pk].cert_id})
        for pk, cert_id in before
    )


_TOPICS: dict[str, Topic] = {
    Channel.SCHEDULE: Topic.RENEWED,
    Channel.API: Topic.ISSUED_BY_PROGRAM,
    Channel.PORTAL: Topic.ISSUED,
    Channel.COMMAND: Topic.ISSUED,
}


def _topic_of(certificate: Certificate) -> Topic | None:
    """Return the topic of the digest that lists it. None for a line of a bulk order: the order has
    a mail of its own.
    """
    request = certificate.request
    return None if request.bulk_item_id is not None else _TOPICS.get(request.door)


def cancel_stopped_renewals(certificate: Certificate | None = None) -> int:
    """Cancel open renewals of revoked certificates (of one, or whatever the sweeper finds). Safe to run at any time.

    A certificate that an attempt still under way brings is revoked when it is recorded, or by the sweeper.
    """
    open_ones = CertificateRequest.objects.filter(renewed_from__isnull=False, state__in=UNSIGNED)
    open_ones = open_ones.exclude(renewed_from__status=Certificate.Status.GOOD)
    open_ones = open_ones.exclude(renewed_from__revocation__reason=RevocationReason.SUPERSEDED)
    open_ones = open_ones.exclude(pk__in=_replacements())
    if certificate is not None:
        open_ones = open_ones.filter(renewed_from=certificate)
    return sum(_cancel(pk) for pk in open_ones.order_by("pk").values_list("pk", flat=True)[:CHUNK])


def _cancel(pk: int) -> bool:
    with UnitOfWork() as work:
        now = database_now()
        request = CertificateRequest.objects.select_for_update(of=("self",)).select_related("renewed_from").get(pk=pk)
        state = S(request.state)
        if state not in CANCELLABLE or request.renewed_from is None:
            return False
        why = f"{request.renewed_from.cert_id} was revoked, so nothing follows it."
        move = Move(
            request,
            (S.CANCELLED,),
            ((EventType.REQUEST_CANCELLED, {"state": str(state), "because_of": request.renewed_from.cert_id}),),
            {"held_since": None, "error": why, "suggestion": "Ask for a new certificate if one is needed."},
        )
        return bool(transition_many(work, [move], source=state, actor=WORKER, now=now))
