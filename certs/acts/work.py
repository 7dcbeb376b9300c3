"""The work on an act: one line after the other, each in a transaction of its own.

Exactly once: what a line does and its outcome are committed together, under the lock of the line. A
worker that dies leaves the line as it was; the sweeper begins again. A line that takes its worker
along three times is failed. Only one worker is at an act at a time, by a lease that each line
renews; two would be slower, not wrong.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery import signature
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import F, Q
from kombu.exceptions import OperationalError

from audit.log import Actor
from certs.access.permissions import Authority
from certs.acts.ending import finish
from certs.alone import Alone
from certs.enums import Channel, RevocationReason
from certs.errors import NotPermitted, PortalError
from certs.models import BulkAct, BulkActLine, Certificate
from certs.pipeline import in_lane, start_on_commit
from certs.renewal.plan import KeyOption
from certs.renewal.renew import renew
from certs.requests.description import Changes, describe, write_description
from certs.revocation.request import start_delivery
from certs.revocation.revoke import revoke
from db.clock import database_now
from db.rows import Lock, select
from keys.errors import KeyBackendError
from policy.errors import PolicyError

log = logging.getLogger(__name__)

TASK = "certs.tasks.work_on_act"
SECONDS = 10.0  # of one task; then others in the lane have their turn
LEASE = timedelta(seconds=30)
MOST_TRIES = 3
Kind, State, Outcome = BulkAct.Kind, BulkAct.State, BulkActLine.Outcome


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of a line."""

    outcome: BulkActLine.Outcome
    reason: str = ""
    advice: str = ""
    result: str = ""
    owner_before: Any = None


def begin_on_commit(act_id: int) -> None:
    """Let a worker begin when the open transaction is committed."""
    transaction.on_commit(lambda: ask_worker(act_id))


def ask_worker(act_id: int) -> None:
    try:
        in_lane(signature(TASK, args=(act_id,)), bulk=True).apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, the act waits for the sweeper: %s", exc)


def work_on(act_id: int) -> int:
    """Do lines of an act for some seconds. Returns how many ended; asks for another turn if some are left.

    Safe to run at any time and twice at once: an act that does not run, or at which another worker
    is, is left alone.
    """
    if not _lease(act_id):
        return 0
    done, until = 0, time.monotonic() + SECONDS
    try:
        while time.monotonic() < until and (pk := _claim(act_id)) is not None:
            done += _do_line_alone(act_id, pk)
            BulkAct.objects.filter(pk=act_id).update(worked_at=database_now())
    finally:
        BulkAct.objects.filter(pk=act_id).update(worked_at=None)
    if BulkAct.objects.filter(pk=act_id, kind=Kind.REVOKE).exists() and done:
        start_delivery()
    if not finish(act_id) and BulkAct.objects.filter(pk=act_id, state=State.RUNNING).exists():
        ask_worker(act_id)
    return done


def _lease(act_id: int) -> bool:
    now = database_now()
    free = Q(worked_at__isnull=True) | Q(worked_at__lt=now - LEASE)
    rows = BulkAct.objects.filter(free, pk=act_id, state=State.RUNNING)
    return bool(rows.update(worked_at=now))


@transaction.atomic
def _claim(act_id: int) -> int | None:
    """Return the next line, with one more try on record before anything can happen to this process."""
    if not select(BulkAct, lock=Lock.SHARE, id=act_id, state=State.RUNNING):
        return None
    waiting = BulkActLine.objects.filter(act=act_id, outcome=Outcome.WAITING)
    for line in waiting.select_for_update(skip_locked=True).order_by("number")[:1]:
        line.tries = F("tries") + 1
        line.save(update_fields=["tries"])
        return line.pk
    return None


def _do_line_alone(act_id: int, line_id: int) -> bool:
    """Do one line. What fails in an unforeseen way is tried again, and fails alone in the end."""
    with Alone() as outcome:
        return do_line(act_id, line_id)
    error = outcome.error
    log.error("line %d of bulk act %d failed", line_id, act_id, exc_info=error)
    # The text of an unforeseen error may quote anything, so only its type is kept.
    failed = f"It failed in an unforeseen way ({type(error).__name__}), {MOST_TRIES} times."
    rows = BulkActLine.objects.filter(pk=line_id, outcome=Outcome.WAITING, tries__gte=MOST_TRIES)
    return bool(
        rows.update(
            outcome=Outcome.FAILED,
            reason=failed,
            advice="Try it again; if it fails again, ask an operator for the log.",
            done_at=database_now(),
        )
    )


def do_line(act_id: int, line_id: int) -> bool:
    with transaction.atomic():
        # 1. A pause waits for this lock, so nothing is begun after it.
        acts = select(BulkAct, lock=Lock.SHARE, id=act_id, state=State.RUNNING)
        line = BulkActLine.objects.select_for_update(skip_locked=True).filter(pk=line_id, outcome=Outcome.WAITING).first()
        if not acts or line is None:
            return False
        if line.tries > MOST_TRIES:
            done = _Done(Outcome.FAILED, "Its worker was lost three times.", "Try it again.")
        else:
            # 2. With the rights of this moment: the person who ordered it may have left.
            try:
                done = act_on(acts[0], line.certificate_id)
            except PortalError as exc:
                done = _Done(Outcome.REFUSED, exc.message, exc.next_step)
            except (KeyBackendError, PolicyError) as exc:
                done = _Done(Outcome.FAILED, str(exc), "Try it again when that is mended.")
        # 3. The outcome is committed together with what was done.
        now = database_now()
        line.outcome, line.done_at, line.result = done.outcome, now, done.result
        line.reason, line.advice, line.owner_before = done.reason[:500], done.advice[:500], done.owner_before
        line.save(update_fields=["outcome", "done_at", "result", "reason", "advice", "owner_before"])
    return True


def act_on(act: BulkAct, certificate_id: int) -> _Done:
    person = get_user_model().objects.get(pk=act.person_id)
    authority = Authority(Actor("user", person.get_username()), person)
    certificate = Certificate.objects.select_related("team", "issuer").get(pk=certificate_id)
    _check_still_may(person, certificate, authority)
    match act.kind:
        case Kind.RENEW:
            return _renew(act, certificate, authority)
        case Kind.REVOKE:
            return _revoke(act, certificate, authority)
        case Kind.OWNER:
            changes: Changes = {"owner": act.options["owner"]}
            changed, before = write_description(certificate, changes, authority=authority, channel=Channel.PORTAL)
            return _Done(Outcome.UNCHANGED if changed.owner == before else Outcome.DONE, owner_before=before)
    return _tag(act, certificate, authority)


def _check_still_may(person: Any, certificate: Certificate, authority: Authority) -> None:
    """Raise NotPermitted for a person who lost the account, role or team since the preview.

    The use cases refuse it too, in the words for strangers: that there is no such certificate.
    """
    if not person.is_active:
        raise NotPermitted(
            f"The account of {person}, who ordered this, is closed.",
            next_step="Somebody else can select the certificates and order it again.",
        )
    teams = authority.acts_for()
    if teams is not None and certificate.team_id not in teams:
        raise NotPermitted(
            f"{person}, who ordered this, may not act for team {certificate.team.name} any more.",
            next_step=f"A member of {certificate.team.name} or the security team can order it again.",
        )


def _renew(act: BulkAct, certificate: Certificate, authority: Authority) -> _Done:
    option = KeyOption(act.options["key"])
    renewal = renew(certificate, authority=authority, channel=Channel.PORTAL, key_option=option, begin=False)
    result = renewal.request.public_id
    if renewal.already:
        return _Done(Outcome.UNCHANGED, "It was renewed already.", result=result)
    # In the lane of bulk orders: no single request waits behind these.
    start_on_commit([renewal.request.pk], bulk=True)
    return _Done(Outcome.DONE, result=result)


def _revoke(act: BulkAct, certificate: Certificate, authority: Authority) -> _Done:
    before = certificate.status_version
    revoke(
        certificate,
        reason=RevocationReason(act.options["reason"]),
        authority=authority,
        comment=act.options["comment"],
        only=(),
        begin=False,
    )
    after = Certificate.objects.values_list("status_version", flat=True).get(pk=certificate.pk)
    return _Done(Outcome.DONE if after != before else Outcome.UNCHANGED)


def _tag(act: BulkAct, certificate: Certificate, authority: Authority) -> _Done:
    # All tags are written at once, so they are read under the lock of the row.
    tags = Certificate.objects.select_for_update().get(pk=certificate.pk).tag_list
    tag = act.options["tag"]
    wanted = [*(one for one in tags if one != tag), *([tag] if act.kind == Kind.ADD_TAG else [])]
    if sorted(wanted) == sorted(tags):
        return _Done(Outcome.UNCHANGED)
    describe(certificate, {"tags": wanted}, authority=authority, channel=Channel.PORTAL)
    return _Done(Outcome.DONE)


def restart_stalled() -> int:
    """Ask workers for the running acts at which none is. Returns how many."""
    now = database_now()
    free = Q(worked_at__isnull=True) | Q(worked_at__lt=now - LEASE)
    settled = now - LEASE  # a fresh one has its own message
    rows = BulkAct.objects.filter(free, state=State.RUNNING, submitted_at__lt=settled)
    ids = list(rows.order_by("pk").values_list("pk", flat=True)[:20])
    for pk in ids:
        ask_worker(pk)
    return len(ids)
