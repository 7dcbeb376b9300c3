"""A waiver that waits for another officer than the one who requested it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from db.clock import database_now
from policy.models import PolicyWaiver
from policy.waivers.deciding import request_waiver


def requested_waiver(user: Any) -> PolicyWaiver:
    """More names for team web than the policy allows, for nine days."""
    now = database_now()
    return request_waiver(
        "default",
        rule="max_names",
        params={"maximum": 150},
        names=[],
        teams=["web"],
        reason="A gateway.",
        begins=now,
        ends=now + timedelta(days=9),
        user=user,
        now=now,
    )
