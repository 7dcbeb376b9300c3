"""Pages of teams and people."""
