"""The only writers of policy versions (draft, publish) and the one reader of what is in force."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction

from audit.log import Actor, EventType, Value, record
from db.sql import fetch, time_parameter
from policy.errors import PolicyConflict, PolicyMissing, PublicationRefused
from policy.models import Policy, PolicyVersion
from policy.persons import ALONE, is_identified, is_same_person, one_person_is_enough
from policy.rules import ruleset_digest, ruleset_from_dict, ruleset_to_dict

# The same order as PolicyVersionQuerySet.in_force: this query runs several times a certificate, and
# the ORM costs more than the query.
_IN_FORCE = (
    "SELECT v.id, v.digest, CAST(v.published_at AS varchar(40)) FROM policy_policyversion v JOIN policy_policy p ON p.id = v.policy_id "
    "WHERE p.name = %s AND v.state = 'published' AND v.effective_from <= %s "
    "ORDER BY v.effective_from DESC, v.published_at DESC, v.id DESC LIMIT 1"
)
_read: dict[tuple[int, str, str], PolicyVersion] = {}
_MOST_READ = 64
PUBLISH = "policy.publish_policyversion"


def draft_version(policy_name: str, rules: Mapping[str, Any], *, actor: Actor, now: datetime) -> PolicyVersion:
    """Store a draft under the version that the rules name. Makes the policy when it is new.

    A draft of the same version is replaced by a new row, so that publishing the row that was shown publishes what was
    shown. Raises RuleSetInvalid for rules that cannot be read, PolicyConflict when that version is published already.
    """
    ruleset = ruleset_from_dict(rules)
    digest = ruleset_digest(ruleset)
    with transaction.atomic():
        Policy.objects.get_or_create(name=policy_name)
        # two officers who draft the same version do it one after the other
        policy = Policy.objects.select_for_update().get(name=policy_name)
        _replaceable(policy, ruleset.version)
        PolicyVersion.objects.filter(policy=policy, version=ruleset.version).delete()
        version = PolicyVersion.objects.create(
            policy=policy,
            version=ruleset.version,
            rules=ruleset_to_dict(ruleset),
            digest=digest,
            drafted_at=now,
            drafted_by=actor.name,
            drafter=_account_of(actor),
        )
        data = {"version": version.version, "digest_sha256": digest}
        record(EventType.POLICY_DRAFTED, subject=f"policy:{policy_name}", actor=actor, at=now, data=data)
    return version


def publish_as(version: PolicyVersion, *, user: Any, now: datetime, effective_from: datetime | None = None) -> PolicyVersion:
    """Publish a version as a person: an officer who is not the person who drafted it.

    Facts of now: the account is active, holds the permission, and it is known which person it belongs to. Otherwise raises
    PublicationRefused; also what `publish_version` raises. The drafter is read under the lock that publishes.
    """
    with transaction.atomic():
        row = PolicyVersion.objects.select_for_update(of=("self",)).select_related("drafter").filter(pk=version.pk).first()
        if row is None:
            raise PolicyConflict(f"{version} was drafted anew since you saw it. Look at the new draft before you publish it.")
        alone = _is_alone(row, user)
        data: dict[str, Value] = {"single_officer": True} if alone else {}
        return _publish(row, actor=Actor("user", user.get_username()), now=now, effective_from=effective_from, also=data)


def _is_alone(row: PolicyVersion, user: Any) -> bool:
    """Whether one person publishes alone, as PKI_SINGLE_OFFICER allows. Raises PublicationRefused."""
    officers = get_user_model().objects.with_perm(PUBLISH, backend="django.contrib.auth.backends.ModelBackend")
    if not officers.filter(pk=user.pk).exists():
        raise PublicationRefused(f"{user} may not publish policies. Ask a security officer.")
    if is_identified(user) and (row.drafter is None or not is_same_person(user, row.drafter)):
        return False
    if one_person_is_enough():
        return True
    if not is_identified(user):
        raise PublicationRefused(
            f"It is not known which person {user} is, so this account publishes nothing. "
            "Ask an administrator to run `manage.py identify_user` for it."
        )
    raise PublicationRefused(f"{row} was drafted by {row.drafted_by}, and a second person publishes it. {ALONE}")


def publish_version(version: PolicyVersion, *, actor: Actor, now: datetime, effective_from: datetime | None = None) -> PolicyVersion:
    """Put a draft in force from `effective_from` (default: now); from then on it never changes. Returns the stored row.

    For the portal itself (`bootstrap`); persons publish with `publish_as`.

    Raises PolicyConflict when it is published already or would take effect in the past: decisions of the past stay as they were.
    """
    return _publish(version, actor=actor, now=now, effective_from=effective_from, also={})


def _publish(
    version: PolicyVersion, *, actor: Actor, now: datetime, effective_from: datetime | None, also: Mapping[str, Value]
) -> PolicyVersion:
    start = effective_from or now
    if start < now:
        raise PolicyConflict(
            f"{version} cannot take effect in the past ({start.isoformat()}). Publish it from now on, or from a later date."
        )
    with transaction.atomic():
        row = PolicyVersion.objects.select_for_update().select_related("policy").get(pk=version.pk)
        if row.is_published:
            raise PolicyConflict(
                f"{row} is published already, effective from {row.effective_from}. Draft a new version to change the policy."
            )
        _ = row.ruleset  # a draft that cannot be read must not come into force: raises PolicyCorrupt
        row.state, row.effective_from, row.published_at, row.published_by = PolicyVersion.State.PUBLISHED, start, now, actor.name
        row.save()
        data = {"version": row.version, "digest_sha256": row.digest, "effective_from": start.isoformat()} | dict(also)
        record(EventType.POLICY_PUBLISHED, subject=f"policy:{row.policy.name}", actor=actor, at=now, data=data)
    return row


def version_in_force(policy_name: str, at: datetime) -> PolicyVersion:
    """The published version that counts at that moment; asked anew each time, read and parsed once a process. Raises PolicyMissing."""
    rows = fetch(_IN_FORCE, [policy_name, time_parameter(at)])
    if not rows:
        raise PolicyMissing(policy_name)
    found: tuple[int, str, str] = rows[0]
    version = _read.get(found)
    if version is None:
        if len(_read) >= _MOST_READ:
            _read.clear()
        version = _read[found] = PolicyVersion.objects.select_related("policy").get(pk=found[0])
    return version


def _account_of(actor: Actor) -> Any:
    return get_user_model().objects.filter(username=actor.name).first() if actor.kind == "user" else None


def _replaceable(policy: Policy, version: str) -> None:
    if PolicyVersion.objects.published().filter(policy=policy, version=version).exists():
        raise PolicyConflict(
            f"Version {version} of policy {policy.name} is published and cannot be drafted again. Choose the next version."
        )
