"""Replay of a policy version against the inventory and the requests of the last days: what it would do."""
