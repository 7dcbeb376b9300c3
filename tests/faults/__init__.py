"""Faults: real processes and servers stopped, killed and cut off in the middle of work."""
