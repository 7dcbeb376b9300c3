"""From lines to a draft order: every line evaluated by the policy, duplicates pointed out, suggestions ready to be applied.

Lines are evaluated and written a part at a time, each in a transaction of its own, so that fifty thousand of them neither fill the
memory nor keep everybody else from writing. Until the last part is there the order is `judging`: nobody sees it and nothing can
be done with it. One that is interrupted there is deleted by the sweeper, or by the next try under the same idempotency key.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from django.conf import settings
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Count

from audit.events import recordable
from certs.access.permissions import Authority, members_among
from certs.bulk.drafting.judge import Judge, judge
from certs.bulk.lines import spec_changed, spec_to_json, suggestion_applies
from certs.errors import Conflict, InputRefused
from certs.fault_points import pause
from certs.models import BulkItem, BulkOrder, Issuer, Team, new_public_id
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.requests.submit import Requester, active_issuer, check_idempotency_key, check_profiles
from certs.spec import IssuePlan
from certs.uploads.line import Line
from db.clock import database_now
from db.rows import insert, save_fields

State = BulkOrder.State
JUDGED_AT_ONCE = 1000
BROKEN_AFTER = timedelta(minutes=2)  # without a part judged: the process that drafted it has ended
WAIT_SECONDS, LOOK_EVERY = 30.0, 0.1  # while another call judges the same order


def lines_of(plan: IssuePlan) -> list[Line]:
    """Return a plan in words as lines: one for each certificate, in order."""
    return [Line(number, f"certificate {number}", spec) for number, spec in enumerate(plan.specs, start=1)]


def draft(lines: Collection[Line], *, requester: Requester, title: str, issuer: str | None = None, notes: Sequence[str] = ()) -> BulkOrder:
    """Keep lines as a draft, judged under the policy in force now. Nothing is issued before it is submitted.

    `notes` say what was assumed for all of them, such as a default of the policy.

    With an idempotency key the same lines again return the first order, whatever has become of it. Raises NotPermitted,
    InputRefused; Conflict for a key that was used for another content.
    """
    order = judged(lines, requester=requester, title=title, issuer=issuer, notes=notes)
    return open_draft(order) if order.state == State.JUDGING else order


def judged(lines: Collection[Line], *, requester: Requester, title: str, issuer: str | None = None, notes: Sequence[str] = ()) -> BulkOrder:
    """Draft lines as `draft` does, but leave the order `judging`: the caller opens it with `open_draft` or deletes it with `discard`."""
    # 1. What refuses the order as a whole, before a line is read.
    requester.check()
    refuse_secrets(title, actor=requester.actor, team=requester.team.slug, field="title", channel=requester.channel)
    check_idempotency_key(requester)
    if not lines:
        raise InputRefused("There is no line in this order.", field="items", next_step="Give at least one certificate.")
    if len(lines) > settings.PKI_BULK_MAX_LINES:
        raise InputRefused(
            f"{len(lines)} lines are more than {settings.PKI_BULK_MAX_LINES}.",
            field="items",
            next_step="Split the order; several orders of a team are worked off side by side.",
        )
    # 2. One pass over all lines: the digest of the order, and the profiles that would refuse it as a whole. Evaluating the
    #    lines takes much longer, and is not begun for an order that will be refused.
    target = active_issuer(issuer or settings.PKI_DEFAULT_CA)
    survey = _surveyed(lines, requester, target)
    check_profiles(survey.profiles)
    requester.authority.check_profiles(survey.profiles)
    # 3. The order, or the one that this idempotency key made.
    order = _begun(requester, target, title, survey.digest, notes, total=len(lines))
    # 4. Its lines, part by part.
    if order.state == State.JUDGING:
        try:
            _judge_all(order, lines, _teams(survey.owners, requester))
        except Exception:
            # No process will go on with it, and its idempotency key must be free. Without a database the sweeper deletes it.
            with contextlib.suppress(DatabaseError):
                discard(order)
            raise
    return order


def _begun(requester: Requester, issuer: Issuer, title: str, content: str, notes: Sequence[str], *, total: int) -> BulkOrder:
    """Return a new order, or the one that this idempotency key made. Waits while another call evaluates that one.

    Raises Conflict for a key that made another order, and when the other call takes longer than WAIT_SECONDS.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        # 1. Insert. The unique pair of scope and key decides between two calls at once.
        try:
            with transaction.atomic():
                now = database_now()
                return BulkOrder.objects.create(
                    public_id=new_public_id("bulk", now),
                    state=State.JUDGING,
                    team=requester.team,
                    requester=requester.user,
                    actor_kind=requester.actor.kind,
                    actor_name=requester.actor.name,
                    door=requester.channel,
                    issuer=issuer,
                    title=recordable(" ".join(title.split()), most=200),
                    notes=list(notes),
                    total=total,
                    content_sha256=content,
                    idempotency_scope=requester.idempotency_scope,
                    idempotency_key=requester.idempotency_key,
                    created_at=now,
                    judged_at=now,
                )
        except IntegrityError:
            if not requester.idempotency_key:
                raise
        # 2. The key has made an order: return it where its lines are evaluated.
        earlier = _earlier(requester, content)
        if earlier is not None and earlier.state != State.JUDGING:
            return earlier
        # 3. Delete it where its call was interrupted, and begin anew; else wait for that call. Never within a transaction, whose
        #    locks would be held for all of the wait.
        if earlier is not None and not discard(earlier, unless_after=database_now() - BROKEN_AFTER):
            if time.monotonic() >= deadline or connection.in_atomic_block:
                raise Conflict(
                    f"{earlier.public_id}, which this idempotency key made, is still being judged.",
                    field="Idempotency-Key",
                    next_step="Send the same again in a minute.",
                )
            time.sleep(LOOK_EVERY)


def _earlier(requester: Requester, content: str) -> BulkOrder | None:
    """Return the order that an idempotency key made; None when it has been deleted since."""
    order = BulkOrder.objects.filter(idempotency_scope=requester.idempotency_scope, idempotency_key=requester.idempotency_key).first()
    if order is not None and order.content_sha256 != content:
        raise Conflict(
            "This idempotency key was used for another order.",
            field="Idempotency-Key",
            next_step="Use a new key, or send what it was first used for.",
        )
    return order


@dataclass(frozen=True, slots=True)
class _Survey:
    """What must be known about all lines before the first is judged."""

    digest: str
    profiles: frozenset[str]
    owners: frozenset[str]


def _surveyed(lines: Iterable[Line], requester: Requester, issuer: Issuer) -> _Survey:
    """Return the survey of all lines, in one pass: lines of an upload are read from a file each time."""
    digest = hashlib.sha256(f"{requester.team.slug}\n{issuer.name}\n".encode())
    profiles, owners = set[str](), set[str]()
    for line in lines:
        digest.update(json.dumps([line.number, line.owner, spec_to_json(line.spec), line.problem], sort_keys=True).encode())
        owners.add(line.owner)
        if line.spec:
            profiles.add(line.spec.profile)
            digest.update(line.spec.spki_der or b"")
    return _Survey(digest.hexdigest(), frozenset(profiles), frozenset(owners))


def _teams(owners: Collection[str], requester: Requester) -> Mapping[str, Team]:
    """Return the teams that lines name as owners, as far as the requester may request for them."""
    rows = list(Team.objects.filter(slug__in=set(owners) - {"", requester.team.slug}))
    if requester.user is not None:
        belongs = members_among([(team.pk, requester.user.pk) for team in rows])
        rows = [team for team in rows if (team.pk, requester.user.pk) in belongs]
    return {"": requester.team, requester.team.slug: requester.team} | {team.slug: team for team in rows}


def _judge_all(order: BulkOrder, lines: Iterable[Line], teams: Mapping[str, Team]) -> None:
    by_lines, numbered = Judge(order, teams), enumerate(lines, start=1)
    # Evaluated outside of the transaction, which then lasts only for the INSERT: SQLite has one writer at a time.
    while part := list(islice(numbered, JUDGED_AT_ONCE)):
        items = by_lines.items(part)
        pause("draft", "part judged")
        with transaction.atomic():
            # Raises where the order was deleted as broken in the meantime: its lines must not come back.
            _move(order, State.JUDGING)
            insert(items)


def open_draft(order: BulkOrder) -> BulkOrder:
    """Make a draft of an order whose lines are all evaluated: from now on people see it."""
    _move(order, State.DRAFT)
    order.refresh_from_db()
    return order


def _move(order: BulkOrder, to: State) -> None:
    if not BulkOrder.objects.filter(pk=order.pk, state=State.JUDGING).update(state=to, judged_at=database_now()):
        raise Conflict(f"Judging {order.public_id} stood still for too long, and it was given up.", next_step="Make the order again.")


def discard(order: BulkOrder, *, unless_after: datetime | None = None) -> bool:
    """Delete an order that was never submitted. Returns whether it did. One whose judging went on after that moment stays."""
    with transaction.atomic():
        rows = BulkOrder.objects.select_for_update().filter(pk=order.pk, submitted_at__isnull=True)
        if unless_after is not None:
            rows = rows.filter(judged_at__lt=unless_after)
        if not list(rows.values_list("pk")):
            return False
        with connection.cursor() as cursor:  # the ORM would read every line of it first
            cursor.execute("DELETE FROM certs_bulkitem WHERE order_id = %s", [order.pk])
            cursor.execute("DELETE FROM certs_bulkorder WHERE id = %s", [order.pk])
    return True


def apply_suggestions(order: BulkOrder, *, authority: Authority, numbers: Iterable[int] | None = None) -> int:
    """Change refused lines of a draft as the policy suggested (all of them, or those of these numbers), and judge them again.

    Returns how many were changed; each part has a transaction of its own. A suggestion that needs another CSR cannot be applied
    here. Raises NotPermitted; Conflict for an order that was submitted.
    """
    authority.check_may_act(order)
    wanted = None if numbers is None else sorted(numbers)
    changed, after = 0, 0
    while True:
        with transaction.atomic():
            draft_of(order)
            # By number, not until none is refused: a changed line may be refused for another reason, and would come again.
            rows = order.items.select_for_update().filter(outcome=BulkItem.Outcome.DENY, number__gt=after).order_by("number")
            if wanted is not None:
                rows = rows.filter(number__in=wanted)
            items = list(rows[:JUDGED_AT_ONCE])
            if not items:
                return changed
            changed += _change_as_suggested([item for item in items if suggestion_applies(item)])
            after = items[-1].number


def _change_as_suggested(items: Sequence[BulkItem]) -> int:
    for item in items:
        assert item.spec is not None
        item.notes = [*item.notes, f"Changed as the policy suggested: {(item.suggestion or {})['text']}"]
        item.spec = spec_changed(item.spec, (item.suggestion or {})["changes"])
        item.common_name = item.spec["common_name"] or item.common_name
    judge(items, Team.objects.in_bulk({item.team_id for item in items}))
    save_fields(items, ("common_name", "spec", "notes", "outcome", "reason", "suggestion"))
    return len(items)


def draft_of(order: BulkOrder) -> BulkOrder:
    """Return the order, locked. Raises Conflict unless it is still a draft."""
    row = BulkOrder.objects.select_for_update().get(pk=order.pk)
    if row.state != State.DRAFT:
        raise Conflict(f"{row.public_id} was submitted and cannot be changed.", next_step="Look at it, or make a new order.")
    return row


def outcome_counts(order: BulkOrder) -> dict[str, int]:
    """Return how many lines of an order have each outcome."""
    counts = dict.fromkeys(BulkItem.Outcome.values, 0)
    rows = order.items.order_by().values_list("outcome").annotate(count=Count("pk"))
    return counts | dict(rows)


def forget_broken_drafts() -> int:
    """Delete bulk orders whose judging was interrupted. Returns the number of deleted orders."""
    since = database_now() - BROKEN_AFTER
    broken = BulkOrder.objects.filter(state=State.JUDGING, judged_at__lt=since)
    return sum(discard(order, unless_after=since) for order in broken.order_by("pk"))


def forget_old_drafts() -> int:
    """Delete drafts older than PKI_BULK_DRAFT_DAYS days, discarded ones too. Returns how many; nothing was issued for them."""
    since = database_now() - timedelta(days=settings.PKI_BULK_DRAFT_DAYS)
    old = BulkOrder.objects.filter(submitted_at__isnull=True, created_at__lt=since)
    return sum(discard(order) for order in old.order_by("pk"))
