"""The lists behind the numbers of a replay: keyset pages and CSV, for the teams that a person may see."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db.models import F, QuerySet

from certs.models import PolicyReplay, ReplayFinding, ReplayPart
from certs.replay.verdicts import Outcome
from certs.uploads.formats.cells import safe_cell

PAGE = 25
_CSV_PAGE = 2000
HEADER = ("kind", "id", "name", "team", "on", "outcome", "before", "reason")


@dataclass(frozen=True, slots=True)
class Sought:
    """Which findings: one outcome, of one team or of all; `changed` leaves out what is as before.

    `kind`: renewals of certificates, or requests; "" for both.
    """

    outcome: Outcome
    team: int | None = None
    changed: bool = True
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One finding with its words."""

    pk: int
    is_certificate: bool
    id: str
    name: str
    team: str
    on: str
    outcome: Outcome
    before: Outcome
    reason: str


def findings(replay: PolicyReplay, sought: Sought) -> QuerySet[ReplayFinding]:
    """Return the findings, in the order in which the certificates were issued."""
    rows = ReplayFinding.objects.filter(replay=replay, outcome=sought.outcome)
    if sought.team is not None:
        rows = rows.filter(team=sought.team)
    if sought.kind:
        rows = rows.filter(certificate__isnull=sought.kind != ReplayPart.Kind.CERTIFICATES)
    if sought.changed:
        rows = rows.exclude(before=F("outcome"))
    return rows.select_related("certificate", "request", "team").order_by("pk")


def page(replay: PolicyReplay, sought: Sought, *, after: int) -> tuple[list[Line], int]:
    """Return a page of lines behind the finding `after`, and where the next one begins; 0 for none."""
    rows = list(findings(replay, sought).filter(pk__gt=after)[: PAGE + 1])
    shown = rows[:PAGE]
    return _lines(shown, _texts(shown)), shown[-1].pk if len(rows) > PAGE else 0


def csv_lines(replay: PolicyReplay, sought: Sought) -> Iterator[str]:
    """Yield the whole list as CSV, in flat memory."""
    yield _csv(HEADER)
    after = 0
    while rows := list(findings(replay, sought).filter(pk__gt=after)[:_CSV_PAGE]):
        after = rows[-1].pk
        for line in _lines(rows, _texts(rows)):
            kind = "certificate" if line.is_certificate else "request"
            yield _csv((kind, line.id, line.name, line.team, line.on, line.outcome, line.before, line.reason))


def _texts(rows: Sequence[ReplayFinding]) -> dict[int, list[str]]:
    parts = {row.part_id for row in rows}
    found = ReplayPart.objects.filter(pk__in=parts).values_list("pk", "result")
    return {pk: result.get("texts", []) for pk, result in found}


def _lines(rows: Sequence[ReplayFinding], texts: dict[int, list[str]]) -> list[Line]:
    return [
        Line(
            row.pk,
            row.certificate is not None,
            row.certificate.cert_id if row.certificate else row.request.public_id if row.request else "",
            (row.certificate.common_name if row.certificate else row.request.common_name if row.request else ""),
            row.team.name,
            row.on.isoformat(),
            Outcome(row.outcome),
            Outcome(row.before),
            texts.get(row.part_id, [""] * (row.reason + 1))[row.reason],
        )
        for row in rows
    ]


def _csv(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow([safe_cell(cell) for cell in cells])
    return text.getvalue()
