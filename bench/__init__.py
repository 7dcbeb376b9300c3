"""Benchmarks: speed as ratios against a limit or a peer measured in the same run. Never part of the tests.

`make bench` runs all; `make bench ARGS="single rates"` some. Real PostgreSQL, Redis and Vault are started privately, as for tests.
"""
