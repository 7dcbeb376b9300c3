"""What the last night did: whether the expiry check ran, what it renewed, and what it could not renew."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from certs.estate.overview import Number
from certs.inventory.counting import Kind
from certs.inventory.figures import Figures
from certs.inventory.filters import RenewalGroup
from certs.schedules.machinery import JobStatus

CHECK = "certs.tasks.check_expiry"


@dataclass(frozen=True, slots=True)
class Night:
    """The nightly check and its numbers. `check` is None where no schedule has it."""

    check: JobStatus | None
    renewed: tuple[Number, ...]
    obstacles: tuple[Number, ...]

    @property
    def is_bad(self) -> bool:
        """Return whether the check did not run as it should."""
        return self.check is None or self.check.missed or self.check.state in {"failed", "did not finish"}


def night_of(figures: Figures, check: JobStatus | None) -> Night:
    """Return the night for the teams of these figures. `check`: the job of CHECK as it is now.

    Renewals are counted by the day (UTC) on which they were issued, because a list can be asked for
    a day and not for an hour; the check runs at 02:00 and `renew_due` all day long.
    """
    today, yesterday = figures.day, figures.day - timedelta(days=1)
    renewed = tuple(
        Number(words, figures.count(Kind.RENEWED, day.isoformat()), figures.url(Kind.RENEWED, day.isoformat()))
        for day, words in ((today, "renewed today"), (yesterday, "renewed yesterday"))
    )
    obstacles = tuple(
        Number(words, figures.count(Kind.OBSTACLE, group), figures.url(Kind.OBSTACLE, group))
        for group, words in (
            (RenewalGroup.REFUSED.value, "refused by the policy"),
            (RenewalGroup.APPROVAL.value, "wait for an approval"),
            (RenewalGroup.FAILED.value, "failed"),
        )
    )
    return Night(check, renewed, obstacles)
