"""The portal's own issuing CA: records what it is about to sign, signs exactly those bytes, records the result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from cryptography import x509
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Coalesce

from audit.log import UnitOfWork
from certs.ca.base import (
    Capabilities,
    CAUnreachable,
    Issued,
    LedgerCA,
    Lookup,
    NotSent,
    Order,
    Outcome,
    Pending,
    Prepared,
    Refused,
    RevocationOrder,
    RevokedThere,
    Unknown,
)
from certs.ca.lifetime import loaded
from certs.ca.local.intents import prepare_intents
from certs.enums import RequestState, RevocationReason
from certs.errors import Conflict, NotFound
from certs.models import Certificate, CertificateRequest, IssuanceIntent, Issuer, QuarantinedCertificate, ResponderCertificate
from certs.x509.certificate.tbs import UnsignedCertificate, assemble
from db.clock import CLOCK, database_now, machine_now
from db.reads import Read, combined, read_together
from db.rows import Lock, partial_selection, select
from db.tolerance import CLOCK_TOLERANCE
from keys.errors import KeyBackendError
from keys.models import Key
from keys.use import sign_many_with

INTENT_LIFETIME = timedelta(hours=1)
State = IssuanceIntent.State
_ENDED = (RequestState.COMPLETED, RequestState.REJECTED, RequestState.FAILED, RequestState.CANCELLED)
Preparation = Callable[[Issuer, x509.Certificate, datetime], tuple[IssuanceIntent, list[str]]]


class LocalCAClient(LedgerCA):
    """Signs with the issuer's key, which may be in any key backend."""

    capabilities = Capabilities(lookup=Lookup.BY_ORDER_REF, explicit_names=True, holds=True, batch_size=500)

    def __init__(self, alias: str, *, issuer: str = "") -> None:
        self.alias = alias
        self.issuer_name = issuer or alias
        self._chain: tuple[bytes, ...] | None = None
        self._kept_key: Key | None = None

    def issue_many(self, orders: Sequence[Order]) -> list[Outcome]:
        # The three phases, each with a transaction of its own or none. What another worker signed or abandoned in between counts.
        prepared = prepare_alone(self, orders)
        outcomes = self.sign(prepared)
        self._record_alone([outcome for outcome in outcomes if isinstance(outcome, Issued)], prepared)
        return [self._as_recorded(outcome) for outcome in outcomes]

    def may_sign_here(self, issuer: Issuer) -> bool:
        return issuer.key_id is not None and self._key(issuer).backend in settings.KEY_BACKENDS

    def prepare(self, work: UnitOfWork, orders: Sequence[Order], *, now: datetime) -> Prepared:
        references = tuple(order.order_ref for order in orders)
        # 1. The issuer as it is now, locked: it is not retired or distrusted before the transaction ends.
        try:
            issuer = self._issuer(lock=Lock.SHARE)
        except CAUnreachable as exc:
            return Prepared(references, ended={ref: NotSent(ref, str(exc)) for ref in references})
        if ended := _cannot_sign(issuer, references, now):
            return ended
        # 2. What was prepared for these orders before is signed again, byte for byte: an order has one serial number.
        known = self._usable_intents(issuer, references, now)
        # 3. A serial number and a TBSCertificate for the others.
        new = self.prepare_new(work, [order for order in orders if order.order_ref not in known], issuer=issuer, now=now)
        return Prepared(references, {**known, **new.records}, new.ended)

    def prepare_new(self, work: UnitOfWork, orders: Sequence[Order], *, issuer: Issuer, now: datetime) -> Prepared:
        """Add a serial number and a linted TBSCertificate for each order to `work`."""
        references = tuple(order.order_ref for order in orders)
        if ended := _cannot_sign(issuer, references, now):
            return ended
        refused, fresh = prepare_intents(issuer, orders, now)
        work.insert(list(fresh.values()))
        return Prepared(references, fresh, refused)

    def sign(self, prepared: Prepared) -> list[Outcome]:
        # One call of the key backend for the whole batch. Where it fails, none of them was signed; those that were signed
        # before, by an earlier attempt, are returned all the same.
        unsigned = [intent for intent in prepared.records.values() if intent.state == State.INTENDED]
        try:
            self._sign(unsigned)
        except KeyBackendError as exc:
            ended = {intent.order_ref: _key_failed(intent.order_ref, exc) for intent in unsigned}
            return [ended.get(ref) or self._ended_or_issued(ref, prepared) for ref in prepared.references]
        return [self._ended_or_issued(ref, prepared) for ref in prepared.references]

    def _ended_or_issued(self, reference: str, prepared: Prepared) -> Outcome:
        return prepared.ended.get(reference) or self._issued(prepared.records[reference])

    def ledger(self, prepared: Prepared) -> Read[Mapping[str, IssuanceIntent]]:
        ids = {intent.pk for intent in prepared.records.values()}
        names = ("id", "order_ref", "state", "certificate_der", "signed_at")  # what is read or written of them
        dropped = {"state": State.ABANDONED}
        rows = partial_selection(IssuanceIntent, names, lock=Lock.UPDATE, unless=dropped, id=ids, revoked_at=None)
        return combined([rows], lambda found: {row.order_ref: row for row in found})

    def record(self, work: UnitOfWork, signed: Iterable[Issued], locked: Mapping[str, IssuanceIntent], *, now: datetime) -> None:
        for outcome in signed:
            intent = locked[outcome.order_ref]
            if intent.state == State.INTENDED:  # else another attempt recorded it first, and its signature stays
                work.update(intent, {"state": State.SIGNED, "signed_at": now})

    def _record_alone(self, signed: Iterable[Issued], prepared: Prepared) -> None:
        """Record in a transaction of its own, with the certificates' bytes, which no other row holds yet."""
        with UnitOfWork() as work:
            locked, now = read_together(self.ledger(prepared), CLOCK)
            for outcome in signed:
                intent = locked.get(outcome.order_ref)
                if intent is not None and intent.state == State.INTENDED:
                    work.update(intent, {"certificate_der": outcome.certificate_der, "state": State.SIGNED, "signed_at": now})

    def find(self, order: Order) -> Issued | Pending | None:
        intent = self._signed(order.order_ref)
        return self._issued(intent) if intent else None

    @transaction.atomic
    def revoke(self, order: RevocationOrder) -> None:
        """Revoke a certificate that never came into the inventory.

        Under the lock of the intent, which the phase `record` of its order takes too, so that it is
        decided whether the certificate is in the inventory.
        """
        known = IssuanceIntent.objects.filter(issuer__name=self.issuer_name, serial_number=f"{order.serial_number:x}")
        if not list(known.select_for_update(of=("self",)).order_by("pk").values_list("pk")):
            raise NotFound(f"{self.issuer_name} never issued serial {order.serial_number:x}.")
        # One in the inventory is revoked there, where CRL and OCSP read it.
        recorded = Certificate.objects.filter(issuer=OuterRef("issuer"), serial_number=OuterRef("serial_number"))
        unrecorded = known.filter(~Exists(recorded), revoked_at__isnull=True)
        unrecorded.update(revoked_at=order.revoked_at, revocation_reason=str(order.reason))

    def unknown_certificates(self) -> Iterable[bytes]:
        """Return certificates that were signed, not revoked, and never recorded: neither in the inventory, nor in quarantine,
        nor a responder's.
        """
        same = {"issuer": OuterRef("issuer"), "serial_number": OuterRef("serial_number")}
        signed = IssuanceIntent.objects.filter(issuer__name=self.issuer_name, state=State.SIGNED, revoked_at__isnull=True)
        # One whose request is still under way is found by its reference when that goes on.
        under_way = CertificateRequest.objects.filter(public_id=OuterRef("order_ref")).exclude(state__in=_ENDED)
        signed = signed.filter(~Exists(under_way))
        for model in (Certificate, QuarantinedCertificate, ResponderCertificate):
            signed = signed.filter(~Exists(model.objects.filter(**same)))
        return (_at_least_unsigned(intent) for intent in signed.iterator(chunk_size=500))

    def revoked_certificates(self) -> Iterable[RevokedThere]:
        """Return certificates that were revoked in the ledger and recorded all the same: the CRL does not list them."""
        recorded = Certificate.objects.filter(
            issuer=OuterRef("issuer"), serial_number=OuterRef("serial_number"), status=Certificate.Status.GOOD, not_after__gt=database_now()
        )
        taken_back = IssuanceIntent.objects.filter(Exists(recorded), issuer__name=self.issuer_name, revoked_at__isnull=False)
        for serial, at, reason in taken_back.values_list("serial_number", "revoked_at", "revocation_reason"):
            assert at is not None  # as asked for
            yield RevokedThere(int(serial, 16), at, RevocationReason(reason or RevocationReason.UNSPECIFIED))

    def release(self, serial_number: int) -> None:
        known = IssuanceIntent.objects.filter(issuer__name=self.issuer_name, serial_number=f"{serial_number:x}")
        if not known.exists():
            raise NotFound(f"{self.issuer_name} never issued serial {serial_number:x}.")
        # Only what the ledger itself reports, and only a hold. The status of a certificate in the inventory is read from there.
        known.filter(revocation_reason=RevocationReason.CERTIFICATE_HOLD).update(revoked_at=None, revocation_reason="")

    def chain(self) -> tuple[bytes, ...]:
        # Kept without an end: a CA that is rolled over gets another name, and the certificate of this one never changes.
        if self._chain is None:
            links: list[bytes] = []
            link: Issuer | None = self._issuer()
            while link is not None:
                links.append(bytes(link.certificate_der or b""))
                link = link.parent
            self._chain = tuple(links)
        return self._chain

    def is_working(self) -> bool:
        # No message: the backend checks login, right and key, as for an order.
        try:
            issuer = self._issuer()
            sign_many_with(self._key(issuer), [])
        except (CAUnreachable, KeyBackendError):
            return False
        return issuer.state == Issuer.State.ACTIVE

    def _issuer(self, *, lock: Lock = Lock.NONE) -> Issuer:
        """Return the issuer as it is now. Raises CAUnreachable where it is not set up."""
        found = select(Issuer, lock=lock, name=self.issuer_name)
        if not found or found[0].certificate_der is None or found[0].key_id is None:
            raise CAUnreachable(f"The own CA {self.issuer_name} is not set up; run `manage.py bootstrap`.")
        return found[0]

    def _key(self, issuer: Issuer) -> Key:
        """Return the issuer's key, which never changes. Whether it may be used is checked at each signature."""
        if self._kept_key is None or self._kept_key.pk != issuer.key_id:
            self._kept_key = issuer.key
        assert self._kept_key is not None  # `_issuer` returns no issuer without a key
        return self._kept_key

    def _as_recorded(self, outcome: Outcome) -> Outcome:
        """Return the outcome as the ledger has it: what another worker signed first, and nothing that was abandoned since."""
        if not isinstance(outcome, Issued):
            return outcome
        kept = self._signed(outcome.order_ref)
        return self._issued(kept) if kept else Unknown(outcome.order_ref, "the intent was abandoned while it was being signed")

    def _signed(self, reference: str) -> IssuanceIntent | None:
        rows = IssuanceIntent.objects.filter(issuer__name=self.issuer_name, order_ref=reference, state=State.SIGNED)
        return rows.filter(revoked_at=None).first()

    def _issued(self, intent: IssuanceIntent) -> Issued:
        return Issued(intent.order_ref, bytes(intent.certificate_der or _kept_elsewhere(intent)), self.chain())

    def issue_internal(self, order_ref: str, prepare: Preparation) -> IssuanceIntent:
        """Sign a certificate of the CA's own, such as an OCSP responder's, through the same ledger; a retired CA signs them too.

        Raises Conflict for what may not be signed, CAUnreachable, and keys.errors.KeyBackendError.
        """
        # 1. The intent is committed before anything is signed, as for every order. Of two workers with one reference the first
        #    one's intent stays.
        with transaction.atomic():
            issuer = self._issuer(lock=Lock.SHARE)
            now = database_now()
            if issuer.state == Issuer.State.DISTRUSTED:
                raise Conflict(f"{issuer.name} is distrusted; nothing is signed for it.", next_step="Roll over to another CA.")
            if differs := _clock_differs(now):
                raise Conflict(differs, next_step="Mend the clock.")
            intent = self._usable_intents(issuer, [order_ref], now).get(order_ref)
            if intent is None:
                intent, problems = prepare(issuer, loaded(bytes(issuer.certificate_der or b"")), now)
                if problems:
                    raise Conflict(f"{issuer.name} cannot sign {order_ref}: {'; '.join(problems)}", next_step="Roll the CA over.")
                IssuanceIntent.objects.bulk_create([intent], ignore_conflicts=True)
                (intent,) = self._intents(issuer, [order_ref])
        # 2. Sign the bytes of the intent, and record that. After a crash in between the next call signs the same bytes.
        if intent.state == State.INTENDED:
            self._sign([intent])
            self._record_alone([self._issued(intent)], Prepared((order_ref,), {order_ref: intent}))
            intent.refresh_from_db()  # what another worker signed first stays
        return intent

    def _usable_intents(self, issuer: Issuer, order_refs: Sequence[str], now: datetime) -> dict[str, IssuanceIntent]:
        """Return the intents that these orders have already.

        An unsigned one that is too old is abandoned, which puts its serial number on the CRL: some process may still sign it.
        So is one whose certificate was revoked before it was recorded, as a late one is after its request has failed.
        """
        rows = self._intents(issuer, order_refs)
        old = [row.pk for row in rows if row.state == State.INTENDED and row.created_at < now - INTENT_LIFETIME]
        if old:
            IssuanceIntent.objects.filter(pk__in=old, state=State.INTENDED).update(
                state=State.ABANDONED, revoked_at=Coalesce(F("revoked_at"), now)
            )
        revoked = [row.pk for row in rows if row.revoked_at is not None]
        if revoked:
            IssuanceIntent.objects.filter(pk__in=revoked).update(state=State.ABANDONED)
        return {row.order_ref: row for row in rows if row.pk not in {*old, *revoked}}

    def _intents(self, issuer: Issuer, order_refs: Sequence[str]) -> list[IssuanceIntent]:
        rows = select(IssuanceIntent, unless={"state": State.ABANDONED}, issuer=issuer.pk, order_ref=set(order_refs))
        for row in rows:
            row.issuer = issuer
        return rows

    def _sign(self, intents: Sequence[IssuanceIntent]) -> None:
        """Sign the stored bytes, in one call. Only `record` writes that they are signed."""
        if not intents:
            return
        signatures = sign_many_with(self._key(intents[0].issuer), [bytes(intent.tbs) for intent in intents])
        for intent, signature in zip(intents, signatures, strict=True):
            intent.certificate_der = assemble(UnsignedCertificate(bytes(intent.tbs), bytes(intent.signature_algorithm)), signature)


def prepare_alone(ca: LedgerCA, orders: Sequence[Order], tries: int = 3) -> Prepared:
    """Prepare in a transaction of its own, for attempts that are on record: a process that is killed here counts against them."""
    try:
        with UnitOfWork() as work:
            return ca.prepare(work, orders, now=database_now())
    except IntegrityError:  # another worker prepared one of these orders in the meantime: it is among the known ones now
        if tries == 1:
            raise
        return prepare_alone(ca, orders, tries - 1)


def _kept_elsewhere(intent: IssuanceIntent) -> bytes:
    """Return the certificate's bytes from the inventory or from quarantine."""
    recorded = Certificate.objects.filter(request__public_id=intent.order_ref).values_list("body__der", flat=True)
    apart = QuarantinedCertificate.objects.filter(order_ref=intent.order_ref).values_list("der", flat=True)
    return bytes(recorded.first() or apart.first() or b"")


def _at_least_unsigned(intent: IssuanceIntent) -> bytes:
    """Return the certificate; where its row was deleted from the inventory, the signed bytes with an empty signature."""
    known = bytes(intent.certificate_der or _kept_elsewhere(intent))
    return known or assemble(UnsignedCertificate(bytes(intent.tbs), bytes(intent.signature_algorithm)), b"")


def _key_failed(reference: str, error: KeyBackendError) -> Refused | NotSent:
    return NotSent(reference, str(error)) if error.retryable else Refused(reference, "ca_key", str(error))


def _cannot_sign(issuer: Issuer, references: tuple[str, ...], now: datetime) -> Prepared | None:
    """Return how all of these orders end where the issuer signs nothing now, else None."""
    if issuer.state != Issuer.State.ACTIVE:
        message = f"{issuer.name} does not issue any more."
        return Prepared(references, ended={ref: Refused(ref, "issuer_inactive", message) for ref in references})
    if differs := _clock_differs(now):
        return Prepared(references, ended={ref: NotSent(ref, differs) for ref in references})
    return None


def _clock_differs(now: datetime) -> str:
    """Return a sentence where this host's clock and the database's differ too much, else an empty text."""
    # The dates are the database's. One of the two clocks is wrong, and nobody here can tell which.
    skew = abs(machine_now() - now)
    if skew <= CLOCK_TOLERANCE:
        return ""
    return f"This host's clock differs from the database's by {skew}; nothing is signed before that is mended."
