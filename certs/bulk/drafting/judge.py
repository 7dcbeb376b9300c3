"""Evaluate the lines of a draft by the policy and the inventory, a part at a time, so that memory stays flat."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import connection

from audit.events import recordable
from certs.bulk.lines import spec_of, spec_to_json
from certs.models import BulkItem, BulkOrder, Team
from certs.requests.facts.advice import advice_on
from certs.requests.facts.duplicates import FirstRequested
from certs.requests.facts.policy_facts import PolicyInput, evaluate_many
from certs.uploads.line import Line
from db.clock import database_now
from db.sql import among_texts, text_list
from policy.engine import Decision, Outcome

_LIVING_WITH = (
    "SELECT c.cert_id, c.team_id, c.profile, n.name FROM certs_certificatename n JOIN certs_certificate c ON c.id = n.certificate_id "
    "WHERE c.id IN (SELECT m.certificate_id FROM certs_certificatename m JOIN certs_certificate d ON d.id = m.certificate_id"
)


class Judge:
    """Judges the lines of one order, part after part, and remembers the names of earlier parts."""

    def __init__(self, order: BulkOrder, teams: Mapping[str, Team]) -> None:
        self._order, self._teams = order, teams
        self._by_id = {team.pk: team for team in teams.values()}
        self._seen: dict[bytes, str] = {}  # digest of team, profile and names -> where they stood first
        self._asked: FirstRequested = {}

    def items(self, numbered: Sequence[tuple[int, Line]]) -> list[BulkItem]:
        """Return rows for lines, judged and not written yet."""
        items = [_item(self._order, number, line, self._teams) for number, line in numbered]
        now, issuer = database_now(), self._order.issuer
        for item, (_, line) in zip(items, numbered, strict=True):
            if item.spec is not None and line.spec is not None:
                item.notes = [*item.notes, *advice_on(line.spec, issuer, now=now)]
        judge(items, self._by_id, requested_before=self._asked)
        self._point_out_duplicates([item for item in items if item.spec is not None])
        return items

    def _point_out_duplicates(self, items: Sequence[BulkItem]) -> None:
        """Mark lines with the same names as an earlier line, or as a valid certificate. They may be intended, so nothing is refused."""
        living = _living({item.common_name for item in items})
        for item in items:
            names = (item.team_id, (item.spec or {})["profile"], frozenset(_names(item)))
            # 16 bytes a line in place of its names: those of 50,000 lines are remembered over all parts.
            digest = _digest(*names)
            if digest in self._seen:
                item.duplicate = f"same names as {self._seen[digest]}"
                continue
            self._seen[digest] = item.source
            if names in living:
                item.duplicate = f"{living[names]} has the same names and is valid"


def judge(items: Sequence[BulkItem], teams: Mapping[int, Team], *, requested_before: FirstRequested | None = None) -> None:
    """Set the policy's decision on readable lines. Does not write."""
    readable = [item for item in items if item.spec is not None]
    if not readable:
        return
    # `requested_before`: where the policy forbids a second certificate for the same names, an earlier line of the order counts.
    asked = [PolicyInput(spec_of(item), teams[item.team_id], called=item.source) for item in readable]
    _, decisions = evaluate_many(asked, at=database_now(), requested_before=requested_before)
    for item, decision in zip(readable, decisions, strict=True):
        item.outcome, item.reason = BulkItem.Outcome(str(decision.outcome)), decision.reason[:1000]
        item.suggestion = _suggestion(decision)


def _suggestion(decision: Decision) -> dict[str, Any] | None:
    if decision.outcome is not Outcome.DENY:
        return None
    return {"text": decision.advice, "changes": decision.suggestion.changes if decision.suggestion else {}}


def _item(order: BulkOrder, number: int, line: Line, teams: Mapping[str, Team]) -> BulkItem:
    # A line for a team that the requester does not belong to becomes one of the order's team, with the reason why it is refused.
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
        given={column: recordable(text, most=2000) for column, text in line.given},
        notes=list(line.notes),
        # Until `judge` has evaluated it; a line that cannot be read stays so.
        outcome=BulkItem.Outcome.INVALID,
        reason=recordable(problem, most=1000),
    )


def _names(item: BulkItem) -> list[str]:
    spec = item.spec or {}
    return [*spec["dns_names"], *spec["ip_addresses"]]


def _digest(team_id: int, profile: str, names: Iterable[str]) -> bytes:
    return hashlib.sha256(json.dumps([team_id, profile, sorted(names)]).encode()).digest()[:16]


def _living(common_names: Iterable[str]) -> dict[tuple[Any, ...], str]:
    """Return the certificates in force that have one of these names: (team, profile, names) -> cert_id."""
    # Found by one name each, through the index of names; which have exactly the names of a line is compared in memory.
    sql = f"{_LIVING_WITH} WHERE {among_texts('m.name')} AND d.status = 'good' AND d.not_after > %s)"
    found: dict[str, tuple[int, str, set[str]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(sql, [text_list(sorted(common_names)), connection.ops.adapt_datetimefield_value(database_now())])
        for cert_id, team_id, profile, name in cursor.fetchall():
            found.setdefault(cert_id, (team_id, profile, set()))[2].add(name)
    return {(team_id, profile, frozenset(names)): cert_id for cert_id, (team_id, profile, names) in sorted(found.items())}
