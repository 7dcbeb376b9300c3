"""The figures of pages and metrics against the inventory."""

from __future__ import annotations

from certs.inventory.figures import wrong_figures
from certs.reconciliation.records.comparison import Comparison


def compare_figures(comparison: Comparison) -> None:
    """Add figures that are not the length of the list to which they lead."""
    for wrong in wrong_figures():
        problem = f"it says {wrong.kept}, but {wrong.listed} certificates are listed"
        comparison.add("figure", wrong.name, problem)
    comparison.compared["figures"] += 1
