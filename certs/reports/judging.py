"""Whether a certificate complies with the policy in force, evaluated as if its content were requested today.

A large inventory has few kinds of certificates: the same profile, key and life, names inside the
domains of its team. The policy is evaluated once for each kind and the verdict is used again.
What makes a kind is what the rules look at; a test compares the verdicts with evaluations one by
one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property

from certs.models import Domain, Team
from keys.spec import KeyFacts
from policy.engine import evaluate
from policy.facts import RequesterFacts, RequestFacts
from policy.models import Profile
from policy.rules.base import Check
from policy.rules.names import base_domain
from policy.rules.ruleset import RuleSet

_SECONDS_OF_A_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Judged:
    """What of a certificate the policy looks at."""

    team_id: int
    profile: str
    key_type: str
    common_name: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    not_before: datetime
    not_after: datetime

    @property
    def days(self) -> int:
        """Return complete days of its life, at least 1: what was requested, whatever the seconds are."""
        return max(1, int((self.not_after - self.not_before).total_seconds()) // _SECONDS_OF_A_DAY)


class Judge:
    """Judges certificates by one rule set on one day, with the ownership of domains as it is now."""

    def __init__(self, ruleset: RuleSet, *, on: date) -> None:
        self._ruleset, self._on = ruleset, on
        self._owners: dict[str, int] = dict(Domain.objects.values_list("name", "team_id"))
        self._teams: dict[int, Team] = Team.objects.in_bulk()
        profiles = Profile.objects.values_list("name", "ekus")
        self._ekus: Mapping[str, tuple[str, ...]] = {name: tuple(ekus) for name, ekus in profiles}
        self._owned: dict[int, tuple[str, ...]] = {}
        for name, owner in sorted(self._owners.items()):
            self._owned[owner] = (*self._owned.get(owner, ()), name)
        self._verdicts: dict[tuple[object, ...], frozenset[str]] = {}

    @property
    def kinds(self) -> int:
        """Return how many evaluations there were."""
        return len(self._verdicts)

    def failing_rules(self, certificate: Judged) -> frozenset[str]:
        """Return the names of the rules that refuse it; empty where it complies.

        What needs an approval complies: it was approved when it was issued.
        """
        kind = self._kind(certificate)
        verdict = self._verdicts.get(kind)
        if verdict is None:
            verdict = frozenset(check.rule for check in self.failures(certificate))
            self._verdicts[kind] = verdict
        return verdict

    def failures(self, certificate: Judged) -> tuple[Check, ...]:
        """Evaluate this very certificate and return the checks that fail, with their messages."""
        team = self._teams[certificate.team_id]
        owned = self._owned.get(team.pk, ())
        requester = RequesterFacts(team.slug, owned, self._foreign(certificate))
        key = KeyFacts.from_name(certificate.key_type)
        facts = RequestFacts(
            profile=certificate.profile,
            common_name=certificate.common_name,
            dns_names=certificate.dns_names,
            ip_addresses=certificate.ip_addresses,
            key_family=key.family,
            key_bits=key.bits,
            validity_days=certificate.days,
            ekus=self._ekus.get(certificate.profile, ()),
        )
        return evaluate(self._ruleset, facts, requester, on=self._on).failures

    def _kind(self, certificate: Judged) -> tuple[object, ...]:
        names = (*certificate.dns_names, *certificate.ip_addresses)
        return (
            certificate.profile,
            certificate.key_type,
            certificate.days,
            certificate.team_id,
            len(names),
            not certificate.common_name or certificate.common_name in names,
            frozenset(self._place(name, certificate.team_id) for name in certificate.dns_names),
            certificate.ip_addresses,
        )

    def _place(self, name: str, team_id: int) -> tuple[str, bool, bool]:
        """Return the place of a DNS name: the nearest domain that anybody owns, whether the name is a
        wildcard directly before it, and whether it is a wildcard above a domain of another team.
        """
        base = base_domain(name)
        nearest = next((one for one in _upwards(base) if one in self._owners), "")
        wildcard = name != base
        return nearest, wildcard and nearest == base, wildcard and self._above_others(base, team_id)

    def _foreign(self, certificate: Judged) -> tuple[str, ...]:
        """Return the domains of other teams at, above or beneath its names."""
        near: set[str] = set()
        for name in certificate.dns_names:
            base = base_domain(name)
            near.update(one for one in _upwards(base) if one in self._owners)
            if name != base:
                near.update(self._by_parent.get(base, ()))
        return tuple(sorted(one for one in near if self._owners[one] != certificate.team_id))

    def _above_others(self, base: str, team_id: int) -> bool:
        beneath = self._by_parent.get(base, ())
        return any(self._owners[domain] != team_id for domain in beneath)

    @cached_property
    def _by_parent(self) -> dict[str, list[str]]:
        """Return the owned domains beneath each name above one."""
        found: dict[str, list[str]] = {}
        for domain in self._owners:
            for parent in _upwards(domain.partition(".")[2]):
                found.setdefault(parent, []).append(domain)
        return found


def _upwards(name: str) -> Sequence[str]:
    """Return a name and the names above it: `a.b.c`, `b.c`, `c`."""
    labels = name.split(".")
    return [".".join(labels[start:]) for start in range(len(labels))]
