"""What a version would do to a renewal or a request, judged once for all that are alike to the rules.

A large inventory has few kinds of certificates: the same profile, key and life, names inside the
domains of the same team. What makes a kind is what the rules look at; a test compares the verdicts
with evaluations one by one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import NamedTuple

from certs.renewal.plan import adoptable, needs_another_csr
from certs.requests.facts.ownership import Ownership
from keys.spec import KeyFacts
from policy.engine import Decision, evaluate
from policy.engine import Outcome as Decided
from policy.facts import RequesterFacts, RequestFacts
from policy.rules.keys import KeyReuseAtRenewal
from policy.rules.ruleset import RuleSet
from policy.rules.validity import MaxValidity
from policy.waivers.waiver import Waiver


class Outcome(StrEnum):
    """What happens to a certificate at its renewal, or to a request. The mildest first."""

    PASSES = "passes"
    SHORTENED = "shortened"
    NEW_KEY = "new_key"
    APPROVAL = "approval"
    NEEDS_CSR = "needs_csr"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome with its reason in words; empty for what passes."""

    outcome: Outcome
    reason: str = ""


class Due(NamedTuple):
    """What the rules look at in a certificate that is to be renewed on the day `on`. (A tuple: there can be a million.)"""

    pk: int
    team_id: int
    profile: str
    key_type: str
    common_name: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    days: int
    external_key: bool
    on: date
    key_age_days: int = 0
    key_certificates: int = 0

    def kind(self, ownership: Ownership) -> Hashable:
        """Return what all certificates share that are alike to the rules, apart from key use and day."""
        names = (*self.dns_names, *self.ip_addresses)
        return (
            self.team_id,
            self.profile,
            self.key_type,
            self.days,
            self.external_key,
            len(names),
            not self.common_name or self.common_name in names,
            frozenset([ownership.place(name, self.team_id) for name in self.dns_names]),
            self.ip_addresses,
        )

    def facts(self, ownership: Ownership) -> RequestFacts:
        """Return the facts of an automatic renewal: the same content on the same key."""
        key = KeyFacts.from_name(self.key_type)
        return RequestFacts(
            profile=self.profile,
            common_name=self.common_name,
            dns_names=self.dns_names,
            ip_addresses=self.ip_addresses,
            key_family=key.family,
            key_bits=key.bits,
            validity_days=self.days,
            ekus=ownership.ekus.get(self.profile, ()),
            renewal=True,
            key_reused=True,
            csr_brought=self.external_key,
            key_age_days=self.key_age_days,
            key_certificates=self.key_certificates,
        )


class Rules:
    """One rule set with its waivers, and its verdicts by kind."""

    def __init__(self, ruleset: RuleSet, waivers: Sequence[tuple[Waiver, datetime, datetime]] = ()) -> None:
        self.ruleset = ruleset
        self._waivers = waivers
        validity, reuse = ruleset.rule(MaxValidity), ruleset.rule(KeyReuseAtRenewal)
        self._steps = [start for start, _ in validity.schedule] if validity else []
        self._reuse = reuse
        self._verdicts: dict[Hashable, Verdict] = {}

    @property
    def looks_at_key_use(self) -> bool:
        """Return whether age and number of certificates of a key matter."""
        return bool(self._reuse and (self._reuse.max_age_days or self._reuse.max_certificates))

    @property
    def kinds(self) -> int:
        """Return how many evaluations there were."""
        return len(self._verdicts)

    def verdict(self, due: Due, kind: Hashable, ownership: Ownership) -> Verdict:
        """Return the verdict of the kind, from an evaluation of the first one of it."""
        waivers = self.waivers_for(due, ownership)
        key = (
            kind,
            bisect_right(self._steps, due.on),
            self.key_use(due),
            tuple(one.reference for one in waivers),
        )
        found = self._verdicts.get(key)
        if found is None:
            found = self._verdicts[key] = self.evaluate(due, ownership, waivers)
        return found

    def evaluate(self, due: Due, ownership: Ownership, waivers: Sequence[Waiver]) -> Verdict:
        """Evaluate this very certificate."""
        requester = self._requester(due, ownership)
        facts = due.facts(ownership)
        decision = evaluate(self.ruleset, facts, requester, on=due.on, waivers=waivers)
        return self._renewal(decision, due, waivers)

    def _renewal(self, decision: Decision, due: Due, waivers: Sequence[Waiver]) -> Verdict:
        """Return what a renewal makes of a decision, as `certs.renewal.plan` does."""
        if decision.outcome is Decided.ALLOW:
            return Verdict(Outcome.PASSES)
        if decision.outcome is Decided.NEEDS_APPROVAL:
            return Verdict(Outcome.APPROVAL, decision.reason)
        if needs_another_csr(decision, external_key=due.external_key):
            return Verdict(Outcome.NEEDS_CSR, decision.reason)
        changes = adoptable(decision, due.days)
        if changes is None or decision.suggestion is None or decision.case is None:
            return Verdict(Outcome.REFUSED, decision.reason)
        again = evaluate(self.ruleset, decision.suggestion.facts, decision.case.requester, on=due.on, waivers=waivers)
        if again.outcome is Decided.NEEDS_APPROVAL:
            return Verdict(Outcome.APPROVAL, again.reason)
        if "validity_days" in changes:
            return Verdict(Outcome.SHORTENED, f"Shortened from {due.days} to {changes['validity_days']} days")
        return Verdict(Outcome.NEW_KEY, decision.reason)

    def request(self, facts: RequestFacts, requester: RequesterFacts, *, on: date, at: datetime) -> Verdict:
        """Return the verdict on a request with recorded facts, as if it were made on that day."""
        waivers = [one for one, begins, ends in self._waivers if begins <= at < ends]
        decision = evaluate(self.ruleset, facts, requester, on=on, waivers=waivers)
        return decided(decision)

    def waivers_for(self, due: Due, ownership: Ownership) -> tuple[Waiver, ...]:
        """Return the waivers that cover the certificate on the day of its renewal."""
        if not self._waivers:
            return ()
        slug, names = ownership.teams[due.team_id].slug, (*due.dns_names, *due.ip_addresses)
        return tuple(
            one
            for one, begins, ends in self._waivers
            if begins.date() <= due.on < ends.date() and one.covers_names(slug, names, due.common_name)
        )

    def _requester(self, due: Due, ownership: Ownership) -> RequesterFacts:
        team = ownership.teams[due.team_id]
        return RequesterFacts(team.slug, ownership.owned(due.team_id), ownership.foreign(due.dns_names, due.team_id))

    def key_use(self, due: Due) -> tuple[int, int]:
        """Return the key's use as far as the rule tells it apart; its words name the figures."""
        rule = self._reuse
        if rule is None or not self.looks_at_key_use:
            return 0, 0
        old = rule.max_age_days is not None and due.key_age_days > rule.max_age_days
        often = rule.max_certificates is not None and due.key_certificates >= rule.max_certificates
        return due.key_age_days if old else 0, due.key_certificates if often else 0


def decided(decision: Decision) -> Verdict:
    """Return the verdict on a request: what the engine says, in the words of a replay."""
    outcome = {
        Decided.ALLOW: Outcome.PASSES,
        Decided.NEEDS_APPROVAL: Outcome.APPROVAL,
        Decided.DENY: Outcome.REFUSED,
    }[decision.outcome]
    return Verdict(outcome, decision.reason)


def recorded_as(outcome: str) -> Outcome:
    """Return a recorded decision's outcome in the words of a replay."""
    return {"allow": Outcome.PASSES, "needs_approval": Outcome.APPROVAL, "deny": Outcome.REFUSED}[outcome]


class TimeLine:
    """Which rules count on which day: the versions in force and planned, and, in a replay, one more."""

    def __init__(self, versions: Sequence[tuple[date, Rules]]) -> None:
        self._starts = [start for start, _ in versions]
        self._rules = [rules for _, rules in versions]

    def on(self, day: date) -> Rules | None:
        """Return the rules of that day; the first ones before they began, None where there are none."""
        if not self._rules:
            return None
        return self._rules[max(bisect_right(self._starts, day) - 1, 0)]

    def with_version(self, start: date, rules: Rules) -> TimeLine:
        """Return the time line with one version more; what begins later still begins."""
        kept = [(when, one) for when, one in zip(self._starts, self._rules, strict=True) if when != start]
        return TimeLine(sorted([*kept, (start, rules)], key=lambda item: item[0]))

    @property
    def looks_at_key_use(self) -> bool:
        """Return whether any of the rules looks at the use of keys."""
        return any(rules.looks_at_key_use for rules in self._rules)


def aged(due: Due, age: int, certificates: int) -> Due:
    """Return the certificate with the use of its key on the day of its renewal."""
    return due._replace(key_age_days=age, key_certificates=certificates)
