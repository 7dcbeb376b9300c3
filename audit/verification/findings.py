"""What an examination of the ledger found."""

from __future__ import annotations

from dataclasses import dataclass, field

# After this many it is plain that the log is bad; the list stays readable and memory flat.
MOST = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that should not be so. `event_id` is None where no row is left to name, as for a tail that was cut off."""

    problem: str
    event_id: int | None = None
    subject: str = ""


@dataclass(slots=True)
class Findings:
    """Problems prove a change; alarms need an operator."""

    problems: list[Problem] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    def add(self, problem: str, *, event_id: int | None = None, subject: str = "") -> None:
        if len(self.problems) < MOST:
            self.problems.append(Problem(problem, event_id, subject))

    def in_order(self) -> list[Problem]:
        """Return the problems by event, those that name a row before those that name only a subject, those before the rest."""
        return sorted(self.problems, key=lambda p: (p.event_id is None, p.event_id or 0, not p.subject))

    def first(self) -> Problem | None:
        return next(iter(self.in_order()), None)
