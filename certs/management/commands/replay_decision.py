"""`manage.py replay_decision`: make a recorded decision again and compare it with the record."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandParser

from certs.management.portal_command import PortalCommand
from certs.requests.facts.decisions import Rerun, evaluations_of, run_again


class Command(PortalCommand):
    help = (
        "Make the decisions on a request again, from the recorded facts and the policy version that "
        "decided. Exits with 1 if a result differs from the record."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("id", metavar="ID", help="a request (req-...) or the number of a decision")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        reruns = [run_again(one) for one in evaluations_of(options["id"])]
        return {
            "success": not any(one.differences for one in reruns),
            "decisions": [_described(one) for one in reruns],
        }


def _described(rerun: Rerun) -> dict[str, Any]:
    row = rerun.evaluation
    return {
        "decision": row.pk,
        "request": row.request.public_id,
        "evaluated_at": row.evaluated_at.isoformat(),
        "policy_version": row.policy_version,
        "rules_sha256": row.rules_digest,
        "facts_sha256": row.facts_digest,
        "recorded": row.outcome,
        "now": str(rerun.decision.outcome) if rerun.decision else None,
        "same": rerun.same,
        "differences": list(rerun.differences),
    } | ({"not_compared": rerun.not_compared} if rerun.not_compared else {})
