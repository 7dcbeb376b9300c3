"""The rule about time: how long a certificate may live, also as a schedule of dates (CA/Browser Forum ballot SC-081)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, ClassVar, Self

from policy.rules.base import Case, Check, Params, Repair, Rule, day, plural
from policy.rules.fields import Field, Kind

_LONGEST = 36500


@dataclass(frozen=True, slots=True)
class MaxValidity(Rule):
    """At most so many days. `schedule` holds (first day, days), ascending; the last step reached on the day of issuance counts."""

    days: int
    schedule: tuple[tuple[date, int], ...] = ()

    name: ClassVar[str] = "max_validity"
    label: ClassVar[str] = "Validity"
    about: ClassVar[str] = "How long a certificate may live."
    form: ClassVar[tuple[Field, ...]] = (
        Field("days", "At most", Kind.NUMBER, 1, _LONGEST, unit="days"),
        Field(
            "schedule",
            "From later dates on",
            Kind.STEPS,
            help="One step a line, such as: 2027-03-15 100. From that day on (UTC) at most so many days.",
        ),
    )

    @classmethod
    def from_params(cls, params: Params) -> Self:
        days = params.integer("days", minimum=1, maximum=_LONGEST)
        steps = params.items("schedule") if params.has("schedule") else []
        schedule = tuple(_step(params.element("schedule", number, step)) for number, step in enumerate(steps))
        params.done()
        starts = [start for start, _ in schedule]
        if starts != sorted(set(starts)):
            params.refuse("schedule must ascend by date, each date once", "schedule")
        return cls(days, schedule)

    def to_dict(self) -> dict[str, Any]:
        return {"days": self.days, "schedule": [{"from": start.isoformat(), "days": days} for start, days in self.schedule]}

    def limit(self, on: date) -> tuple[int, date | None]:
        """Return the days allowed on that day, and since when (None: always)."""
        reached = [(days, start) for start, days in self.schedule if start <= on]
        return reached[-1] if reached else (self.days, None)

    @property
    def strictest(self) -> int:
        return min([self.days, *(days for _, days in self.schedule)])

    def sentences(self) -> Sequence[str]:
        later = [f"At most {plural(days, 'day')} from {day(start)}." for start, days in self.schedule]
        return [f"At most {plural(self.days, 'day')}.", *later]

    def checks(self, case: Case) -> Iterator[Check]:
        days, (limit, since) = case.facts.validity_days, self.limit(case.on)
        note = f" (since {since.isoformat()})" if since else ""
        end = case.facts.not_after
        if end is not None and days < 1:
            yield self._failed(f"The end date {end.isoformat()} is over, or almost over", "not_after")
        elif days < 1:
            yield self._failed(f"Validity {days} days is too short: minimum 1 day", "validity_days")
        elif days > limit:
            yield self._failed(f"Validity {days} days exceeds maximum {limit} days{note}", "validity_days")
        else:
            yield self._passed(f"Validity {days} days is within {limit} days{note}", "validity_days")

    def repairs(self, case: Case) -> Iterator[Repair]:
        limit, _ = self.limit(case.on)
        days = min(max(case.facts.validity_days, 1), limit)
        if case.facts.not_after is not None and case.facts.validity_days < 1:
            return  # only a person knows the next end date
        text = f"Use validity ≤ {limit} days" if days == limit else "Use validity ≥ 1 day"
        yield Repair(text, replace(case.facts, validity_days=days, not_after=None))

    def advice(self, case: Case) -> str:
        """Return the advice to request anew, for an end date that has passed."""
        if case.facts.not_after is not None:
            return "Request the certificate again with a later end date."
        return Rule.advice(self, case)  # a dataclass with slots has no super()


def _step(step: Params) -> tuple[date, int]:
    result = (step.date("from"), step.integer("days", minimum=1, maximum=_LONGEST))
    step.done()
    return result
