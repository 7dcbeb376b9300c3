"""The portal's own issuing CA: writes down what it is about to sign, signs exactly those bytes, keeps the result (PROTOCOLS 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from cryptography import x509
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Coalesce

from audit.unit_of_work import Afterwards
from certs.ca.base import (
    BookkeepingCA,
    Capabilities,
    CAUnreachable,
    Issued,
    Lookup,
    Noted,
    NotSent,
    Order,
    Outcome,
    Pending,
    Refused,
    RevocationOrder,
    RevokedThere,
    Unknown,
)
from certs.ca.lifetime import loaded
from certs.ca.local.intents import prepared
from certs.enums import RequestState, RevocationReason
from certs.errors import Conflict, NotFound
from certs.models import Certificate, CertificateRequest, IssuanceIntent, Issuer, QuarantinedCertificate, ResponderCertificate
from certs.models.rows import insert_models, instances, select_query, update_later, update_rows
from certs.x509.certificate.tbs import UnsignedCertificate, assemble
from db.backend import dialect, on_postgresql
from db.clock import database_now, machine_now
from db.sql import Query, among_ids, ask, id_list, text_list
from db.tolerance import CLOCK_TOLERANCE
from keys.errors import KeyBackendError
from keys.lifecycle import may_sign, sign_many_with
from keys.models import Key

INTENT_LIFETIME = timedelta(hours=1)
State = IssuanceIntent.State
_ENDED = (RequestState.COMPLETED, RequestState.REJECTED, RequestState.FAILED, RequestState.CANCELLED)
Preparation = Callable[[Issuer, x509.Certificate, datetime], tuple[IssuanceIntent, list[str]]]


class LocalCAClient(BookkeepingCA):
    """Signs with the issuer's key, which may be in any key backend."""

    capabilities = Capabilities(lookup=Lookup.BY_ORDER_REF, explicit_names=True, holds=True, batch_size=500)

    def __init__(self, alias: str, *, issuer: str = "") -> None:
        self.alias = alias
        self.issuer_name = issuer or alias
        self._chain: tuple[bytes, ...] | None = None
        self._kept_key: Key | None = None

    def issue_many(self, orders: Sequence[Order]) -> list[Outcome]:
        noted = self.note_alone(orders)
        outcomes = self.sign(noted)
        self._keep_alone([outcome for outcome in outcomes if isinstance(outcome, Issued)], noted)
        return [self._as_kept(outcome) for outcome in outcomes]

    def note_alone(self, orders: Sequence[Order], tries: int = 3) -> Noted:
        try:
            with transaction.atomic():
                return self.note(orders, now=database_now())
        except IntegrityError:  # another worker noted one of these orders meanwhile: it is among the known ones now
            if tries == 1:
                raise
            return self.note_alone(orders, tries - 1)

    def note(self, orders: Sequence[Order], *, now: datetime, issuer: Issuer | None = None, fresh: bool = False) -> Noted:
        references = tuple(order.order_ref for order in orders)
        try:
            issuer = _set_up(issuer) if issuer and issuer.name == self.issuer_name else self._issuer(share=True)
            _check(issuer, now)
        except (CAUnreachable, _ClockDiffers) as exc:
            return Noted(references, ended={ref: NotSent(ref, str(exc)) for ref in references})
        except _Inactive as exc:
            return Noted(references, ended={ref: Refused(ref, "issuer_inactive", str(exc)) for ref in references})
        known = {} if fresh else self._usable_intents(issuer, references, now)
        refused, noted = prepared(issuer, [order for order in orders if order.order_ref not in known], now)
        insert_models(list(noted.values()))
        return Noted(references, {**known, **noted}, refused, self._may_sign(issuer) if fresh and noted else None)

    def _may_sign(self, issuer: Issuer) -> Afterwards | None:
        """Asked with the end of the transaction; whether the key's backend is there shows when it signs."""
        with suppress(KeyBackendError):
            return may_sign(self._key(issuer))
        return None

    def sign(self, noted: Noted) -> list[Outcome]:
        unsigned = [intent for intent in noted.intents.values() if intent.state == State.INTENDED]
        try:
            self._sign(unsigned, asked=noted.may_sign)
        except KeyBackendError as exc:
            ended = {intent.order_ref: _key_failed(intent.order_ref, exc) for intent in unsigned}
            return [ended.get(ref) or self._ended_or_issued(ref, noted) for ref in noted.references]
        return [self._ended_or_issued(ref, noted) for ref in noted.references]

    def _ended_or_issued(self, reference: str, noted: Noted) -> Outcome:
        return noted.ended.get(reference) or self._issued(noted.intents[reference])

    def standing(self, noted: Noted) -> Query:
        lock = " FOR UPDATE" if on_postgresql() else ""
        condition = f"{among_ids('id')} AND state <> 'abandoned' AND revoked_at IS NULL ORDER BY id{lock}"
        return (
            f"SELECT order_ref FROM certs_issuanceintent WHERE {condition}",  # noqa: S608 - constants
            [id_list(sorted(intent.pk for intent in noted.intents.values()))],
        )

    def keep(self, outcomes: Iterable[Issued], noted: Noted, *, now: datetime) -> None:
        signed = {noted.intents[outcome.order_ref].pk: {"state": State.SIGNED, "signed_at": now} for outcome in outcomes}
        update_later(IssuanceIntent, signed, only_if={"state": State.INTENDED})

    @transaction.atomic
    def _keep_alone(self, outcomes: Iterable[Issued], noted: Noted) -> None:
        """With the certificates' bytes, which nobody else keeps yet."""
        now = database_now()
        signed = {
            noted.intents[outcome.order_ref].pk: {"certificate_der": outcome.certificate_der, "state": State.SIGNED, "signed_at": now}
            for outcome in outcomes
        }
        update_rows(IssuanceIntent, signed, only_if={"state": State.INTENDED})

    def find(self, order: Order) -> Issued | Pending | None:
        intent = self._signed(order.order_ref)
        return self._issued(intent) if intent else None

    @transaction.atomic
    def revoke(self, order: RevocationOrder) -> None:
        """Under the lock of the note, which beat 3 of its order takes too: whether it is in the inventory is then decided."""
        known = IssuanceIntent.objects.filter(issuer__name=self.issuer_name, serial_number=f"{order.serial_number:x}")
        if not list(known.select_for_update(of=("self",)).order_by("pk").values_list("pk")):
            raise NotFound(f"{self.issuer_name} never issued serial {order.serial_number:x}.")
        # What is in the inventory is revoked there, and CRL and OCSP read it there; here only what never came into it.
        recorded = Certificate.objects.filter(issuer=OuterRef("issuer"), serial_number=OuterRef("serial_number"))
        unrecorded = known.filter(~Exists(recorded), revoked_at__isnull=True)
        unrecorded.update(revoked_at=order.revoked_at, revocation_reason=str(order.reason))

    def unknown_certificates(self) -> Iterable[bytes]:
        """Signed, not revoked, and never recorded: not in the inventory, not kept apart, not a responder's."""
        same = {"issuer": OuterRef("issuer"), "serial_number": OuterRef("serial_number")}
        signed = IssuanceIntent.objects.filter(issuer__name=self.issuer_name, state=State.SIGNED, revoked_at__isnull=True)
        # One whose request is still under way is found by its reference when that goes on.
        under_way = CertificateRequest.objects.filter(public_id=OuterRef("order_ref")).exclude(state__in=_ENDED)
        signed = signed.filter(~Exists(under_way))
        for model in (Certificate, QuarantinedCertificate, ResponderCertificate):
            signed = signed.filter(~Exists(model.objects.filter(**same)))
        return (_at_least_unsigned(intent) for intent in signed.iterator(chunk_size=500))

    def revoked_certificates(self) -> Iterable[RevokedThere]:
        """Revoked in the book before it was recorded, and recorded all the same: the CRL would not say so of it."""
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
        known.filter(revocation_reason=RevocationReason.CERTIFICATE_HOLD).update(revoked_at=None, revocation_reason="")

    def chain(self) -> tuple[bytes, ...]:
        if self._chain is None:
            links: list[bytes] = []
            link: Issuer | None = self._issuer()
            while link is not None:
                links.append(bytes(link.certificate_der or b""))
                link = link.parent
            self._chain = tuple(links)
        return self._chain

    def is_working(self) -> bool:
        try:
            issuer = self._issuer()
            sign_many_with(self._key(issuer), [])
        except (CAUnreachable, KeyBackendError):
            return False
        return issuer.state == Issuer.State.ACTIVE

    def _issuer(self, *, share: bool = False) -> Issuer:
        """The issuer as it is now; with `share` it stays so until the open transaction ends."""
        lock = " FOR SHARE" if share and on_postgresql() else ""
        (rows,) = ask(select_query(Issuer, f"name = %s{lock}", [self.issuer_name]))
        issuer = next(iter(instances(Issuer, rows)), None)
        if issuer is None:
            raise CAUnreachable(f"The own CA {self.issuer_name} is not set up; run `manage.py bootstrap`.")
        return _set_up(issuer)

    def _key(self, issuer: Issuer) -> Key:
        """Where the issuer's key is, which never changes; whether it may be used is asked at each signature."""
        if self._kept_key is None or self._kept_key.pk != issuer.key_id:
            self._kept_key = issuer.key
        assert self._kept_key is not None  # `_issuer` answers no issuer without a key
        return self._kept_key

    def _as_kept(self, outcome: Outcome) -> Outcome:
        """As it stands in the book: what another worker signed first, and nothing that was abandoned while we signed."""
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
        """A certificate of the CA's own, such as an OCSP responder's, through the same book; a retired CA makes them too.

        Raises Conflict for what may not be signed, CAUnreachable, and keys.errors.KeyBackendError.
        """
        with transaction.atomic():
            issuer = self._issuer(share=True)
            now = database_now()
            if issuer.state == Issuer.State.DISTRUSTED:
                raise Conflict(f"{issuer.name} is distrusted; nobody answers for it.", next_step="Roll over to another CA.")
            try:
                _check_clock(now)
            except _ClockDiffers as exc:
                raise Conflict(str(exc), next_step="Mend the clock.") from exc
            intent = self._usable_intents(issuer, [order_ref], now).get(order_ref)
            if intent is None:
                intent, problems = prepare(issuer, loaded(bytes(issuer.certificate_der or b"")), now)
                if problems:
                    raise Conflict(f"{issuer.name} cannot sign {order_ref}: {'; '.join(problems)}", next_step="Roll the CA over.")
                IssuanceIntent.objects.bulk_create([intent], ignore_conflicts=True)
                (intent,) = self._intents(issuer, [order_ref])
        if intent.state == State.INTENDED:
            self._sign([intent])
            self._keep_alone([self._issued(intent)], Noted((order_ref,), {order_ref: intent}))
            intent.refresh_from_db()  # what another worker signed first stays
        return intent

    def _usable_intents(self, issuer: Issuer, order_refs: Sequence[str], now: datetime) -> dict[str, IssuanceIntent]:
        """Intents that these orders have already. An unsigned one that is too old is abandoned: its serial goes on the CRL. So
        is one whose certificate was revoked before anybody recorded it, as a late answer is after its request has failed.
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
        (found,) = ask(select_query(IssuanceIntent, _OF_ORDERS[dialect()], [text_list(order_refs), issuer.pk]))
        rows = instances(IssuanceIntent, found)
        for row in rows:
            row.issuer = issuer
        return rows

    def _sign(self, intents: Sequence[IssuanceIntent], *, asked: Afterwards | None = None) -> None:
        """Beat 2: the certificates of stored bytes; only `keep` says that they are signed."""
        if not intents:
            return
        signatures = sign_many_with(self._key(intents[0].issuer), [bytes(intent.tbs) for intent in intents], asked=asked)
        for intent, signature in zip(intents, signatures, strict=True):
            intent.certificate_der = assemble(UnsignedCertificate(bytes(intent.tbs), bytes(intent.signature_algorithm)), signature)


# Each order is looked up by itself (OFFSET 0 keeps PostgreSQL from making one search of them): as long as it does not know how many
# certificates an issuer has, it thinks that reading all of them is as cheap.
_OF_ORDERS = {
    "postgresql": (
        "id = ANY(ARRAY(SELECT noted.id FROM jsonb_array_elements_text(CAST(%s AS jsonb)) AS wanted(ref), LATERAL (SELECT i.id "
        "FROM certs_issuanceintent i WHERE i.issuer_id = %s AND i.order_ref = wanted.ref AND i.state <> 'abandoned' OFFSET 0) noted))"
    ),
    "sqlite": "order_ref IN (SELECT value FROM json_each(%s)) AND issuer_id = %s AND state <> 'abandoned'",
}


def _set_up(issuer: Issuer) -> Issuer:
    if issuer.certificate_der is None or issuer.key_id is None:
        raise CAUnreachable(f"The own CA {issuer.name} is not set up; run `manage.py bootstrap`.")
    return issuer


def _kept_elsewhere(intent: IssuanceIntent) -> bytes:
    """The certificate's bytes where the workflow has put them."""
    recorded = Certificate.objects.filter(request__public_id=intent.order_ref).values_list("body__der", flat=True)
    apart = QuarantinedCertificate.objects.filter(order_ref=intent.order_ref).values_list("der", flat=True)
    return bytes(recorded.first() or apart.first() or b"")


def _at_least_unsigned(intent: IssuanceIntent) -> bytes:
    """The certificate; or, where its row was taken out of the inventory, what was signed, with an empty signature."""
    known = bytes(intent.certificate_der or _kept_elsewhere(intent))
    return known or assemble(UnsignedCertificate(bytes(intent.tbs), bytes(intent.signature_algorithm)), b"")


def _key_failed(reference: str, error: KeyBackendError) -> Refused | NotSent:
    return NotSent(reference, str(error)) if error.retryable else Refused(reference, "ca_key", str(error))


class _ClockDiffers(Exception):
    """This host and the database do not agree what time it is."""


class _Inactive(Exception):
    """The issuer signs no certificates any more."""


def _check(issuer: Issuer, now: datetime) -> None:
    if issuer.state != Issuer.State.ACTIVE:
        raise _Inactive(f"{issuer.name} does not issue any more.")
    _check_clock(now)


def _check_clock(now: datetime) -> None:
    skew = abs(machine_now() - now)
    if skew > CLOCK_TOLERANCE:
        raise _ClockDiffers(f"This host's clock differs from the database's by {skew}; nothing is signed before that is mended.")
