"""The steps of status maintenance: CRLs, shards, abandoned intents, CAs that were replaced. Needs the CA role."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max
from django.db.models.functions import Coalesce

from audit.changes import attribute
from audit.events import EventType
from audit.log import Actor, record, record_many
from audit.log import Event as AuditEvent
from certs.ca.local.client import INTENT_LIFETIME
from certs.enums import AlertKind, RequestState
from certs.fault_points import pause
from certs.models import CRL, CRLPoint, IssuanceIntent, Issuer
from certs.notifications.alerts import close_alerts, raise_alert
from certs.requests.states import UNFINISHED, WORKER
from certs.status.crl import CRLWithheld, needs_new_crl, points_of, publish_crl
from db.clock import database_now

ROUNDS = 3  # a CRL may be overtaken, or be out of date again when it is published: then another follows at once
ALARM_BEFORE = timedelta(hours=24)
CHUNK = 500


def own_issuing_cas() -> list[Issuer]:
    """Return the own CAs whose key the workers of the CA role may use. Nothing is signed for a distrusted CA."""
    rows = Issuer.objects.filter(key__isnull=False, certificate_der__isnull=False).exclude(alias="")
    return list(rows.exclude(state=Issuer.State.DISTRUSTED).select_related("key", "successor").order_by("pk"))


def own_roots() -> list[Issuer]:
    return list(Issuer.objects.filter(key__isnull=False, parent__isnull=True, alias="").select_related("key").order_by("pk"))


def refresh_point(point: CRLPoint, *, force: bool = False, actor: Actor = WORKER) -> CRL | None:
    """Publish CRLs until nothing has changed. Returns the last CRL made, None for none. A CRL that
    must be withheld raises an alert.
    """
    # A revocation that comes while a CRL is built is in the next one. Not in an endless loop: the next CRL after some rounds is
    # the next maintenance run's.
    made = None
    for _ in range(ROUNDS):
        point.refresh_from_db()
        if not force and not needs_new_crl(point, now=database_now()):
            break
        pause("crl", "needed")
        try:
            made = publish_crl(point, actor=actor) or made
        except CRLWithheld as exc:
            _alarm_withheld(point, str(exc))
            return None
        force = False
    if made is not None:
        with transaction.atomic():
            for kind in (AlertKind.CRL_WITHHELD, AlertKind.CRL_LATE):
                close_alerts(kind=kind, cause=crl_cause(point), now=database_now())
    return made


def crl_cause(point: CRLPoint) -> str:
    """Return the cause under which alerts about this CRL are raised and closed."""
    return f"crl:{point.issuer.slug}/{point.shard}"


@transaction.atomic
def _alarm_withheld(point: CRLPoint, reason: str) -> None:
    raise_alert(
        kind=AlertKind.CRL_WITHHELD,
        cause=crl_cause(point),
        message=f"The next CRL of {point} is not published: {reason}",
        next_step="The last one stays public until its nextUpdate. Find what changed those rows; the audit log names every revocation.",
        now=database_now(),
    )


def open_next_shard(issuer: Issuer) -> bool:
    """Begin the next CRL shard once this one is full (PKI_CRL_SHARD_SIZE). Returns whether one was begun."""
    share = settings.PKI_CRL_SHARD_SIZE
    if not share or issuer.state != Issuer.State.ACTIVE:
        return False
    point = points_of(issuer)[-1]
    top = _count(point, at_least=max(1, share // 10))
    if point.issued < share:
        return False
    with transaction.atomic():
        now, shard = database_now(), issuer.crl_shard + 1
        # Compare and set: two maintenance runs at once open one shard. Certificates name the shard that the issuer's row has when
        # they are prepared.
        if not Issuer.objects.filter(pk=issuer.pk, crl_shard=shard - 1).update(crl_shard=shard):
            return False
        CRLPoint.objects.get_or_create(issuer=issuer, shard=shard, defaults={"counted_to": top})
        record(EventType.CRL_SHARD_OPENED, subject=f"issuer:{issuer.slug}", actor=WORKER, at=now, data={"shard": shard})
    issuer.crl_shard = shard
    return True


def _count(point: CRLPoint, *, at_least: int) -> int:
    """Count the intents since the last count, each once, when there may be that many. An index would cost time for every certificate."""
    top: int = IssuanceIntent.objects.aggregate(top=Max("pk"))["top"] or 0
    before = point.counted_to
    if top - before < at_least:
        return before
    fresh = IssuanceIntent.objects.filter(pk__gt=before, pk__lte=top, issuer=point.issuer, crl_shard=point.shard).count()
    if CRLPoint.objects.filter(pk=point.pk, counted_to=before).update(counted_to=top, issued=F("issued") + fresh):
        point.issued, point.counted_to = point.issued + fresh, top
    return top


def abandon_old_intents() -> int:
    """Abandon intents that were not signed within an hour: should a signature exist, the CRL revokes it. Returns how many."""
    now = database_now()
    old = IssuanceIntent.objects.filter(state=IssuanceIntent.State.INTENDED, created_at__lt=now - INTENT_LIFETIME)
    count = 0
    for intent in old.select_related("issuer")[:CHUNK]:
        with transaction.atomic():
            # Compare and set against the phase `record` of its order: signed or abandoned, never both. From here on the CRL lists
            # the serial number, whoever signs it late.
            open_ones = IssuanceIntent.objects.filter(pk=intent.pk, state=IssuanceIntent.State.INTENDED)
            if not open_ones.update(state=IssuanceIntent.State.ABANDONED, revoked_at=Coalesce(F("revoked_at"), now)):
                continue
            data = {"order_ref": intent.order_ref, "serial_number": intent.serial_number}
            record_many([AuditEvent(EventType.INTENT_ABANDONED, f"issuer:{intent.issuer.slug}", WORKER, now, data)])
        count += 1
    return count


def retire_predecessors() -> int:
    """Let replaced CAs sign status information only, once all that was requested from them is issued. Returns how many."""
    retired = 0
    for issuer in Issuer.objects.filter(successor__isnull=False, state=Issuer.State.ACTIVE).exclude(
        requests__state__in=[*UNFINISHED, RequestState.AWAITING_APPROVAL]
    ):
        with transaction.atomic():
            now = database_now()
            row = Issuer.objects.select_for_update(of=("self",)).get(pk=issuer.pk)
            if row.state != Issuer.State.ACTIVE:
                continue
            row.state = Issuer.State.REVOCATION_ONLY
            attribute(row, WORKER)
            row.save(update_fields=["state"])
            data = {"from": "active", "to": "revocation_only"}
            record(EventType.ISSUER_STATE_CHANGED, subject=f"issuer:{issuer.slug}", actor=WORKER, at=now, data=data)
        retired += 1
    return retired
