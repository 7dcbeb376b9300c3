"""A CA in memory whose answers can be lost, late, refused or wrong, and whose own book says what it really signed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certs.ca.base import (
    CAClient,
    Capabilities,
    CAUnreachable,
    Issued,
    Lookup,
    NotSent,
    Order,
    Outcome,
    Pending,
    Refused,
    RevocationOrder,
    Unknown,
)
from certs.ca.known import known_serials
from certs.errors import NotFound
from certs.x509.certificate.profiles import profile_named
from certs.x509.certificate.serial import new_serial
from certs.x509.certificate.tbs import assemble, build_issuing_ca, build_root, build_tbs
from keys.signing import sign_message
from keys.spec import spki_der


class Fault(StrEnum):
    """What happens to the next call of issue_many."""

    NONE = "none"
    DOWN = "down"  # a clean 503: certainly not sent
    ANSWER_LOST = "answer lost"  # signed, but the caller never hears of it
    ANSWER_LATE = "answer late"  # the caller gives up first, the CA signs a moment later
    WRONG_KEY = "wrong key"  # signs a certificate for another key
    WRONG_NAMES = "wrong names"  # signs a certificate for very many others
    ANOTHERS = "another's"  # signs what was ordered, and answers with the first certificate that it ever signed
    CUT = "cut"  # signs what was ordered, and answers with half of it


@dataclass
class Signed:
    order_ref: str
    serial: int
    spki_sha256: str
    der: bytes
    revoked: bool = False


@dataclass
class Book:
    """What the CA itself knows: the truth that the portal's books are compared with."""

    signed: list[Signed] = field(default_factory=list)
    pending: list[Order] = field(default_factory=list)
    calls: int = 0

    def living(self, order_ref: str) -> list[Signed]:
        return [one for one in self.signed if one.order_ref == order_ref and not one.revoked]


class TwinCAClient(CAClient):
    """By default it can be asked by order reference; with `lookup=Lookup.BY_LISTING` it forgets references, as Vault's PKI does."""

    def __init__(self, alias: str, *, lookup: str = Lookup.BY_ORDER_REF) -> None:
        self.alias = alias
        self.capabilities = Capabilities(lookup=Lookup(lookup), explicit_names=True, holds=True)
        self.book = Book()
        self.faults: list[Fault] = []
        self.reachable = True
        self.find_fails = 0  # so many look-ups are not served
        self.lists = False  # says what it has signed when asked for all of it
        self.refuses: tuple[str, str] | None = None  # the problem and the words with which it refuses every order
        self._lock = threading.Lock()
        now = datetime.now(tz=UTC) - timedelta(days=1)
        root_key, self._key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        self.root_der = build_root(root_key, name="Twin Root", now=now, years=5)
        self._ca_der = build_issuing_ca(
            root_key, x509.load_der_x509_certificate(self.root_der), self._key.public_key(), name="Twin CA", now=now, years=4
        )
        self._ca = x509.load_der_x509_certificate(self._ca_der)

    def issue_many(self, orders: Sequence[Order]) -> list[Outcome]:
        with self._lock:
            self.book.calls += 1
            fault = self.faults.pop(0) if self.faults else Fault.NONE
            self._sign_pending()
            if not self.reachable or fault is Fault.DOWN:
                return [NotSent(order.order_ref, "503 Service Unavailable") for order in orders]
            if self.refuses is not None:
                return [Refused(order.order_ref, *self.refuses) for order in orders]
            if fault is Fault.ANSWER_LATE:
                self.book.pending.extend(orders)
                return [Unknown(order.order_ref, "timed out") for order in orders]
            answers: list[Outcome] = [self.issued(self.sign(order, fault)) for order in orders]
            if fault is Fault.ANOTHERS:
                return [self.issued(self.book.signed[0])._replace(order_ref=order.order_ref) for order in orders]
            if fault is Fault.CUT:
                return [one._replace(certificate_der=one.certificate_der[:99]) for one in answers if isinstance(one, Issued)]
            if fault is Fault.ANSWER_LOST:
                return [Unknown(order.order_ref, "connection reset") for order in orders]
            return answers

    def find(self, order: Order) -> Issued | Pending | None:
        with self._lock:
            if not self.reachable or self.find_fails:
                self.find_fails = max(0, self.find_fails - 1)
                raise CAUnreachable("503 Service Unavailable")
            self._sign_pending()
            found = [one for one in self.book.signed if self._matches(one, order) and not one.revoked]
            return self.issued(found[0]) if found else None

    def _matches(self, one: Signed, order: Order) -> bool:
        if self.capabilities.lookup is Lookup.BY_LISTING:
            return one.spki_sha256 == order.spki_sha256
        return one.order_ref == order.order_ref

    def revoke(self, order: RevocationOrder) -> None:
        with self._lock:
            if not self.reachable:
                raise CAUnreachable("503 Service Unavailable")
            for one in self.book.signed:
                if one.serial == order.serial_number:
                    one.revoked = True
                    return
            raise NotFound(f"serial {order.serial_number:x} was never issued")

    def release(self, serial_number: int) -> None:
        with self._lock:
            if not self.reachable:
                raise CAUnreachable("503 Service Unavailable")
            for one in self.book.signed:
                if one.serial == serial_number:
                    one.revoked = False
                    return
            raise NotFound(f"serial {serial_number:x} was never issued")

    def unknown_certificates(self) -> list[bytes] | None:
        if not self.lists:
            return None
        alive = {f"{one.serial:x}": one.der for one in self.book.signed if not one.revoked}
        known = known_serials(self.alias, alive)
        return [der for serial, der in alive.items() if serial not in known]

    def chain(self) -> tuple[bytes, ...]:
        return (self._ca_der, self.root_der)

    def is_working(self) -> bool:
        return self.reachable

    def _sign_pending(self) -> None:
        """A late answer: by the time anybody asks again, the CA has signed."""
        pending, self.book.pending = self.book.pending, []
        for order in pending:
            self.sign(order)

    def sign(self, order: Order, fault: Fault = Fault.NONE) -> Signed:
        if self.capabilities.lookup is Lookup.BY_ORDER_REF:
            for one in self.book.signed:
                if one.order_ref == order.order_ref:
                    return one
        wrong_key = fault is Fault.WRONG_KEY
        spki = spki_der(ec.generate_private_key(ec.SECP256R1()).public_key()) if wrong_key else order.spki_der
        others = tuple(f"{number}{'x' * 50}.{'y' * 60}.{'z' * 60}.exam\0ple.com" for number in range(40))
        not_before = (order.intended_at - timedelta(minutes=1)).replace(microsecond=0)
        serial = new_serial()
        unsigned = build_tbs(
            profile=profile_named(order.profile),
            issuer=self._ca,
            spki_der=spki,
            common_name=order.common_name,
            dns_names=others if fault is Fault.WRONG_NAMES else order.dns_names,
            ip_addresses=order.ip_addresses,
            organization=order.organization,
            serial=serial,
            not_before=not_before,
            not_after=order.last_second(signed_at=order.intended_at, not_before=not_before),
            crl_url="http://twin.test/crl",
            ocsp_url="http://twin.test/ocsp",
            ca_issuers_url="http://twin.test/ca",
        )
        der = assemble(unsigned, sign_message(self._key, unsigned.tbs))
        one = Signed(order.order_ref, serial, order.spki_sha256, der)
        self.book.signed.append(one)
        return one

    def issued(self, one: Signed) -> Issued:
        return Issued(one.order_ref, one.der, self.chain())
