"""The interface of a certification authority: orders in, outcomes out.

A client never raises for the CA's reply to an order, or for a missing one. It returns one outcome for each order, in
order, because the items of a batch may end differently. The type of an outcome says what the caller may do next:
a `NotSent` order may be sent again, an `Unknown` one only after `find` has said that the CA has no certificate for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from audit.events import recordable
from audit.log import UnitOfWork
from certs.enums import RevocationReason
from certs.models import Issuer
from certs.spec import end_of_day
from db.reads import Read

# How far before the order another CA may date notBefore: its clock differs, and CAs back-date for relying parties whose clocks do.
MOST_BACKDATING = timedelta(minutes=10)


class Lookup(StrEnum):
    """How a CA can be asked what became of an order."""

    BY_ORDER_REF = "by_order_ref"
    BY_LISTING = "by_listing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Capabilities:
    lookup: Lookup
    explicit_names: bool  # the CA takes names from the order, not from the CSR
    reports_reason: bool = True  # the CA publishes the revocation reason
    holds: bool = False  # a revocation as certificateHold can be taken back there
    batch_size: int = 16  # orders in one call of issue_many, such that it ends well within an attempt's lease


class Order(NamedTuple):
    """One certificate to be signed. `order_ref` is unique per issuer permanently: the CA signs it at most once.

    `validity_days` or `not_after` (the last day, UTC) is set. `longest_days`: the policy's maximum, where the order was evaluated.
    """

    order_ref: str
    csr_der: bytes  # empty when the CSR may not be kept; only a CA that takes explicit names and a public key can serve it
    spki_der: bytes
    spki_sha256: str
    common_name: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    profile: str
    validity_days: int | None
    policy_version: str
    intended_at: datetime  # database time at which the attempt was written
    organization: str = ""
    not_after: date | None = None
    longest_days: int | None = None

    def last_second(self, *, signed_at: datetime, not_before: datetime) -> datetime:
        """Return when the certificate ends at the latest: the issuer's own end may come before.

        Back-dating does not shorten what was requested, and the whole period, back-dating included, stays within the policy.
        """
        end = end_of_day(self.not_after) if self.not_after else signed_at + timedelta(days=self.validity_days or 0)
        if self.longest_days is not None:
            end = min(end, not_before + timedelta(days=self.longest_days) - timedelta(seconds=1))
        return end.replace(microsecond=0)


class Issued(NamedTuple):
    order_ref: str
    certificate_der: bytes
    chain_der: tuple[bytes, ...]  # issuing CA first, root last


@dataclass(frozen=True, slots=True)
class Pending:
    """The CA accepted the order and will issue later: call `find` again."""

    order_ref: str
    message: str = ""

    def __post_init__(self) -> None:
        _make_recordable(self)


@dataclass(frozen=True, slots=True)
class Refused:
    """The CA refuses to sign this; sending it again will not help."""

    order_ref: str
    problem: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "problem", recordable(self.problem, most=64))
        _make_recordable(self)


@dataclass(frozen=True, slots=True)
class NotSent:
    """The order certainly did not arrive (refused connection, DNS, TLS, sealed key store, clean 503)."""

    order_ref: str
    message: str
    retry_after: float | None = None  # seconds

    def __post_init__(self) -> None:
        _make_recordable(self)


@dataclass(frozen=True, slots=True)
class Unknown:
    """The order may have been signed (time-out after the first byte, reset, 5xx, unreadable answer)."""

    order_ref: str
    message: str
    answered: bool = False  # the CA did answer (with a 500, say): other orders may fare better

    def __post_init__(self) -> None:
        _make_recordable(self)


def _make_recordable(outcome: Pending | Refused | NotSent | Unknown) -> None:
    """Make the message fit for rows and events: it is often the CA's own text."""
    object.__setattr__(outcome, "message", recordable(outcome.message))


Outcome = Issued | Pending | Refused | NotSent | Unknown
Found = Issued | Pending | Unknown | None


def is_silent(outcomes: Sequence[Outcome | None]) -> bool:
    """Return whether the CA answered none of these orders. Then it is sent no more of the same batch."""
    return bool(outcomes) and all(isinstance(one, NotSent) or (isinstance(one, Unknown) and not one.answered) for one in outcomes)


class CAUnreachable(Exception):
    """A look-up, revocation or chain request was not served. Always worth a retry.

    `answered`: the CA did answer (with a 500, say), so that it may serve the next request.
    """

    def __init__(self, message: str, *, answered: bool = False) -> None:
        super().__init__(recordable(message))
        self.answered = answered


class NotDoneYet(CAUnreachable):
    """The CA has accepted a revocation or a release and has not done it: relying parties need not see it yet. Ask again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, answered=True)


def no_renewal() -> None:
    """Do nothing between two calls of a CA: the caller holds no lease."""


@dataclass(frozen=True, slots=True)
class RevocationOrder:
    serial_number: int
    reason: RevocationReason
    revoked_at: datetime
    certificate_der: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What an own CA will sign for each order reference, or has signed already, and how the other orders end.

    It is about exactly the orders that it was prepared from.
    """

    references: tuple[str, ...]
    records: Mapping[str, Any] = field(default_factory=dict)  # the CA's own, by order reference
    ended: Mapping[str, Refused | NotSent] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RevokedThere:
    """What a CA says of a certificate that it has revoked."""

    serial_number: int
    revoked_at: datetime
    reason: RevocationReason = RevocationReason.UNSPECIFIED


class CAClient(ABC):
    """One CA behind an alias of `settings.CA_CLIENTS`. Every client passes `tests/contracts/test_ca_client.py`."""

    alias: str
    capabilities: Capabilities

    @abstractmethod
    def issue_many(self, orders: Sequence[Order]) -> list[Outcome]:
        """Have each order signed. Never called inside a transaction. Sending an order_ref again gives the same certificate
        wherever `capabilities.lookup` is `by_order_ref`.
        """

    @abstractmethod
    def find(self, order: Order) -> Issued | Pending | None:
        """Return what became of an order; None when the CA certainly has no certificate for it.

        Raises CAUnreachable when the CA cannot be asked.
        """

    def find_many(self, orders: Sequence[Order], *, between: Callable[[], None] = no_renewal) -> list[Found]:
        """Return one result of `find` for each order, in order; `Unknown` where the CA does not say now.

        A CA that does not answer is not asked again for the rest. `between` is called before each
        call of the CA, so that the caller can renew its lease. Raises nothing because of
        an order.
        """
        found: list[Found] = []
        silence = ""
        for order in orders:
            if silence:
                found.append(Unknown(order.order_ref, silence))
                continue
            # Each call may take a time-out, and a batch of them longer than a lease.
            between()
            try:
                found.append(self.find(order))
            except CAUnreachable as exc:
                message = f"could not ask whether it was signed: {exc}"
                found.append(Unknown(order.order_ref, message, answered=exc.answered))
                silence = "" if exc.answered else message
        return found

    @abstractmethod
    def revoke(self, order: RevocationOrder) -> None:
        """Revoke; "already revoked" is success. Returns only once the CA has done it.

        Raises NotDoneYet where it has only accepted it, CAUnreachable, or certs.errors.NotFound for a serial it never issued.
        """

    def release(self, serial_number: int) -> None:
        """Take a hold back; one that is not revoked is success. Raises what `revoke` raises. Asked only of a CA whose
        capabilities say `holds`.
        """
        raise NotImplementedError(f"{self.alias} cannot take a revocation back.")

    @abstractmethod
    def chain(self) -> tuple[bytes, ...]:
        """Return the DER certificates from the issuing CA to the root. Raises CAUnreachable."""

    def unknown_certificates(self) -> Iterable[bytes] | None:
        """Return the DER of certificates that the CA has and the portal does not know; None where the CA has no such list.

        Raises CAUnreachable.
        """
        return None

    def revoked_certificates(self) -> Iterable[RevokedThere] | None:
        """Return certificates that the CA reports as revoked and the inventory as good; None where the CA has no such list.

        Raises CAUnreachable.
        """
        return None

    @abstractmethod
    def is_working(self) -> bool:
        """Return whether an order sent now would be signed, as far as can be seen without sending one.

        Checks what an order needs (the login, the rights, the role), not a health page. Never raises.
        """


class LedgerCA(CAClient):
    """A CA whose ledger is in the portal's own database.

    So an order and what will be signed for it are recorded in one transaction, and later the
    certificate and its row in the inventory.

    `issue_many` is `prepare`, `sign` and `record` in transactions of their own.
    """

    @abstractmethod
    def may_sign_here(self, issuer: Issuer) -> bool:
        """Return whether this process has the backend of the issuer's key; whether that backend works
        shows when it signs.
        """

    @abstractmethod
    def prepare(self, work: UnitOfWork, orders: Sequence[Order], *, now: datetime) -> Prepared:
        """Add to `work` each order's serial number and complete TBSCertificate, once for its reference.

        Raises nothing because of an order; IntegrityError at the end of `work` when another worker
        prepared one of these orders at the same time.
        """

    @abstractmethod
    def sign(self, prepared: Prepared) -> list[Outcome]:
        """Return one outcome for each order, in order. No transaction is open, and nothing is written."""

    @abstractmethod
    def prepare_new(self, work: UnitOfWork, orders: Sequence[Order], *, issuer: Issuer, now: datetime) -> Prepared:
        """Prepare orders of requests that are new in `work`. `issuer`: the CA's row as this transaction has locked it."""

    @abstractmethod
    def ledger(self, prepared: Prepared) -> Read[Mapping[str, Any]]:
        """Return a read that locks the records of these orders until the open transaction ends: those that still count, by reference.

        One that was abandoned or revoked in the meantime must not be recorded: its serial number is on the CRL.
        """

    @abstractmethod
    def record(self, work: UnitOfWork, signed: Iterable[Issued], locked: Mapping[str, Any], *, now: datetime) -> None:
        """Note in `work` that these orders were signed. `locked`: what `ledger` returned in this transaction.

        The caller keeps the certificates' bytes in the same transaction, in the inventory or in
        quarantine. The same TBSCertificate signed twice gives certificates that differ at most in
        the signature; the first one recorded stays.
        """
