"""An external act in its three phases: reserved in a transaction, executed outside of one, recorded in another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from audit.unit_of_work import UnitOfWork
from certs.issuance.attempts import Lease
from certs.models import Attempt, CertificateRequest


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came of an act: the requests that moved on, which are locked, and why others have to be tried again, by id."""

    now: datetime
    ready: Sequence[CertificateRequest] = ()
    keys_unavailable: Mapping[int, str] = field(default_factory=dict)
    ca_unavailable: Mapping[int, str] = field(default_factory=dict)


class Act(ABC):
    """What `reserve` of a step has noted for a batch of requests, with an open attempt for each.

    Between the phases a worker may die, stall or be overtaken. Each phase is called once, in order.
    """

    step: ClassVar[str]

    @property
    @abstractmethod
    def open_attempts(self) -> Collection[Attempt]:
        """The attempts that were opened for it."""

    @abstractmethod
    def execute(self, lease: Lease) -> None:
        """Call Vault, HSM or CA and keep the results. `lease` is renewed between two calls. No transaction is open."""

    @abstractmethod
    def record(self, work: UnitOfWork) -> Recorded:
        """Lock and compare, then write the results of the requests whose attempt is still ours."""

    @abstractmethod
    def each(self) -> Sequence[Act]:
        """The same act for each of its requests alone, with the result that it has: to find the one that cannot be recorded."""
