"""The steps one by one, as Celery's tasks run them: `advance` from one state to the next."""

from __future__ import annotations

from collections.abc import Sequence

from certs.enums import RequestState as S
from certs.issuance.advance import Unavailable, advance

__all__ = ["Unavailable", "check_policy", "create_csrs", "ensure_keys", "record_inventory", "submit_to_ca"]


def check_policy(ids: Sequence[int]) -> None:
    advance(ids, until=S.APPROVED)


def ensure_keys(ids: Sequence[int]) -> None:
    advance(ids, since=S.APPROVED, until=S.KEY_READY)


def create_csrs(ids: Sequence[int]) -> None:
    advance(ids, since=S.KEY_READY, until=S.CSR_CREATED)


def submit_to_ca(ids: Sequence[int], *, complete: bool = False) -> None:
    advance(ids, since=S.CSR_CREATED, until=S.COMPLETED if complete else S.ISSUED)


def record_inventory(ids: Sequence[int]) -> None:
    advance(ids, since=S.ISSUED, until=S.COMPLETED)
