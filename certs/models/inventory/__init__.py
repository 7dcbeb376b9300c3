"""What is kept about the inventory itself: saved views, verdicts of the policy, acts on many."""
