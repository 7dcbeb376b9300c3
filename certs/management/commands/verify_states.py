"""`verify_states`: does the audit log explain what the tables say? Exit 0 yes, 1 no, 2 wrong usage."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from certs.errors import sentence
from certs.management.portal_command import PortalCommand
from certs.reconciliation.figures import compare_figures
from certs.reconciliation.records.comparison import Comparison
from certs.reconciliation.records.links import compare_links
from certs.reconciliation.records.missing import compare_events
from certs.reconciliation.records.power import compare_power
from certs.reconciliation.records.states import compare_states


class Command(PortalCommand):
    help = (
        "Compare the state tables with the audit log: requests, certificates, approvals, "
        "revocations, bulk orders, keys, tokens, issuers, policies, and everything that gives power. "
        "Names each state that no event explains, and each event whose state is missing."
    )

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        comparison = Comparison()
        compare_states(comparison)
        compare_power(comparison)
        compare_events(comparison)
        compare_links(comparison)
        compare_figures(comparison)
        return {
            "success": not comparison.total,
            "compared": dict(comparison.compared),
            "problems": [asdict(one) for one in comparison.problems],
            "more_problems": comparison.total - len(comparison.problems),
        }

    def show(self, answer: dict[str, Any]) -> None:
        counts = ", ".join(f"{count} {kind}" for kind, count in answer["compared"].items())
        if answer["success"]:
            self.stdout.write(f"The audit log explains every state: {counts}.")
            return
        lines = [sentence(f"{one['kind']} {one['name']}: {one['problem']}") for one in answer["problems"]]
        if answer["more_problems"]:
            lines.append(f"And {answer['more_problems']} more.")
        self.stdout.write("THE AUDIT LOG DOES NOT EXPLAIN WHAT THE TABLES SAY:")
        self.stdout.write("\n".join(lines))
        self.stdout.write(
            f"Compared: {counts}.\n"
            "What it means: these rows were written or removed by something other than the portal, "
            "or the log was. Nothing was changed by this command.\n"
            "What to do: run verify_audit to see whether the log is whole; compare the rows with a "
            "backup; put right what is wrong through the portal, so that an event says so."
        )
