"""Keeping status information true and fresh: CRLs after every revocation and on time, responders, shards, and alarms before it is late.

Beat comes by every few seconds, and a revocation starts it at once; each part looks first and does only what is missing, so that
a storm of revocations gives one CRL after another and not one for each. Needs the CA role.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max
from django.db.models.functions import Coalesce

from audit.clock import database_now
from audit.events import EventType
from audit.log import Actor, record, record_many
from audit.log import Event as AuditEvent
from certs.ca.base import CAUnreachable
from certs.ca.local import INTENT_LIFETIME
from certs.ca.responders import ensure_responder, newest_responder
from certs.crl import CRLWithheld, changed, needs_new_crl, points_of, publish_crl
from certs.errors import Conflict
from certs.models import CRL, CRLPoint, IssuanceIntent, Issuer
from certs.notifications.alerts import ca_cause, close_alerts, raise_alert
from certs.terms import RequestState
from certs.workflow.beats import pause
from certs.workflow.responder_keys import destroy_old_responder_keys
from certs.workflow.states import UNFINISHED, WORKER
from keys.errors import KeyBackendError

log = logging.getLogger(__name__)

ROUNDS = 3  # a CRL may be overtaken, or be out of date again when it is published: then another follows at once
ALARM_BEFORE = timedelta(hours=24)
ROOT_ALARM_BEFORE = timedelta(days=30)
CHUNK = 500


def own_issuing_cas() -> list[Issuer]:
    """Those whose key the workers of the CA role may use; nobody speaks for a distrusted one."""
    rows = Issuer.objects.filter(key__isnull=False, certificate_der__isnull=False).exclude(alias="")
    return list(rows.exclude(state=Issuer.State.DISTRUSTED).select_related("key", "successor").order_by("pk"))


def own_roots() -> list[Issuer]:
    return list(Issuer.objects.filter(key__isnull=False, parent__isnull=True, alias="").select_related("key").order_by("pk"))


def keep_status_information() -> dict[str, int]:
    """What beat runs. One CA whose key cannot be used does not keep the others from their turn."""
    done = {"crls": 0, "responders": 0}
    for issuer in own_issuing_cas():
        done["responders"] += _guarded(issuer, lambda issuer=issuer: _renew_responder(issuer))  # type: ignore[misc]
        done["crls"] += _guarded(issuer, lambda issuer=issuer: _refresh(issuer))  # type: ignore[misc]
    abandon_old_intents()
    retire_predecessors()
    destroy_old_responder_keys()
    watch()
    return done


def _guarded(issuer: Issuer, work: Callable[[], int]) -> int:
    """What is late because of this is alarmed by `watch` while there is still time."""
    try:
        return work()
    except (KeyBackendError, CAUnreachable, Conflict) as exc:
        log.warning("status information of %s waits: %s", issuer.name, exc)
        return 0


def _renew_responder(issuer: Issuer) -> int:
    before = newest_responder(issuer)
    return int(ensure_responder(issuer, actor=WORKER) != before)


def _refresh(issuer: Issuer) -> int:
    open_next_shard(issuer)
    return sum(refresh_point(point) is not None for point in points_of(issuer))


def refresh_point(point: CRLPoint, *, force: bool = False, actor: Actor = WORKER) -> CRL | None:
    """Publish while there is something to say; answers the last CRL made. A CRL that must be withheld alarms and answers None."""
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
            for kind in ("crl_withheld", "crl_late"):
                close_alerts(kind=kind, cause=_cause(point), now=database_now())
    return made


def _cause(point: CRLPoint) -> str:
    return f"crl:{point.issuer.slug}/{point.shard}"


@transaction.atomic
def _alarm_withheld(point: CRLPoint, reason: str) -> None:
    raise_alert(
        kind="crl_withheld",
        cause=_cause(point),
        message=f"The next CRL of {point} is not published: {reason}",
        next_step="The last one stays public until its nextUpdate. Find what changed those rows; the audit log names every revocation.",
        now=database_now(),
    )


def open_next_shard(issuer: Issuer) -> bool:
    """Certificates issued from now on are on the next CRL, once this one's share is reached (PKI_CRL_SHARD_SIZE)."""
    share = settings.PKI_CRL_SHARD_SIZE
    if not share or issuer.state != Issuer.State.ACTIVE:
        return False
    point = points_of(issuer)[-1]
    top = _count(point, at_least=max(1, share // 10))
    if point.issued < share:
        return False
    with transaction.atomic():
        now, shard = database_now(), issuer.crl_shard + 1
        if not Issuer.objects.filter(pk=issuer.pk, crl_shard=shard - 1).update(crl_shard=shard):
            return False
        CRLPoint.objects.get_or_create(issuer=issuer, shard=shard, defaults={"counted_to": top})
        record(EventType.CRL_SHARD_OPENED, subject=f"issuer:{issuer.slug}", actor=WORKER, at=now, data={"shard": shard})
    issuer.crl_shard = shard
    return True


def _count(point: CRLPoint, *, at_least: int) -> int:
    """Count the intents that came since the last count, each once, when they may be that many; an index would cost every certificate."""
    top: int = IssuanceIntent.objects.aggregate(top=Max("pk"))["top"] or 0
    before = point.counted_to
    if top - before < at_least:
        return before
    fresh = IssuanceIntent.objects.filter(pk__gt=before, pk__lte=top, issuer=point.issuer, crl_shard=point.shard).count()
    if CRLPoint.objects.filter(pk=point.pk, counted_to=before).update(counted_to=top, issued=F("issued") + fresh):
        point.issued, point.counted_to = point.issued + fresh, top
    return top


def abandon_old_intents() -> int:
    """An intent that nobody came back to within an hour is given up: if a signature exists somewhere, the CRL takes it back."""
    now = database_now()
    old = IssuanceIntent.objects.filter(state=IssuanceIntent.State.INTENDED, created_at__lt=now - INTENT_LIFETIME)
    count = 0
    for intent in old.select_related("issuer")[:CHUNK]:
        with transaction.atomic():
            open_ones = IssuanceIntent.objects.filter(pk=intent.pk, state=IssuanceIntent.State.INTENDED)
            if not open_ones.update(state=IssuanceIntent.State.ABANDONED, revoked_at=Coalesce(F("revoked_at"), now)):
                continue
            data = {"order_ref": intent.order_ref, "serial_number": intent.serial_number}
            record_many([AuditEvent(EventType.INTENT_ABANDONED, f"issuer:{intent.issuer.slug}", WORKER, now, data)])
        count += 1
    return count


def retire_predecessors() -> int:
    """A CA that was succeeded keeps issuing what was asked of it before; when that is done it signs status information only."""
    retired = 0
    for issuer in Issuer.objects.filter(successor__isnull=False, state=Issuer.State.ACTIVE).exclude(
        requests__state__in=[*UNFINISHED, RequestState.AWAITING_APPROVAL]
    ):
        with transaction.atomic():
            now = database_now()
            if not Issuer.objects.filter(pk=issuer.pk, state=Issuer.State.ACTIVE).update(state=Issuer.State.REVOCATION_ONLY):
                continue
            data = {"from": "active", "to": "revocation_only"}
            record(EventType.ISSUER_STATE_CHANGED, subject=f"issuer:{issuer.slug}", actor=WORKER, at=now, data=data)
        retired += 1
    return retired


def watch() -> None:
    """Alarm a day before a CRL or a responder would be late, a month before a root's CRL, which no worker can make."""
    now = database_now()
    for issuer in [*own_issuing_cas(), *own_roots()]:
        root = not issuer.alias
        for point in points_of(issuer):
            before = ROOT_ALARM_BEFORE if root else ALARM_BEFORE
            if point.published is None or point.published.next_update - now < before:
                _alarm_late(point, root=root, now=now)
            else:
                close_alerts(kind="crl_late", cause=_cause(point), now=now)
        if root:
            _watch_root(issuer, now=now)
        else:
            _watch_responder(issuer, now=now)


@transaction.atomic
def _alarm_late(point: CRLPoint, *, root: bool, now: datetime) -> None:
    ends = f"ends {point.published.next_update:%Y-%m-%d %H:%M} UTC" if point.published else "was never made"
    by_root = f"Bring the root's key online and run `manage.py publish_crl --issuer {point.issuer.slug}`."
    by_itself = "Is a worker of the queue `ca` running, and does the CA's key backend answer? Then a new CRL comes by itself."
    raise_alert(
        kind="crl_late",
        cause=_cause(point),
        message=f"The CRL of {point} {ends} and no newer one is published.",
        next_step=by_root if root else by_itself,
        now=now,
    )


@transaction.atomic
def _watch_root(root: Issuer, *, now: datetime) -> None:
    """No worker can sign the root's CRL, so people must know that it does not say yet which CA is distrusted."""
    if not any(changed(point) for point in points_of(root)):
        close_alerts(kind="root_crl_behind", cause=ca_cause(root), now=now)
        return
    raise_alert(
        kind="root_crl_behind",
        cause=ca_cause(root),
        message=f"The CRL of {root.name} does not say yet that a CA beneath it is revoked: whoever checks still trusts that one.",
        next_step=f"Bring the root's key online and run `manage.py publish_crl --issuer {root.slug}`.",
        now=now,
    )


@transaction.atomic
def _watch_responder(issuer: Issuer, *, now: datetime) -> None:
    newest = newest_responder(issuer)
    if newest is not None and newest.not_after - now >= ALARM_BEFORE:
        close_alerts(kind="responder_late", cause=ca_cause(issuer), now=now)
        return
    raise_alert(
        kind="responder_late",
        cause=ca_cause(issuer),
        message=f"The OCSP responder of {issuer.name} has no certificate for the next 24 hours.",
        next_step="Is a worker of the queue `ca` running, and may it make keys in PKI_OCSP_KEY_BACKEND? Then a new one comes by itself.",
        now=now,
    )
