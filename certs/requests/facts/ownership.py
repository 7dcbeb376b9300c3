"""Owners of domains, read once for many names, and which names the policy treats alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from certs.models import Domain, Team
from policy.models import Profile
from policy.rules.names import base_domain

_MOST_KEPT = 50_000


class Ownership:
    """Teams, domains and profiles as they are when this object is made."""

    def __init__(self) -> None:
        self.owners: dict[str, int] = dict(Domain.objects.values_list("name", "team_id"))
        self.teams: dict[int, Team] = Team.objects.in_bulk()
        profiles = Profile.objects.values_list("name", "ekus")
        self.ekus: Mapping[str, tuple[str, ...]] = {name: tuple(ekus) for name, ekus in profiles}
        self._nearest: dict[str, str] = {}
        self._owned: dict[int, tuple[str, ...]] = {}
        for name, owner in sorted(self.owners.items()):
            self._owned[owner] = (*self._owned.get(owner, ()), name)

    def owned(self, team_id: int) -> tuple[str, ...]:
        """Return the domains of a team, in order."""
        return self._owned.get(team_id, ())

    def place(self, name: str, team_id: int) -> tuple[str, bool, bool]:
        """Return the place of a DNS name: the nearest domain that anybody owns, whether the name is a
        wildcard directly before it, and whether it is a wildcard above a domain of another team.
        """
        base = base_domain(name)
        nearest = base if base in self.owners else self._nearest_above(base)
        if name == base:
            return nearest, False, False
        return nearest, nearest == base, self._above_others(base, team_id)

    def _nearest_above(self, name: str) -> str:
        """Return the nearest domain above a name that anybody owns. Hosts beside each other share the answer."""
        parent = name.partition(".")[2]
        found = self._nearest.get(parent)
        if found is None:
            if len(self._nearest) >= _MOST_KEPT:
                self._nearest.clear()
            found = self._nearest[parent] = next((one for one in upwards(parent) if one in self.owners), "")
        return found

    def foreign(self, dns_names: Iterable[str], team_id: int) -> tuple[str, ...]:
        """Return the domains of other teams at, above or beneath the names."""
        near: set[str] = set()
        for name in dns_names:
            base = base_domain(name)
            near.update(one for one in upwards(base) if one in self.owners)
            if name != base:
                near.update(self._by_parent.get(base, ()))
        return tuple(sorted(one for one in near if self.owners[one] != team_id))

    def _above_others(self, base: str, team_id: int) -> bool:
        beneath = self._by_parent.get(base, ())
        return any(self.owners[domain] != team_id for domain in beneath)

    @cached_property
    def _by_parent(self) -> dict[str, list[str]]:
        """Return the owned domains beneath each name above one."""
        found: dict[str, list[str]] = {}
        for domain in self.owners:
            for parent in upwards(domain.partition(".")[2]):
                found.setdefault(parent, []).append(domain)
        return found


def upwards(name: str) -> Sequence[str]:
    """Return a name and the names above it: `a.b.c`, `b.c`, `c`."""
    labels = name.split(".")
    return [".".join(labels[start:]) for start in range(len(labels))]
