"""How far the clocks of two computers may differ before one of them refuses to work. Pure."""

from __future__ import annotations

from datetime import timedelta

CLOCK_TOLERANCE = timedelta(minutes=5)
"""The one tolerance for everything with a time in it: notBefore and thisUpdate lie this far back,
so that a relying party whose clock is behind accepts them; a host signs nothing while its clock
differs from the database's by more; and a peer's dates may lie this far ahead."""
