"""Which lists of the inbox hold anything at all, for whomever: one small statement for every page of a role.

Most lists are empty most of the time, and each costs a millisecond to ask for.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

from certs.enums import AlertKind, RequestState
from certs.models import (
    ApprovalQuestion,
    BulkOrder,
    CAAddition,
    CertificateRequest,
    DomainRequest,
    JoinRequest,
    OperatorAlert,
)
from db.sql import fetch
from policy.models import PolicyVersion, PolicyWaiver


class Present(StrEnum):
    """A list of the inbox. In the order of the statement."""

    ALERTS = "alerts"
    REQUESTS = "requests"
    ORDERS = "orders"
    DOMAINS = "domains"
    QUESTIONS = "questions"
    DRAFTS = "drafts"
    WAIVERS = "waivers"
    CAS = "cas"
    PEOPLE = "people"
    EXPIRED = "expired"
    BLOCKED_KEYS = "blocked keys"


_ROWS = {
    Present.ALERTS: (OperatorAlert, "closed_at IS NULL"),
    Present.REQUESTS: (CertificateRequest, f"state = '{RequestState.AWAITING_APPROVAL.value}'"),
    Present.ORDERS: (BulkOrder, f"state IN ('{BulkOrder.State.RUNNING.value}', '{BulkOrder.State.PAUSED.value}')"),
    Present.DOMAINS: (DomainRequest, f"state = '{DomainRequest.State.WAITING.value}'"),
    Present.QUESTIONS: (ApprovalQuestion, "answered_at IS NULL"),
    Present.DRAFTS: (PolicyVersion, f"state = '{PolicyVersion.State.DRAFT.value}'"),
    Present.WAIVERS: (PolicyWaiver, "approved_at IS NULL AND ended_at IS NULL"),
    Present.CAS: (CAAddition, f"state = '{CAAddition.State.READY.value}'"),
    Present.PEOPLE: (JoinRequest, "decided_at IS NULL"),
    Present.EXPIRED: (OperatorAlert, f"kind = '{AlertKind.EXPIRED.value}' AND closed_at IS NULL"),
    Present.BLOCKED_KEYS: (OperatorAlert, f"kind = '{AlertKind.KEY_BLOCKED.value}' AND closed_at IS NULL"),
}


@cache
def _statement() -> str:
    parts = (f"EXISTS (SELECT 1 FROM {one._meta.db_table} WHERE {rows})" for one, rows in _ROWS.values())  # noqa: S608 - constants
    return f"SELECT {', '.join(parts)}"


def present() -> frozenset[Present]:
    """Return the lists that may hold something; the others hold nothing for anybody."""
    (found,) = fetch(_statement())
    return frozenset(one for one, exists in zip(_ROWS, found, strict=True) if exists)
