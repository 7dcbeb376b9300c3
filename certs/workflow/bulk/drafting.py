"""From lines to a draft order: every line judged by the policy, duplicates pointed out, suggestions ready to be taken."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Count

from audit.batches import among_texts, text_list
from audit.clock import database_now
from audit.events import recordable
from certs.errors import Conflict, InputRefused
from certs.intake.spec import IssuePlan
from certs.intake.uploads.lines import Line
from certs.models import BulkItem, BulkOrder, Issuer, Team, new_public_id
from certs.models.batch import insert_models, update_rows
from certs.workflow.bulk.items import spec_of, spec_to_json, suggestion_applies
from certs.workflow.facts import Asked, evaluate_many
from certs.workflow.issuance import Requester, active_issuer, check_profiles
from policy.engine import Decision, Outcome

JUDGED_AT_ONCE = 1000
_LIVING_WITH = (
    "SELECT c.cert_id, c.team_id, c.profile, n.name FROM certs_certificatename n JOIN certs_certificate c ON c.id = n.certificate_id "
    "WHERE c.id IN (SELECT m.certificate_id FROM certs_certificatename m JOIN certs_certificate d ON d.id = m.certificate_id"
)


def lines_of(plan: IssuePlan) -> list[Line]:
    """A plan in words as lines: one for each certificate, in order."""
    return [Line(number, f"certificate {number}", spec) for number, spec in enumerate(plan.specs, start=1)]


def draft(lines: Sequence[Line], *, requester: Requester, title: str, issuer: str | None = None, notes: Sequence[str] = ()) -> BulkOrder:
    """Keep lines as a draft, judged under the policy in force now. Nothing is issued before it is submitted.

    `notes` say what was assumed for all of them, such as a default of the policy.

    With an idempotency key the same lines again answer the first order, whatever has become of it. Raises NotPermitted,
    InputRefused; Conflict for a key that was used for another content.
    """
    requester.check()
    if not lines:
        raise InputRefused("There is no line in this order.", field="items", next_step="Give at least one certificate.")
    if len(lines) > settings.PKI_BULK_MAX_LINES:
        raise InputRefused(
            f"{len(lines)} lines are more than {settings.PKI_BULK_MAX_LINES}.",
            field="items",
            next_step="Split the order; several orders of a team are worked off side by side.",
        )
    target = active_issuer(issuer or settings.PKI_DEFAULT_CA)
    check_profiles({line.spec.profile for line in lines if line.spec})
    content = _digest(lines, requester, target)
    try:
        with transaction.atomic():
            order = _new_order(requester, target, title, content, notes)
            _add_items(order, lines, _teams(lines, requester))
            return order
    except IntegrityError:
        if not requester.idempotency_key:
            raise
        return _earlier(requester, content)


def _new_order(requester: Requester, issuer: Issuer, title: str, content: str, notes: Sequence[str]) -> BulkOrder:
    now = database_now()
    return BulkOrder.objects.create(
        public_id=new_public_id("bulk", now),
        team=requester.team,
        requester=requester.user,
        actor_kind=requester.actor.kind,
        actor_name=requester.actor.name,
        door=requester.door,
        issuer=issuer,
        title=recordable(" ".join(title.split()), most=200),
        notes=list(notes),
        content_sha256=content,
        idempotency_scope=requester.idempotency_scope,
        idempotency_key=requester.idempotency_key,
        created_at=now,
    )


def _earlier(requester: Requester, content: str) -> BulkOrder:
    order = BulkOrder.objects.get(idempotency_scope=requester.idempotency_scope, idempotency_key=requester.idempotency_key)
    if order.content_sha256 != content:
        raise Conflict(
            "This idempotency key was used for another order.",
            field="Idempotency-Key",
            next_step="Use a new key, or send what it was first used for.",
        )
    return order


def _digest(lines: Iterable[Line], requester: Requester, issuer: Issuer) -> str:
    digest = hashlib.sha256(f"{requester.team.slug}\n{issuer.name}\n".encode())
    for line in lines:
        digest.update(json.dumps([line.number, line.owner, spec_to_json(line.spec), line.problem], sort_keys=True).encode())
        if line.spec and line.spec.spki_der:
            digest.update(line.spec.spki_der)
    return digest.hexdigest()


def _teams(lines: Iterable[Line], requester: Requester) -> Mapping[str, Team]:
    """The teams that lines name as owners, as far as the requester may ask for them."""
    named = {line.owner for line in lines if line.owner} - {requester.team.slug}
    rows = Team.objects.filter(slug__in=named)
    user = requester.user
    if user is not None and not user.is_superuser:
        rows = rows.filter(members=user)
    return {"": requester.team, requester.team.slug: requester.team} | {team.slug: team for team in rows}


def _add_items(order: BulkOrder, lines: Sequence[Line], teams: Mapping[str, Team]) -> None:
    items = [_item(order, number, line, teams) for number, line in enumerate(lines, start=1)]
    by_id = {team.pk: team for team in teams.values()}
    for first in range(0, len(items), JUDGED_AT_ONCE):
        judge(items[first : first + JUDGED_AT_ONCE], by_id)
    _point_out_duplicates(items)
    insert_models(items)


def _item(order: BulkOrder, number: int, line: Line, teams: Mapping[str, Team]) -> BulkItem:
    team, problem, spec = teams.get(line.owner), line.problem, line.spec
    if team is None:
        problem, spec = f"owner: you are not a member of a team {line.owner}. Leave it empty, or name a team of yours.", None
    return BulkItem(
        order_id=order.pk,
        number=number,
        source=recordable(line.source, most=200),
        team_id=(team or teams[""]).pk,
        common_name=(spec.common_name or (spec.ip_addresses or ("",))[0]) if spec else "",
        spec=spec_to_json(spec),
        csr_der=(spec.csr_der or b"") if spec else b"",
        spki_der=(spec.spki_der or b"") if spec else b"",
        notes=list(line.notes),
        outcome=BulkItem.Outcome.INVALID,
        reason=recordable(problem, most=1000),
    )


def judge(items: Sequence[BulkItem], teams: Mapping[int, Team]) -> None:
    """Put the policy's word on lines that can be read. Does not write."""
    readable = [item for item in items if item.spec is not None]
    if not readable:
        return
    _, decisions = evaluate_many([Asked(spec_of(item), teams[item.team_id]) for item in readable], at=database_now())
    for item, decision in zip(readable, decisions, strict=True):
        item.outcome, item.reason = BulkItem.Outcome(str(decision.outcome)), decision.reason[:1000]
        item.suggestion = _suggestion(decision)


def _suggestion(decision: Decision) -> dict[str, Any] | None:
    if decision.outcome is not Outcome.DENY:
        return None
    return {"text": decision.advice, "changes": decision.suggestion.changes if decision.suggestion else {}}


def apply_suggestions(order: BulkOrder, *, numbers: Iterable[int] | None = None) -> int:
    """Change refused lines of a draft as the policy suggested (all of them, or those of these numbers), and judge them again.

    Answers how many were changed. A suggestion that needs another CSR cannot be applied here. Raises Conflict for an order
    that was submitted.
    """
    with transaction.atomic():
        draft_of(order)
        rows = order.items.select_for_update().filter(outcome=BulkItem.Outcome.DENY).order_by("number")
        if numbers is not None:
            rows = rows.filter(number__in=list(numbers))
        items = [item for item in rows if suggestion_applies(item)]
        for item in items:
            assert item.spec is not None
            item.notes = [*item.notes, f"Changed as the policy suggested: {(item.suggestion or {})['text']}"]
            item.spec = item.spec | (item.suggestion or {})["changes"]
            item.common_name = item.spec["common_name"] or item.common_name
        judge(items, Team.objects.in_bulk({item.team_id for item in items}))
        fields = ("common_name", "spec", "notes", "outcome", "reason", "suggestion")
        update_rows(BulkItem, {item.pk: {name: getattr(item, name) for name in fields} for item in items})
    return len(items)


def draft_of(order: BulkOrder) -> BulkOrder:
    """The order, locked, which must still be a draft. Raises Conflict."""
    row = BulkOrder.objects.select_for_update().get(pk=order.pk)
    if row.state != BulkOrder.State.DRAFT:
        raise Conflict(f"{row.public_id} was submitted and cannot be changed.", next_step="Look at it, or make a new order.")
    return row


def _point_out_duplicates(items: Sequence[BulkItem]) -> None:
    """Lines that ask for the same names as an earlier line, or as a certificate that lives. They may be meant; people are told."""
    seen: dict[tuple[Any, ...], BulkItem] = {}
    readable = [item for item in items if item.spec is not None]
    living = _living({item.common_name for item in readable})
    for item in readable:
        names = (item.team_id, (item.spec or {})["profile"], frozenset(_names(item)))
        first = seen.setdefault(names, item)
        if first is not item:
            item.duplicate = f"same names as {first.source}"
        elif names in living:
            item.duplicate = f"{living[names]} has the same names and is valid"


def _names(item: BulkItem) -> list[str]:
    spec = item.spec or {}
    return [*spec["dns_names"], *spec["ip_addresses"]]


def _living(common_names: Iterable[str]) -> dict[tuple[Any, ...], str]:
    """Certificates in force among whose names one of these is: (team, profile, names) -> cert_id."""
    sql = f"{_LIVING_WITH} WHERE {among_texts('m.name')} AND d.status = 'good' AND d.not_after > %s)"
    found: dict[str, tuple[int, str, set[str]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(sql, [text_list(sorted(common_names)), connection.ops.adapt_datetimefield_value(database_now())])
        for cert_id, team_id, profile, name in cursor.fetchall():
            found.setdefault(cert_id, (team_id, profile, set()))[2].add(name)
    return {(team_id, profile, frozenset(names)): cert_id for cert_id, (team_id, profile, names) in sorted(found.items())}


def outcome_counts(order: BulkOrder) -> dict[str, int]:
    """How many lines of an order are of each outcome."""
    counts = dict.fromkeys(BulkItem.Outcome.values, 0)
    rows = order.items.order_by().values_list("outcome").annotate(count=Count("pk"))
    return counts | dict(rows)


def forget_old_drafts() -> int:
    """Delete drafts older than PKI_BULK_DRAFT_DAYS days, thrown-away ones too; nothing was made of them. Answers how many."""
    since = database_now() - timedelta(days=settings.PKI_BULK_DRAFT_DAYS)
    old = BulkOrder.objects.filter(submitted_at__isnull=True, created_at__lt=since)
    count = old.count()
    if count:
        old.delete()
    return count
