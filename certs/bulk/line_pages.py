"""Lines of an order as pages, REST and downloads show them: each with its request and certificate, in pages of the same cost.

The column `owner` may give a line to another team than the order's. Who may see the order sees such a line only as a member of
that team, as with its request and its certificate; `teams` says whose lines are asked for, None all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce

from certs.bulk.lines import chosen_outcomes, key_label, suggestion_applies, validity_of
from certs.enums import RequestState as S
from certs.models import BulkItem, BulkOrder, Certificate, CertificateRequest
from certs.requests.states import UNFINISHED
from certs.requests.waiting_reasons import waiting_reasons, waiting_reasons_of_lines
from certs.spec import Validity

PAGE, BATCH = 50, 500
_STATES = {
    S.AWAITING_APPROVAL: "awaiting_approval",
    S.COMPLETED: "issued",
    S.REJECTED: "refused",
    S.FAILED: "failed",
    S.CANCELLED: "cancelled",
}
_REFUSED = (BulkItem.Outcome.DENY, BulkItem.Outcome.INVALID)


class Show(StrEnum):
    """Which lines. The first few are decisions of the policy, the others states of a line that was submitted."""

    ALL = "all"
    ALLOWED = "allow"
    NEEDS_APPROVAL = "needs_approval"
    DENIED = "deny"
    INVALID = "invalid"
    DUPLICATE = "duplicate"
    PROBLEMS = "problems"
    WAITING = "waiting"
    UNDER_WAY = "under_way"
    HELD = "held"
    AWAITING_APPROVAL = "awaiting_approval"
    ISSUED = "issued"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LEFT_OUT = "left_out"


class Sort(StrEnum):
    """The order of lines; the line's number decides between equals."""

    LINE = "line"
    LINE_DOWN = "-line"
    NAME = "name"
    NAME_DOWN = "-name"
    REASON = "reason"
    REASON_DOWN = "-reason"


@dataclass(frozen=True, slots=True)
class SeenLine:
    """A line, and what became of it."""

    order: BulkOrder
    item: BulkItem
    request: CertificateRequest | None = None
    certificate: Certificate | None = None
    waits_for: str = ""  # while the line was neither refused nor begun

    @property
    def names(self) -> list[str]:
        spec = self.item.spec or {}
        return [*spec.get("dns_names", ()), *spec.get("ip_addresses", ())]

    @property
    def key(self) -> str:
        return key_label(self.item)

    @property
    def validity(self) -> Validity | None:
        """The days, or the end date, of a readable line."""
        return validity_of(self.item)

    @property
    def reason(self) -> str:
        """Why the certificate is not issued (yet); empty when nothing is wrong."""
        return self.waits_for or (self.request.error if self.request else self.item.reason)

    @property
    def advice(self) -> str:
        """The change that would pass, or whom to ask."""
        return self.request.suggestion if self.request else str((self.item.suggestion or {}).get("text", ""))

    @property
    def state(self) -> str:
        """The state of the line in one word: of `Show` for a submitted line, the policy's outcome for one of a draft."""
        if self.request is None:
            if self.order.submitted_at is None:
                return str(self.item.outcome)
            if self.item.outcome not in chosen_outcomes(self.order):
                return Show.INVALID if self.order.with_refused else Show.LEFT_OUT
            return Show.CANCELLED if self.order.state == BulkOrder.State.CANCELLED else Show.WAITING
        if self.request.state in UNFINISHED:
            return Show.HELD if self.request.held_since else Show.UNDER_WAY
        return _STATES[S(self.request.state)]

    @property
    def is_refused(self) -> bool:
        """Whether the line of a draft needs a person: the policy refuses it, or it cannot be read."""
        return self.item.outcome in _REFUSED

    @property
    def is_applicable(self) -> bool:
        """Whether the policy's suggestion can be taken with one click."""
        return self.order.state == BulkOrder.State.DRAFT and self.item.outcome == BulkItem.Outcome.DENY and suggestion_applies(self.item)


@dataclass(frozen=True, slots=True)
class LinePage:
    """`after` is the number of the line to continue after, 0 on the last page."""

    rows: list[SeenLine]
    after: int


Teams = Collection[int] | None


def lines_of_teams(order: BulkOrder, teams: Teams) -> QuerySet[BulkItem]:
    """Return the order's lines that may be shown to members of these teams."""
    return order.items.all() if teams is None else order.items.filter(team__in=teams)


def hidden_lines(order: BulkOrder, teams: Teams) -> int:
    """Return how many lines belong to other teams."""
    hidden = frozenset[int]() if teams is None else order.teams_of_lines().difference(teams)
    return order.items.filter(team__in=hidden).count() if hidden else 0


def lines_page(
    order: BulkOrder, show: Show = Show.ALL, *, teams: Teams, sort: Sort = Sort.LINE, after: int = 0, size: int = PAGE
) -> LinePage:
    """Return the lines of `show`, in the order of `sort`, after the line of that number. A keyset page: no counting, no offset."""
    rows = lines_of_teams(order, teams).filter(_which(order, show))
    found: list[BulkItem] = []
    # One line more than is shown tells whether there is a next page, without counting 50,000.
    for part in _parts(order, rows, show, sort, after):
        found += part.defer("csr_der")[: size + 1 - len(found)]
        if len(found) > size:
            break
    return LinePage(_seen(order, found[:size]), found[size - 1].number if len(found) > size else 0)


def _parts(order: BulkOrder, rows: QuerySet[BulkItem], show: Show, sort: Sort, after: int) -> list[Any]:
    """Return the lines after that one in their order: parts to be read one after the other, each from an index.

    Most lines have no reason: they are one part, by number. The others are few, and sorted; so are
    those that failed or were rejected, which all have one.
    """
    down = sort.startswith("-")
    sign, beyond = ("-", "lt") if down else ("", "gt")
    column = _column(order, sort)
    if column == "number":
        rows = rows.filter(**{f"number__{beyond}": after}) if after else rows
        return [rows.order_by(f"{sign}number")]
    # The address of a page has a number only, so the text of the line where the page before ended is read here.
    last = _text_of(order, column, after) if after else None
    if column == "common_name":
        parts: list[Any] = [rows]
    elif show in (Show.FAILED, Show.REFUSED):
        parts = [_with_error(rows)]
    else:
        empty, full = _without_and_with(order, rows, column)
        empty, full = empty.order_by(f"{sign}number"), full.order_by(f"{sign}{column}", f"{sign}number")
        if last == "":
            empty = empty.filter(**{f"number__{beyond}": after})
            return [empty] if down else [empty, full]
        if last is None:
            return [full, empty] if down else [empty, full]
        parts = [full, empty] if down else [full]
    if last is not None:
        # The first part is what an index can begin with.
        reached = Q(**{f"{column}__{beyond}e": last})
        parts[0] = parts[0].filter(reached & (Q(**{f"{column}__{beyond}": last}) | Q(**{f"number__{beyond}": after})))
    parts[0] = parts[0].order_by(f"{sign}{column}", f"{sign}number")
    return parts


def _without_and_with(order: BulkOrder, rows: QuerySet[BulkItem], column: str) -> tuple[Any, Any]:
    """Return the lines among `rows` whose column is empty, and the others: found by the indexes that hold nothing else."""
    if column == "reason":
        return rows.filter(reason=""), rows.exclude(reason="")
    failed: Any = CertificateRequest.objects.exclude(error="").filter(bulk_item__order=order).order_by().values("bulk_item")
    others = order.items.exclude(reason="").filter(requests__isnull=True).values("pk")
    # Not as a comparison of what is shown, of which the planner expects next to nothing.
    none = Q(requests__error="") | Q(requests__isnull=True, reason="")
    return rows.filter(none), _with_error(rows.filter(pk__in=failed.union(others)))


def all_lines(order: BulkOrder, show: Show = Show.ALL, *, teams: Teams) -> Iterator[SeenLine]:
    """Return the lines that `show` names, by number."""
    return chain.from_iterable(line_batches(order, show, teams=teams))


def line_batches(order: BulkOrder, show: Show, *, teams: Teams) -> Iterator[list[SeenLine]]:
    """Return the same lines a batch at a time, so that memory stays flat."""
    # After the last number, not by offset: lines change their state while a file is sent, and none may come twice.
    after = 0
    while True:
        rows = list(lines_of_teams(order, teams).filter(_which(order, show), number__gt=after).order_by("number").defer("csr_der")[:BATCH])
        if not rows:
            return
        yield _seen(order, rows)
        after = rows[-1].number


def _which(order: BulkOrder, show: Show) -> Q:
    chosen = Q(outcome__in=chosen_outcomes(order))
    not_begun = chosen & Q(requests__isnull=True)
    over = order.state == BulkOrder.State.CANCELLED
    build: dict[Show, Callable[[], Q]] = {
        Show.ALL: Q,
        Show.DUPLICATE: lambda: ~Q(duplicate=""),
        Show.PROBLEMS: lambda: _problems(order),
        Show.WAITING: lambda: _none() if over else not_begun,
        Show.UNDER_WAY: lambda: Q(requests__state__in=UNFINISHED, requests__held_since__isnull=True),
        Show.HELD: lambda: Q(requests__state__in=UNFINISHED, requests__held_since__isnull=False),
        Show.AWAITING_APPROVAL: lambda: Q(requests__state=S.AWAITING_APPROVAL),
        Show.ISSUED: lambda: Q(requests__state=S.COMPLETED),
        Show.REFUSED: lambda: Q(requests__state=S.REJECTED),
        Show.FAILED: lambda: Q(requests__state=S.FAILED),
        Show.CANCELLED: lambda: Q(requests__state=S.CANCELLED) | (not_begun if over else _none()),
        Show.INVALID: lambda: ~chosen if order.submitted_at is None or order.with_refused else _none(),
        Show.LEFT_OUT: lambda: _none() if order.submitted_at is None or order.with_refused else ~chosen,
    }
    return build.get(show, lambda: Q(outcome=str(show)))()


def _problems(order: BulkOrder) -> Q:
    """What needs a person: lines refused or unreadable in a draft; afterwards requests that failed or were rejected, and the lines of
    which no request was made.
    """
    if order.submitted_at is None:
        return Q(outcome__in=_REFUSED)
    return Q(requests__state__in=(S.FAILED, S.REJECTED)) | ~Q(outcome__in=chosen_outcomes(order))


def _none() -> Q:
    return Q(pk__in=())


def _with_error(rows: Any) -> Any:
    """Add the request's error, or the line's own reason where there is no request. (NULL is beyond every comparison: such lines would be on
    no page.)
    """
    return rows.annotate(error=Coalesce("requests__error", "reason"))


def _column(order: BulkOrder, sort: Sort) -> str:
    submitted = order.submitted_at is not None
    return {"line": "number", "name": "common_name", "reason": "error" if submitted else "reason"}[sort.removeprefix("-")]


def _text_of(order: BulkOrder, column: str, number: int) -> str:
    """Return what the line of that number has in the column."""
    rows: Any = order.items.filter(number=number)
    return (_with_error(rows) if column == "error" else rows).values_list(column, flat=True).first() or ""


def _seen(order: BulkOrder, items: Sequence[BulkItem]) -> list[SeenLine]:
    # A fixed number of queries for a page, whatever is on it.
    made = CertificateRequest.objects.filter(bulk_item__in=[item.pk for item in items])
    requests = {row.bulk_item_id: row for row in made.select_related("key", "issuer")}
    issued = [row.pk for row in requests.values() if row.state == S.COMPLETED]
    certificates = {row.request_id: row for row in Certificate.objects.filter(request__in=issued).select_related("issuer", "team")}
    by_request = waiting_reasons(requests.values())
    # Why a line waits is looked up only for lines without a request; the others have their own reason.
    begun = {item.number for item in items if item.pk in requests or item.outcome not in chosen_outcomes(order)}
    by_line = waiting_reasons_of_lines(order, {item.number for item in items} - begun) if order.state == BulkOrder.State.RUNNING else {}
    seen = []
    for item in items:
        request: Any = requests.get(item.pk)
        if request is None:
            seen.append(SeenLine(order, item, waits_for=by_line.get(item.number, "")))
        else:
            seen.append(SeenLine(order, item, request, certificates.get(request.pk), by_request[request.pk]))
    return seen
