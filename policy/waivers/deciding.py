"""Use cases of waivers: request, approve (by a second person), reject, and end before time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from audit.events import recordable
from audit.log import Actor, EventType, record
from policy.errors import PolicyConflict, PublicationRefused
from policy.models import Policy, PolicyWaiver
from policy.persons import ALONE, is_identified, is_same_person, lock_account, one_person_is_enough
from policy.publishing import may_publish
from policy.rules import RuleSetInvalid
from policy.waivers.waiver import waiver_from_dict

LONGEST = timedelta(days=397)
MOST_NAMES = 100


def request_waiver(
    policy_name: str,
    *,
    rule: str,
    params: Mapping[str, Any],
    names: Sequence[str],
    teams: Sequence[str],
    reason: str,
    begins: datetime,
    ends: datetime,
    user: Any,
    now: datetime,
) -> PolicyWaiver:
    """Request a waiver; it has no effect before its approval. Returns the stored row.

    Effects, in one transaction: the row and `waiver:requested`. Raises PublicationRefused for an
    account that may not publish policies; RuleSetInvalid for parameters that the rule does not
    accept, a missing reason, too many names, and a period that is over or longer than LONGEST.
    """
    _check_may(user)
    waiver = waiver_from_dict("new", rule, params, names=names, teams=teams)
    if not reason.strip():
        raise RuleSetInvalid("reason: write why this exception is needed")
    if len(names) > MOST_NAMES:
        raise RuleSetInvalid(f"names: at most {MOST_NAMES} names; waive the rule for the team instead")
    if not begins < ends or ends <= now:
        raise RuleSetInvalid("ends: the end must be after the begin, and in the future")
    if ends - max(begins, now) > LONGEST:
        raise RuleSetInvalid(f"ends: at most {LONGEST.days} days; request the waiver again then")
    with transaction.atomic():
        lock_account(user)
        _check_may(user)
        row = PolicyWaiver.objects.create(
            policy=Policy.objects.get(name=policy_name),
            rule=rule,
            params=waiver.relaxed.to_dict(),
            names=sorted(waiver.names),
            teams=sorted(waiver.teams),
            reason=reason.strip(),
            begins=begins,
            ends=ends,
            requested_at=now,
            requester=user,
        )
        _record(EventType.WAIVER_REQUESTED, row, user, now)
    return row


def approve_waiver(row: PolicyWaiver, *, user: Any, now: datetime) -> PolicyWaiver:
    """Approve a waiver as a second person. It takes effect at once, or at its begin.

    Effects, in one transaction: the row and `waiver:approved`. Raises PublicationRefused for an
    account that may not publish policies and for the person who requested the waiver (unless
    PKI_SINGLE_OFFICER allows one person alone), PolicyConflict where it was decided or has ended.
    """
    with transaction.atomic():
        locked = PolicyWaiver.objects.select_for_update(of=("self",)).select_related("requester")
        stored = locked.get(pk=row.pk)
        lock_account(user)
        # Behind both locks: an officer who lost the right during the wait approves nothing.
        _check_may(user)
        if stored.state_at(now) != "waiting" or stored.ends <= now:
            raise PolicyConflict(f"Waiver {stored} no longer waits for a decision.")
        alone = not is_identified(user) or is_same_person(user, stored.requester)
        if alone and not one_person_is_enough():
            raise PublicationRefused(
                f"Waiver {stored} was requested by {stored.requester}, and a second person, of whom it is known "
                f"who that is, approves it. {ALONE}"
            )
        stored.approver, stored.approved_at = user, now
        stored.save(update_fields=["approver", "approved_at"])
        _record(EventType.WAIVER_APPROVED, stored, user, now)
    return stored


def end_waiver(row: PolicyWaiver, *, reason: str, user: Any, now: datetime) -> PolicyWaiver:
    """Reject a waiver that waits for approval, or end an approved one before its time.

    One officer may do this alone, because it makes the rules stricter. Effects, in one transaction:
    the row and `waiver:rejected` or `waiver:ended`. Raises PublicationRefused for an account that may
    not publish policies, PolicyConflict where the waiver has ended already.
    """
    with transaction.atomic():
        stored = PolicyWaiver.objects.select_for_update(of=("self",)).get(pk=row.pk)
        lock_account(user)
        _check_may(user)
        state = stored.state_at(now)
        if state in ("rejected", "ended"):
            raise PolicyConflict(f"Waiver {stored} has ended already.")
        stored.ended_at, stored.ended_by, stored.end_reason = now, user.get_username(), reason
        stored.save(update_fields=["ended_at", "ended_by", "end_reason"])
        event = EventType.WAIVER_REJECTED if state == "waiting" else EventType.WAIVER_ENDED
        _record(event, stored, user, now)
    return stored


def _check_may(user: Any) -> None:
    if not may_publish(user):
        raise PublicationRefused(f"{user} may not decide about waivers. Ask a security officer.")


def _record(event: EventType, row: PolicyWaiver, user: Any, now: datetime) -> None:
    data = {
        "content_sha256": row.digest,
        "rule": row.rule,
        "names": recordable(", ".join(row.names), most=1000),
        "teams": recordable(", ".join(row.teams), most=1000),
        "reason": recordable(row.end_reason or row.reason),
        "begins": row.begins.isoformat(),
        "ends": row.ends.isoformat(),
    }
    record(event, subject=row.subject, actor=Actor("user", user.get_username()), at=now, data=data)
