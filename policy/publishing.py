"""Publish and withdraw policy versions, and the one reader of what is in force."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from django.contrib.auth import get_user_model
from django.db import transaction

from audit.events import recordable
from audit.log import Actor, EventType, Value, record
from db.clock import now_in_sql
from db.reads import Read, read, rows_of
from db.sql import time_parameter
from policy.errors import PolicyConflict, PolicyMissing, PublicationRefused
from policy.models import Policy, PolicyVersion, PolicyWaiver, PolicyWithdrawal
from policy.persons import ALONE, is_identified, is_same_person, lock_account, one_person_is_enough
from policy.waivers.waiver import Waiver

# The same order as PolicyVersionQuerySet.in_force: this query runs several times a certificate, and
# the ORM costs more than the query.
_IN_FORCE = (
    "SELECT v.id, v.digest, CAST(v.published_at AS varchar(40)), (SELECT count(*) FROM policy_policywaiver w"
    " WHERE w.policy_id = p.id AND w.approved_at IS NOT NULL AND w.ended_at IS NULL AND w.begins <= {moment} AND w.ends > {moment})"
    " FROM policy_policyversion v JOIN policy_policy p ON p.id = v.policy_id "
    "WHERE p.name = %s AND v.state = 'published' AND v.effective_from <= {moment} "
    "AND NOT EXISTS (SELECT 1 FROM policy_policywithdrawal x WHERE x.version_id = v.id) "
    "ORDER BY v.effective_from DESC, v.published_at DESC, v.id DESC LIMIT 1"
)
_read: dict[tuple[int, str, str], PolicyVersion] = {}
_MOST_READ = 64
WITHDRAWN_BEFORE = timedelta(minutes=1)
PUBLISH = "policy.publish_policyversion"


def publish_as(version: PolicyVersion, *, user: Any, now: datetime, effective_from: datetime | None = None) -> PolicyVersion:
    """Publish a version as a person: an officer who wrote no part of it.

    `version` is as it was shown: it is published only if rules, date and note are still the same. Facts of now: the account
    is active, holds the permission, and it is known which person it belongs to. Otherwise raises PublicationRefused; also
    what `publish_version` raises. The authors are read under the lock that publishes.
    """
    with transaction.atomic():
        # The policy first, as drafting does: two officers who publish at once do it one after the other.
        Policy.objects.select_for_update().get(pk=version.policy_id)
        row = PolicyVersion.objects.select_for_update(of=("self",)).select_related("drafter", "policy").filter(pk=version.pk).first()
        if row is None or row.stamp != version.stamp:
            raise PolicyConflict(f"{version} was changed since you saw it. Look at the draft again before you publish it.")
        # The account's row is locked while the authors are compared: it is not given another person's id in the meantime.
        lock_account(user)
        alone = _is_alone(row, user)
        data: dict[str, Value] = {"single_officer": True} if alone else {}
        return _publish(row, actor=Actor("user", user.get_username()), now=now, effective_from=effective_from, also=data)


def may_publish(user: Any) -> bool:
    """Return whether the account is active and holds the permission now. Who wrote the draft is not checked here."""
    officers = get_user_model().objects.with_perm(PUBLISH, backend="django.contrib.auth.backends.ModelBackend")
    return user.pk is not None and bool(officers.filter(pk=user.pk).exists())


def check_second_person(row: PolicyVersion, user: Any) -> None:
    """Raise PublicationRefused where the account could not publish the draft."""
    _is_alone(row, user)


def _is_alone(row: PolicyVersion, user: Any) -> bool:
    """Return whether one person publishes alone, as PKI_SINGLE_OFFICER allows. Raises PublicationRefused."""
    if not may_publish(user):
        raise PublicationRefused(f"{user} may not publish policies. Ask a security officer.")
    authors = [*row.authors.all(), *([row.drafter] if row.drafter else [])]
    if is_identified(user) and not any(is_same_person(user, author) for author in authors):
        return False
    if one_person_is_enough():
        return True
    if not is_identified(user):
        raise PublicationRefused(
            f"It is not known which person {user} is, so this account publishes nothing. "
            "Ask an administrator to run `manage.py identify_user` for it."
        )
    by = ", ".join(sorted({author.get_username() for author in authors})) or row.drafted_by
    raise PublicationRefused(f"Version {row.version} was drafted by {by}, and a second person publishes it. {ALONE}")


def publish_version(version: PolicyVersion, *, actor: Actor, now: datetime, effective_from: datetime | None = None) -> PolicyVersion:
    """Put a draft in force from `effective_from` (default: now); from then on it never changes. Returns the stored row.

    For the portal itself (`bootstrap`); persons publish with `publish_as`.

    Raises PolicyConflict when it is published already or would take effect in the past: decisions of the past stay as they were.
    """
    return _publish(version, actor=actor, now=now, effective_from=effective_from, also={})


def _publish(
    version: PolicyVersion, *, actor: Actor, now: datetime, effective_from: datetime | None, also: Mapping[str, Value]
) -> PolicyVersion:
    # 1. Never into the past: a decision is explained by the version that was in force when it was made.
    start = effective_from or version.proposed_from or now
    if start < now:
        raise PolicyConflict(
            f"{version} cannot take effect in the past ({start.isoformat()}). Publish it from now on, or from a later date."
        )
    with transaction.atomic():
        # 2. Under the lock: still a draft, alone at its moment, and readable.
        row = PolicyVersion.objects.select_for_update().select_related("policy").get(pk=version.pk)
        if row.is_published:
            raise PolicyConflict(
                f"{row} is published already, effective from {row.effective_from}. Draft a new version to change the policy."
            )
        if start != now:
            published = PolicyVersion.objects.published().filter(policy=row.policy, withdrawal__isnull=True)
            if (other := published.filter(effective_from=start).first()) is not None:
                raise PolicyConflict(
                    f"{other} begins at the same moment ({start:%d %b %Y %H:%M} UTC). Choose another date, or withdraw it first."
                )
        _ = row.ruleset  # a draft that cannot be read must not come into force: raises PolicyCorrupt
        # 3. In force from its date on, with its event. A trigger refuses every later change of the row.
        row.state, row.effective_from, row.published_at, row.published_by = PolicyVersion.State.PUBLISHED, start, now, actor.name
        row.save()
        data = {"version": row.version, "digest_sha256": row.digest, "effective_from": start.isoformat()} | dict(also)
        record(EventType.POLICY_PUBLISHED, subject=f"policy:{row.policy.name}", actor=actor, at=now, data=data)
    return row


def withdraw_as(version: PolicyVersion, *, user: Any, reason: str, now: datetime) -> PolicyWithdrawal:
    """Withdraw a planned version before it begins: what is in force then stays in force.

    Raises PublicationRefused for an account that may not publish, PolicyConflict for a version that is no plan (any more).
    """
    with transaction.atomic():
        row = PolicyVersion.objects.select_for_update(of=("self",)).select_related("policy").get(pk=version.pk)
        lock_account(user)
        if not may_publish(user):
            raise PublicationRefused(f"{user} may not withdraw policies. Ask a security officer.")
        if PolicyWithdrawal.objects.filter(version=row).exists():
            raise PolicyConflict(f"{row} was withdrawn already.")
        # A transaction that is still open when the version begins must not take it back.
        if row.effective_from is None or row.effective_from <= now + WITHDRAWN_BEFORE:
            raise PolicyConflict(f"{row} has begun, or begins within a minute. Publish another version instead.")
        name = user.get_username()
        withdrawal = PolicyWithdrawal.objects.create(version=row, withdrawn_at=now, withdrawn_by=name, reason=reason)
        data = {"version": row.version, "digest_sha256": row.digest, "effective_from": row.effective_from.isoformat()}
        data["reason"] = recordable(reason)
        record(EventType.POLICY_WITHDRAWN, subject=f"policy:{row.policy.name}", actor=Actor("user", name), at=now, data=data)
    return withdrawal


def version_in_force(policy_name: str, at: datetime) -> PolicyVersion:
    """Return the published version that counts at that moment; looked up each time, parsed once a process. Raises PolicyMissing."""
    return version_found(policy_name, read(newest_version(policy_name, at)))[0]


def rules_in_force(policy_name: str, at: datetime) -> tuple[PolicyVersion, tuple[Waiver, ...]]:
    """Return the version that counts at that moment with the waivers of then.

    One statement, and a second one where there are waivers. Raises PolicyMissing.
    """
    version, has_waivers = version_found(policy_name, read(newest_version(policy_name, at)))
    return version, waivers_at(version.policy, at) if has_waivers else ()


Found: TypeAlias = tuple[int, str, str, int]  # id, digest and time of publication of a version; waivers that count


def newest_version(policy_name: str, at: datetime | None) -> Read[Found | None]:
    """Return what `version_found` needs to know, to be sent with other reads. None: now, by the database's clock."""
    moment, times = ("%s", [time_parameter(at)]) if at is not None else (now_in_sql(), [])
    parameters = [*times, *times, policy_name, *times]
    return rows_of((_IN_FORCE.format(moment=moment), parameters), lambda rows: rows[0] if rows else None)


def version_found(policy_name: str, found: Found | None) -> tuple[PolicyVersion, bool]:
    """Return the version, read and parsed once a process, and whether waivers count beside it. Raises PolicyMissing."""
    if found is None:
        raise PolicyMissing(policy_name)
    # By digest and time of publication too, not by the id alone: a restored database may use the id for another version.
    key, waivers = found[:3], found[3]
    version = _read.get(key)
    if version is None:
        if len(_read) >= _MOST_READ:
            _read.clear()
        version = _read[key] = PolicyVersion.objects.select_related("policy").get(pk=key[0])
    return version, bool(waivers)


def waivers_at(policy: Policy, at: datetime) -> tuple[Waiver, ...]:
    """Return the waivers of the policy that count at that moment, the oldest first."""
    rows = PolicyWaiver.objects.filter(policy=policy, approved_at__isnull=False, ended_at__isnull=True, begins__lte=at, ends__gt=at)
    return tuple(row.waiver for row in rows.order_by("pk"))
