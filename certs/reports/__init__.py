"""The weekly compliance report: computed, kept, shown, mailed."""
