"""Pages of a sorted list by key, forwards and backwards, at the same cost at any depth.

An order is a sequence of groups, each with one column and then the id. A column of few values, such
as the CA, becomes one group a value: each group is read from an index, and a page ends as soon as
it is full. No order sorts a large table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db.models import Case, F, Func, OrderBy, Q, QuerySet, SmallIntegerField, Value, When
from django.db.models.functions import Coalesce

from certs.errors import InputRefused
from certs.models import Certificate
from db.counting import Count, Plan, in_time, with_total
from db.sql import place_among

Rows = QuerySet[Certificate]
PAGE = 25
_SIGN = "~"
_MOST_CHARACTERS = 400
_PATIENCE = 200  # milliseconds, in which the index of an order should have found the rows of a page


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that stand together in an order, and their order among themselves: by `column`, then id.

    `when` says of a row of the certificate alone whether it is one of them, and is None where no
    such condition does; `rows` returns the same. `reference`: the row of another table that they
    refer to, as column and id, where that makes the group.
    """

    key: str
    rows: Callable[[Rows], Rows]
    column: str = "not_after"
    descending: bool = False
    when: Q | None = None
    reference: tuple[str, int] | None = None

    @classmethod
    def meeting(cls, key: str, when: Q, column: str = "not_after", *, descending: bool = False) -> Group:
        """Return the group of the rows that meet a condition on their own columns."""
        return cls(key, lambda rows: rows.filter(when), column, descending, when)

    @classmethod
    def referring(cls, column: str, pk: int) -> Group:
        """Return the group of the rows that refer to one row of another table."""
        return replace(cls.meeting(str(pk), Q(**{column: pk})), reference=(column, pk))

    def read(self, text: str) -> Any:
        """Return the value of `column` that a position holds as text. Raises ValueError."""
        if self.column == "not_after":
            value = datetime.fromisoformat(text)
            if value.tzinfo is None:
                raise ValueError("no zone")
            return value
        return int(text) if self.column == "pk" else text


@dataclass(frozen=True, slots=True)
class Position:
    """A row of a sorted list: its group, the value of the group's column, and its id."""

    group: str
    value: str
    pk: int

    def __str__(self) -> str:
        return _SIGN.join((self.group, self.value, str(self.pk)))

    @classmethod
    def read(cls, text: str, name: str) -> Position | None:
        """Return the position that an address holds; None for an empty text. Raises InputRefused."""
        if not text:
            return None
        parts = text.split(_SIGN)
        pk = parts[-1]
        readable = len(parts) == 3 and pk.isascii() and pk.isdecimal() and len(pk) < 19
        if not readable or len(text) > _MOST_CHARACTERS or "\x00" in text:
            raise unreadable(name)
        return cls(parts[0], parts[1], int(pk))


@dataclass(frozen=True, slots=True)
class Window:
    """Ids of a page, and the positions from which the pages beside it continue."""

    ids: list[int]
    newer: Position | None = None
    older: Position | None = None


def window(
    rows: Rows,
    groups: Sequence[Group],
    *,
    after: Position | None = None,
    before: Position | None = None,
    size: int = PAGE,
    is_small: bool = False,
    plan: Plan | None = None,
) -> Window:
    """Return the page behind `after`, or the one that ends before `before`; else the first.

    `is_small`: there are so few rows that sorting them costs less than an index. `plan`: what the
    database expects of `rows`, where it may be wrong. One query a group until the page is full.
    Raises InputRefused for a position of another order.
    """
    plan = plan or Plan()
    if before is not None:
        found = _walk(rows, reverse(groups), before, size + 1, "before", is_small=is_small, plan=plan)
        more, found = len(found) > size, found[:size][::-1]
        return Window(
            [one.pk for one in found],
            newer=found[0] if more else None,
            older=found[-1] if found else None,
        )
    found = _walk(rows, groups, after, size + 1, "after", is_small=is_small, plan=plan)
    more, found = len(found) > size, found[:size]
    return Window(
        [one.pk for one in found],
        newer=found[0] if after is not None and found else None,
        older=found[-1] if more else None,
    )


def counted_window(rows: Rows, groups: Sequence[Group], plan: Plan, *, size: int = PAGE) -> tuple[Window, Count] | None:
    """Return the first page and how many rows there are, in one statement that reads each row once.

    For rows that are so few that they are sorted anyway, in an order of which each group is a
    condition. `plan` is what the database expects of `rows`; None where it needs too long.
    """
    column = groups[0].column
    values = with_total(
        rows.annotate(place_now=_place(groups)).order_by(*_order_of_places(groups)),
        plan,
        ("pk", column, "place_now"),
        most=size + 1,
    )
    if values is None:
        return None
    found = [Position(groups[place].key, _text(value), pk) for pk, value, place, _ in values]
    more, found = len(found) > size, found[:size]
    total = Count(values[0][3] if values else 0, exact=True)
    return Window([one.pk for one in found], older=found[-1] if more else None), total


def _place(groups: Sequence[Group]) -> Case | Func:
    """Return the number of a row's group. What is in none of the others is in the last."""
    references = [one.reference for one in groups if one.reference is not None]
    if len(references) == len(groups):
        return place_among(references[0][0], [pk for _, pk in references])
    number, last = SmallIntegerField(), len(groups) - 1
    whens = [When(one.when, then=Value(place)) for place, one in enumerate(groups[:last])]
    return Case(*whens, default=Value(last), output_field=number)


def _order_of_places(groups: Sequence[Group]) -> list[OrderBy]:
    """Return the order of all groups together, by `place_now`. Some may go down where others go up."""
    keys = [OrderBy(F("place_now"))]
    column = groups[0].column
    down = [place for place, one in enumerate(groups) if one.descending]
    for name in dict.fromkeys((column, "pk")):
        if len(down) in (0, len(groups)):
            keys.append(OrderBy(Coalesce(name, name), descending=bool(down)))
            continue
        keys.append(OrderBy(Case(When(~Q(place_now__in=down), then=F(name)))))
        keys.append(OrderBy(Case(When(place_now__in=down, then=F(name))), descending=True))
    return keys


def reverse(groups: Sequence[Group]) -> list[Group]:
    """Return the opposite order."""
    return [replace(one, descending=not one.descending) for one in reversed(groups)]


def _walk(
    rows: Rows,
    groups: Sequence[Group],
    start: Position | None,
    most: int,
    name: str,
    *,
    is_small: bool,
    plan: Plan,
) -> list[Position]:
    keys = [one.key for one in groups]
    if start is not None and start.group not in keys:
        raise unreadable(name)
    found: list[Position] = []
    for group in groups[keys.index(start.group) if start is not None else 0 :]:
        part = group.rows(rows)
        if start is not None and group.key == start.group:
            part = part.filter(_behind(group, start, name))
        values = _first(part, group, most - len(found), is_small=is_small, plan=plan)
        if values is None:
            is_small = True
            values = _first(part, group, most - len(found), is_small=True, plan=plan) or []
        found += [Position(group.key, _text(value), pk) for pk, value in values]
        if len(found) >= most:
            break
    return found


def _first(rows: Rows, group: Group, most: int, *, is_small: bool, plan: Plan) -> list[tuple[int, Any]] | None:
    """Return the ids of the first rows of a group, with the values of its column; None where the index of the order takes too long.

    It finds them at once where enough rows meet the filter. Where those are at its end, behind a
    million others, the database does not know that: then sorting all that meet the filter is sooner done.
    """
    ordered = rows.order_by(*_order(group, is_small=is_small)).values_list("pk", group.column)[:most]
    return list(ordered) if is_small else in_time(lambda: list(ordered), plan, milliseconds=_PATIENCE)


def _order(group: Group, *, is_small: bool) -> list[OrderBy]:
    columns = [group.column] if group.column == "pk" else [group.column, "pk"]
    # An expression is in no index: few rows are read and sorted, where the planner might look for
    # them through the whole index of the order.
    return [OrderBy(Coalesce(one, one) if is_small else F(one), descending=group.descending) for one in columns]


def _behind(group: Group, start: Position, name: str) -> Q:
    try:
        value = group.read(start.value)
    except (ValueError, OverflowError) as exc:
        raise unreadable(name) from exc
    than = "lt" if group.descending else "gt"
    if group.column == "pk":
        return Q(**{f"pk__{than}": start.pk})
    # The first part is what an index can begin with.
    reached = Q(**{f"{group.column}__{than}e": value})
    return reached & (Q(**{f"{group.column}__{than}": value}) | Q(**{f"pk__{than}": start.pk}))


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def unreadable(name: str) -> InputRefused:
    """Return the error for a place in the list that this order does not have."""
    return InputRefused(
        "This is no place in the list as it is sorted now.",
        field=name,
        next_step="Begin with the first page.",
    )
