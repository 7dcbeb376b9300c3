"""Drafts of policy versions: begun, changed and deleted until one is published. Their only writers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction

from audit.log import Actor, EventType, record
from policy.errors import PolicyConflict
from policy.models import Policy, PolicyVersion
from policy.rules import RuleSet, ruleset_digest, ruleset_from_dict, ruleset_to_dict


def draft_version(
    policy_name: str,
    rules: Mapping[str, Any],
    *,
    actor: Actor,
    now: datetime,
    proposed_from: datetime | None = None,
    note: str = "",
) -> PolicyVersion:
    """Store a draft under the version that the rules name. Makes the policy when it is new.

    Raises RuleSetInvalid for rules that cannot be read, PolicyConflict where that version exists:
    a draft is never replaced by another one of the same name.
    """
    ruleset = ruleset_from_dict(rules)
    digest = ruleset_digest(ruleset)
    with transaction.atomic():
        policy = _locked(policy_name)
        _refuse_known(policy, ruleset)
        account = _account_of(actor)
        version = PolicyVersion.objects.create(
            policy=policy,
            version=ruleset.version,
            rules=ruleset_to_dict(ruleset),
            digest=digest,
            drafted_at=now,
            drafted_by=actor.name,
            drafter=account,
            proposed_from=proposed_from,
            note=note,
        )
        if account is not None:
            version.authors.add(account)
        data = {"version": version.version, "digest_sha256": digest}
        record(EventType.POLICY_DRAFTED, subject=f"policy:{policy_name}", actor=actor, at=now, data=data)
    return version


def change_draft(
    draft: PolicyVersion,
    rules: Mapping[str, Any],
    *,
    actor: Actor,
    now: datetime,
    proposed_from: datetime | None = None,
    note: str = "",
) -> PolicyVersion:
    """Give a draft other rules, date or note. Whoever changes a draft is one of its authors.

    `draft` is as it was shown. Raises RuleSetInvalid, and PolicyConflict where the draft was
    changed, published or deleted since, or where the rules name a version that exists.
    """
    ruleset = ruleset_from_dict(rules)
    with transaction.atomic():
        policy = _locked(draft.policy.name)
        row = _as_shown(draft)
        if row.version != ruleset.version:
            _refuse_known(policy, ruleset)
        row.version, row.rules, row.digest = (
            ruleset.version,
            ruleset_to_dict(ruleset),
            ruleset_digest(ruleset),
        )
        row.proposed_from, row.note = proposed_from, note
        row.save()
        account = _account_of(actor)
        if account is not None:
            row.authors.add(account)
        data = {
            "version": row.version,
            "digest_sha256": row.digest,
            "drafted_by": row.drafted_by,
            "proposed_from": proposed_from.isoformat() if proposed_from else "",
        }
        subject = f"policy:{policy.name}"
        record(EventType.POLICY_DRAFT_CHANGED, subject=subject, actor=actor, at=now, data=data)
    return row


def delete_draft(draft: PolicyVersion, *, actor: Actor, now: datetime) -> None:
    """Delete a draft. Raises PolicyConflict where it was changed, published or deleted since."""
    with transaction.atomic():
        policy = _locked(draft.policy.name)
        row = _as_shown(draft)
        data = {"version": row.version, "digest_sha256": row.digest}
        row.delete()
        subject = f"policy:{policy.name}"
        record(EventType.POLICY_DRAFT_DELETED, subject=subject, actor=actor, at=now, data=data)


def _locked(policy_name: str) -> Policy:
    """Lock the policy: officers who draft the same version do it one after the other."""
    Policy.objects.get_or_create(name=policy_name)
    return Policy.objects.select_for_update().get(name=policy_name)


def _refuse_known(policy: Policy, ruleset: RuleSet) -> None:
    other = PolicyVersion.objects.filter(policy=policy, version=ruleset.version).first()
    if other is None:
        return
    if other.is_published:
        raise PolicyConflict(
            f"Version {ruleset.version} of policy {policy.name} is published and cannot be drafted again. Choose the next version."
        )
    raise PolicyConflict(
        f"There is a draft of version {ruleset.version} already, by {other.drafted_by}. "
        "Change that draft, delete it, or choose another version."
    )


def _as_shown(draft: PolicyVersion) -> PolicyVersion:
    row = PolicyVersion.objects.select_for_update(of=("self",)).select_related("policy")
    found = row.filter(pk=draft.pk).first()
    if found is None or found.is_published or found.stamp != draft.stamp:
        raise PolicyConflict(f"{draft} was changed since you saw it. Load the draft again; nothing was stored.")
    return found


def _account_of(actor: Actor) -> Any:
    accounts = get_user_model().objects
    return accounts.filter(username=actor.name).first() if actor.kind == "user" else None
