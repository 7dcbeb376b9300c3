"""A replay without rows: the counts, for a command."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from django.db.models import Max

from certs.models import Certificate
from certs.replay.timelines import candidate_time_line, counting_waivers, present_time_line
from certs.replay.verdicts import Outcome
from certs.replay.work import SEPARATOR, judge_certificates
from certs.requests.facts.ownership import Ownership
from policy.rules.ruleset import RuleSet

RANGE = 20_000  # ids judged at a time: memory does not grow with the inventory


def replay_at_once(ruleset: RuleSet, *, now: datetime) -> dict[str, int]:
    """Return how many certificates have which outcome under these rules from now on. Reads only."""
    waivers = counting_waivers(now)
    present = present_time_line(now, waivers)
    candidate, _ = candidate_time_line(present, ruleset, starts=now, waivers=waivers)
    ownership, counts = Ownership(), Counter[str]()
    last = Certificate.objects.aggregate(last=Max("pk"))["last"] or 0
    for first in range(1, last + 1, RANGE):
        tally = judge_certificates(
            first,
            min(first + RANGE - 1, last),
            candidate=candidate,
            present=present,
            ownership=ownership,
            now=now,
        )
        for key, number in tally.counts.items():
            counts[key.partition(SEPARATOR)[0]] += number
    return {str(one): counts[one] for one in Outcome}
