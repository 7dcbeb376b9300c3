"""Whether a certificate complies with the policy in force, evaluated as if its content were requested today.

A large inventory has few kinds of certificates: the same profile, key and life, names inside the
domains of its team. The policy is evaluated once for each kind and the verdict is used again.
What makes a kind is what the rules look at; a test compares the verdicts with evaluations one by
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from certs.requests.facts.ownership import Ownership
from keys.spec import KeyFacts
from policy.engine import evaluate
from policy.facts import RequesterFacts, RequestFacts
from policy.rules.base import Check
from policy.rules.ruleset import RuleSet
from policy.waivers.waiver import Waiver

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

    def __init__(self, ruleset: RuleSet, *, on: date, waivers: Sequence[Waiver] = ()) -> None:
        self._ruleset, self._on, self._waivers = ruleset, on, waivers
        self._ownership = Ownership()
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
        facts, requester = self._facts(certificate)
        return evaluate(self._ruleset, facts, requester, on=self._on, waivers=self._waivers).failures

    def _facts(self, certificate: Judged) -> tuple[RequestFacts, RequesterFacts]:
        known, team_id = self._ownership, certificate.team_id
        requester = RequesterFacts(known.teams[team_id].slug, known.owned(team_id), known.foreign(certificate.dns_names, team_id))
        key = KeyFacts.from_name(certificate.key_type)
        facts = RequestFacts(
            profile=certificate.profile,
            common_name=certificate.common_name,
            dns_names=certificate.dns_names,
            ip_addresses=certificate.ip_addresses,
            key_family=key.family,
            key_bits=key.bits,
            validity_days=certificate.days,
            ekus=known.ekus.get(certificate.profile, ()),
        )
        return facts, requester

    def _kind(self, certificate: Judged) -> tuple[object, ...]:
        names = (*certificate.dns_names, *certificate.ip_addresses)
        return (
            certificate.profile,
            certificate.key_type,
            certificate.days,
            certificate.team_id,
            len(names),
            not certificate.common_name or certificate.common_name in names,
            frozenset(self._ownership.place(name, certificate.team_id) for name in certificate.dns_names),
            certificate.ip_addresses,
            self._covering(certificate),
        )

    def _covering(self, certificate: Judged) -> tuple[str, ...]:
        """Return the waivers that cover the certificate: with others it is of another kind."""
        if not self._waivers:
            return ()
        facts, requester = self._facts(certificate)
        return tuple(one.reference for one in self._waivers if one.covers(facts, requester))
