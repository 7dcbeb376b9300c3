"""Vault's or OpenBao's PKI engine as CA, through `sign/<role>` with names said explicitly.

The engine keeps no order references and signs the same CSR twice. So an order is looked up in the list of the mount: serial
numbers that the portal does not know are read one by one and compared by public key, names and time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import hvac
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from django.core.exceptions import ImproperlyConfigured

from certs.ca.base import (
    MOST_BACKDATING,
    CAClient,
    Capabilities,
    CAUnreachable,
    Found,
    Issued,
    Lookup,
    NotSent,
    Order,
    Outcome,
    Pending,
    Refused,
    RevocationOrder,
    RevokedThere,
    Unknown,
    no_renewal,
)
from certs.ca.known import known_serials
from certs.errors import NotFound
from certs.models import Certificate
from certs.x509.asn1.pem import csr_pem
from certs.x509.certificate.verify import names_of
from keys.backends.vault_session import VaultSession
from keys.errors import KeyBackendError, KeyBackendUnavailable, KeyNotFound, KeyNotPermitted, KeyOperationRefused
from keys.spec import spki_sha256

log = logging.getLogger(__name__)

BACKDATE = timedelta(seconds=30)  # the engine's own default
ROLE_CHECKED_EVERY = 60.0  # seconds
MOST_READS = 20_000  # certificates of others that a process remembers, some kilobytes each
# What a role must not do: each would let something other than the order decide, or hide what was signed.
_FORBIDDEN_ROLE = ("use_csr_sans", "use_csr_common_name", "no_store")


def _end(order: Order) -> dict[str, str]:
    """Return the engine's parameter for the end. Days count from the engine's clock, under the role's maximum; a date is sent as it is."""
    if order.not_after is not None:
        # The first attempt's time: a later signature with the same end is only shorter.
        last = order.last_second(signed_at=order.intended_at, not_before=order.intended_at - BACKDATE)
        return {"not_after": f"{last:%Y-%m-%dT%H:%M:%SZ}"}
    life = timedelta(days=order.validity_days or 0)
    if order.longest_days is not None:
        life = min(life, timedelta(days=order.longest_days) - BACKDATE - timedelta(seconds=1))
    return {"ttl": f"{int(life.total_seconds())}s"}


class VaultPKIClient(CAClient):
    """`mount` and `role` of the engine; the rest of the options are those of VaultSession."""

    # Orders are sent one after the other, each within VaultSession's TOTAL_TIMEOUT: two could outlast what is left of a lease.
    capabilities = Capabilities(lookup=Lookup.BY_LISTING, explicit_names=True, reports_reason=False, batch_size=1)

    def __init__(self, alias: str, *, mount: str = "pki", role: str, **session: Any) -> None:
        self.alias, self.mount, self.role = alias, mount, role
        self._session = VaultSession(**session)
        self._role_checked_at = float("-inf")  # by time.monotonic()
        self._chain: tuple[bytes, ...] | None = None
        self._reads: dict[str, _Read | None] = {}

    def issue_many(self, orders: Sequence[Order]) -> list[Outcome]:
        return [self._issue(order) for order in orders]

    def _issue(self, order: Order) -> Outcome:
        # 1. The engine takes the public key from the CSR only.
        if not order.csr_der:
            return Refused(
                order.order_ref, "csr_not_kept", "This CA needs the CSR itself, and a CSR with a challenge password is not kept."
            )
        # 2. Before anything is sent: a role that lets only the order decide, and the chain to go with the certificate.
        try:
            self._check_role()
            chain = self.chain()
        except (KeyBackendError, CAUnreachable, ImproperlyConfigured) as exc:
            return NotSent(order.order_ref, str(exc))
        # 3. Sign, with every name said explicitly. The names in the CSR do not count (`_check_role`), and the common name goes
        #    into the SAN only where it is one of the names.
        extra = {
            "alt_names": ",".join(order.dns_names),
            "ip_sans": ",".join(order.ip_addresses),
            **_end(order),
            "exclude_cn_from_sans": True,
        }
        csr = csr_pem(order.csr_der)

        def sign(client: hvac.Client) -> bytes:
            reply = client.secrets.pki.sign_certificate(self.role, csr, order.common_name, extra_params=extra, mount_point=self.mount)
            return _der(reply["data"]["certificate"])

        # 4. What went wrong decides whether the order may be sent again or must be looked up first.
        try:
            return Issued(order.order_ref, self._session.call(sign), chain)
        except KeyBackendUnavailable as exc:
            # A sealed engine, or one that was not reached, has signed nothing. Any other failure, as an answer that cannot be
            # read, may have come after the signature.
            clean_no = "sealed" in str(exc) or "ConnectTimeout" in str(exc)
            return NotSent(order.order_ref, str(exc)) if clean_no else Unknown(order.order_ref, str(exc))
        except KeyNotPermitted as exc:  # about the rights of our login, not about the order
            return NotSent(order.order_ref, exc.for_people)
        except KeyOperationRefused as exc:
            return Refused(order.order_ref, "ca_refused", str(exc))
        except KeyBackendError as exc:
            return NotSent(order.order_ref, str(exc))

    def _check_role(self) -> None:
        """Read the role again when the last time is a minute ago. Raises ImproperlyConfigured for
        a role under which names would come from the CSR, or nothing is kept.
        """
        if time.monotonic() < self._role_checked_at + ROLE_CHECKED_EVERY:
            return

        def read(client: hvac.Client) -> list[str]:
            role = client.secrets.pki.read_role(self.role, mount_point=self.mount)["data"]
            return [name for name in _FORBIDDEN_ROLE if role[name]]

        wrong = self._session.call(read)
        if wrong:
            settings = " ".join(f"{name}=false" for name in wrong)
            raise ImproperlyConfigured(
                f"The PKI role {self.mount}/roles/{self.role} of the CA {self.alias} must be written with {settings}: "
                f"`bao write {self.mount}/roles/{self.role} {settings} ...`. Nothing is sent before that."
            )
        self._role_checked_at = time.monotonic()

    def find(self, order: Order) -> Issued | Pending | None:
        return self._found([order], no_renewal)[0]

    def find_many(self, orders: Sequence[Order], *, between: Callable[[], None] = no_renewal) -> list[Found]:
        """Lists the mount once for all orders and reads each serial number that is unknown here
        once in the life of this process.
        """
        if not orders:
            return []
        try:
            return list(self._found(orders, between))
        except CAUnreachable as exc:
            message = f"could not ask whether it was signed: {exc}"
            return [Unknown(order.order_ref, message, answered=exc.answered) for order in orders]

    def _found(self, orders: Sequence[Order], between: Callable[[], None]) -> list[Issued | None]:
        """Return the earliest certificate that matches each order. Further ones can only be doubles of
        a lost reply, and are revoked here. Raises CAUnreachable.
        """
        try:
            strangers = self._strangers(between)
            return [self._earliest(order, strangers, between) for order in orders]
        except KeyBackendError as exc:
            raise CAUnreachable(str(exc)) from exc

    def _strangers(self, between: Callable[[], None]) -> dict[str, list[_Read]]:
        """Return the certificates of the mount that are unknown here, by public key."""
        between()
        # By public key, so that a batch of orders is compared with each certificate once.
        by_key: dict[str, list[_Read]] = {}
        for text in self._unknown_serials():
            read = self._read_once(text, between)
            if read is not None:
                by_key.setdefault(read.spki_sha256, []).append(read)
        return by_key

    def _read_once(self, serial: str, between: Callable[[], None]) -> _Read | None:
        """Return the content of a certificate, which never changes. None for one that was revoked or
        cannot be one of ours.
        """
        if serial not in self._reads:
            # Strangers are kept too, as None: on a mount that others use, each look-up would read all of theirs again.
            between()
            if len(self._reads) >= MOST_READS:
                self._reads.clear()
            self._reads[serial] = self._alive(serial)
        return self._reads[serial]

    def _alive(self, serial: str) -> _Read | None:
        """Return the certificate as the engine has it now; None once it was revoked or tidied there."""
        entry = self.read(serial)
        if entry is None or entry.revoked_at:
            return None
        try:
            certificate = x509.load_pem_x509_certificate(entry.pem)
            spki = spki_sha256(certificate.public_key())
        except (ValueError, UnsupportedAlgorithm):
            return None  # nothing that was signed for an order of ours
        return _Read(
            text=serial,
            serial_number=certificate.serial_number,
            der=certificate.public_bytes(Encoding.DER),
            spki_sha256=spki,
            names=frozenset(names_of(certificate)),
            not_before=certificate.not_valid_before_utc,
        )

    def _earliest(self, order: Order, strangers: Mapping[str, Sequence[_Read]], between: Callable[[], None]) -> Issued | None:
        # 1. An order has one public key, names and a time, but no reference at the engine: all three must agree.
        matching = []
        for read in strangers.get(order.spki_sha256, ()):
            young = read.not_before >= order.intended_at - MOST_BACKDATING
            if young and read.names == {*order.dns_names, *order.ip_addresses}:
                # Read again: it may have been revoked since this process has read it.
                between()
                if self._alive(read.text) is not None:
                    matching.append(read)
        # 2. The earliest is adopted. The engine signs the same CSR twice, so later ones are doubles of a lost reply. They are
        #    revoked at once: until the daily comparison with the CA nothing else looks for them.
        matching.sort(key=lambda read: (read.not_before, read.serial_number))
        for double in matching[1:]:
            between()
            self._revoke(double.serial_number)
        return Issued(order.order_ref, matching[0].der, self.chain()) if matching else None

    def read(self, serial: str) -> Entry | None:
        """Return what the engine has about a serial number of its list; None when it was tidied away since."""

        def read(client: hvac.Client) -> Entry:
            data = client.secrets.pki.read_certificate(serial, mount_point=self.mount)["data"]
            revoked_at = data.get("revocation_time")
            return Entry(data["certificate"].encode(), datetime.fromtimestamp(revoked_at, UTC) if revoked_at else None)

        try:
            return self._session.call(read)
        except KeyNotFound:
            return None

    def _listed(self, path: str) -> dict[str, str]:
        """Return the serial numbers of a list: as the portal writes them -> as the engine does."""

        def read(client: hvac.Client) -> dict[str, str]:
            listed = client.list(f"{self.mount}/{path}")
            # None is hvac's word for a list that is empty. Whatever else is no list must not pass for one: an order that
            # "is not there" is signed once more.
            texts = () if listed is None else listed["data"]["keys"]
            return {f"{int(text.replace(':', '').replace('-', ''), 16):x}": text for text in texts}

        try:
            return self._session.call(read)
        except KeyNotFound:
            return {}

    def _unknown_serials(self) -> list[str]:
        by_hex = self._listed("certs")
        known = known_serials(self.alias, by_hex)
        return [text for serial, text in by_hex.items() if serial not in known]

    def unknown_certificates(self) -> Iterable[bytes]:
        try:
            for text in self._unknown_serials():
                entry = self.read(text)
                if entry is None or entry.revoked_at:
                    continue
                try:
                    certificate = x509.load_pem_x509_certificate(entry.pem)
                    is_ca = _is_ca(certificate)
                except ValueError:  # the others are reported all the same
                    log.warning("%s lists %s, which cannot be read", self.mount, text)
                    continue
                if not is_ca:
                    yield certificate.public_bytes(Encoding.DER)
        except KeyBackendError as exc:
            raise CAUnreachable(str(exc)) from exc

    def revoked_certificates(self) -> Iterable[RevokedThere]:
        """Return the engine's list of revoked certificates, which is newer than its CRL and has no
        reasons.
        """
        try:
            by_hex = self._listed("certs/revoked")
            good = Certificate.objects.filter(issuer__alias=self.alias, status=Certificate.Status.GOOD, serial_number__in=by_hex)
            for serial in good.values_list("serial_number", flat=True):
                entry = self.read(by_hex[serial])
                if entry is not None and entry.revoked_at:
                    yield RevokedThere(int(serial, 16), entry.revoked_at)
        except KeyBackendError as exc:
            raise CAUnreachable(str(exc)) from exc

    def revoke(self, order: RevocationOrder) -> None:
        """Revoke at the engine, which publishes neither reason nor date: they are known here only."""
        try:
            self._revoke(order.serial_number)
        except KeyNotFound as exc:
            raise NotFound(f"{self.mount} never issued serial {order.serial_number:x}.") from exc
        except KeyOperationRefused as exc:
            if "not found" in str(exc):
                raise NotFound(f"{self.mount} never issued serial {order.serial_number:x}.") from exc
            raise CAUnreachable(str(exc), answered=True) from exc
        except KeyBackendError as exc:
            raise CAUnreachable(str(exc)) from exc

    def _revoke(self, serial: int) -> None:
        text = serial.to_bytes((serial.bit_length() + 7) // 8, "big").hex(":")
        self._session.call(lambda c: c.secrets.pki.revoke_certificate(text, mount_point=self.mount))

    def chain(self) -> tuple[bytes, ...]:
        def read(client: hvac.Client) -> tuple[bytes, ...]:
            pki = client.secrets.pki
            # ca_chain is the whole chain; an engine whose issuer is the root itself shows it in ca/pem alone.
            pem = pki.read_ca_certificate_chain(mount_point=self.mount) or pki.read_ca_certificate(mount_point=self.mount)
            return tuple(c.public_bytes(Encoding.DER) for c in x509.load_pem_x509_certificates(pem.encode()))

        if self._chain is None:
            try:
                self._chain = self._session.call(read)
            except KeyBackendError as exc:
                raise CAUnreachable(str(exc)) from exc
        return self._chain

    def is_working(self) -> bool:
        """Read the role, and check that our token may sign with it."""
        self._role_checked_at = float("-inf")
        try:
            self._check_role()
            return self._session.may_write(f"{self.mount}/sign/{self.role}")
        except (KeyBackendError, ImproperlyConfigured):
            return False


class Entry(NamedTuple):
    """What the engine has about one serial number."""

    pem: bytes
    revoked_at: datetime | None


class _Read(NamedTuple):
    """A certificate that the engine lists and that is unknown here."""

    text: str  # its serial number as the engine writes it
    serial_number: int
    der: bytes
    spki_sha256: str
    names: frozenset[str]
    not_before: datetime


def _is_ca(certificate: x509.Certificate) -> bool:
    """Return whether it is a CA's: the engine lists its own certificates too."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _der(pem: str) -> bytes:
    try:
        return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    except ValueError:
        return pem.encode()  # as it came: the verifier reports what is wrong, and the operator can look at it
