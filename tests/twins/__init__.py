"""Twins of a CA and of a key backend: in memory, fast, obedient to the contract tests of the real ones, and able to misbehave on order."""
