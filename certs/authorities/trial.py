"""The steps of adding a CA that call it: connect, and issue, revoke and find again a test certificate. Runs where the credential is.

Each step is safe to run again after a crash: the order has one reference, so a CA that keeps them
signs once, and another is asked what it signed first.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models import Q

from audit.events import EventType, recordable
from audit.log import Value, record
from certs.access.rates import Limit, use
from certs.authorities.adding import REVOKE_TASK, WORKS_FOR, chain_of, subject_of
from certs.ca.base import CAClient, CAUnreachable, Issued, Lookup, NotDoneYet, Order, RevocationOrder
from certs.ca.registry import client_of_addition, forget_client, get_ca_client
from certs.ca.remote_crl import crl_address, fetched_crl
from certs.ca.remote_ocsp import ocsp_address, status_at
from certs.enums import RevocationReason
from certs.errors import Conflict, NotFound, SignerMismatch, TooMany
from certs.issuance.verify import verify_result
from certs.models import CAAddition, Issuer
from certs.pipeline import send_if_room
from certs.requests.states import WORKER
from certs.x509.asn1.pem import pem_of
from certs.x509.certificate.verify import chain_problems
from certs.x509.csr.build import build_csr
from db.clock import database_now
from keys.spec import spki_der, spki_sha256

log = logging.getLogger(__name__)
State = CAAddition.State
DAYS = 1  # of the test certificate
MOST_LEFT = 20  # asked for in one run
AGAIN = timedelta(minutes=10)
PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0)  # seconds before each look for the revocation on the CRL
NO_CRL = "Its certificates name no CRL: relying parties learn of no revocation unless they ask the CA itself."
NO_OCSP = "Its certificates name no OCSP responder: relying parties use the CRL."
# What a client says of a CA that cannot be used as it is.
FAILURES = (CAUnreachable, ImproperlyConfigured, SignerMismatch, Conflict, NotFound)


def connect_ca(pk: int) -> bool:
    """Ask the CA for its chain, and whether it would issue. Returns whether the next step can begin.

    What went wrong is in the row, for the page. Network calls, no open transaction.
    """
    row = CAAddition.objects.filter(pk=pk, state=State.CONNECTING).first()
    if row is None:
        return False
    forget_client(row.name)
    try:
        client = get_ca_client(row.name)
        chain = client.chain()
        problem = "; ".join(chain_problems(chain, now=database_now()))
        if not problem and not client.is_working():
            problem = "The CA answers, but would not sign for this credential: its rights, its role or its own key."
    except FAILURES as exc:
        problem, chain = str(exc), ()
    with transaction.atomic():
        locked = CAAddition.objects.select_for_update().get(pk=pk)
        if locked.state != State.CONNECTING:  # given up in the meantime
            return False
        locked.working_until, locked.problem = None, recordable(problem, most=500)
        if not problem:
            locked.state, locked.chain = State.COMPARING, "".join(pem_of(der) for der in chain)
        locked.save()
    return not problem


def test_ca(pk: int) -> bool:
    """Have the CA issue a test certificate, verify it against the pinned root, revoke it, and see it on the CRL and at OCSP.

    The key is forgotten at once. Returns whether the CA can go live; what went wrong is in the row.
    """
    row = CAAddition.objects.filter(pk=pk, state=State.TESTING).first()
    if row is None:
        return False
    steps: list[str] = []
    problem = ""
    try:
        client = get_ca_client(row.name)
        chain = chain_of(row)
        if client.chain() != chain:
            raise Conflict("The CA sends another chain now than the one that was compared.", next_step="Begin again.")
        issued = _issued(row, client, chain)
        steps.append(f"Issued a test certificate for {row.test_name}.")
        _keep(row, issued)
        try:
            _verify(row, issued, chain)
            steps.append("Verified it against the order and the compared root (RFC 5280 6.1).")
        finally:
            # Whatever is wrong with it, it does not stay valid.
            if _revoke(row, client, issued.certificate_der):
                steps.append("Revoked it.")
        certificate = x509.load_der_x509_certificate(issued.certificate_der)
        authority = x509.load_der_x509_certificate(chain[0])
        steps.append(_seen(certificate, authority))
        steps.append(_replied(certificate, authority))
    except FAILURES as exc:
        problem = str(exc)
    with transaction.atomic():
        locked, now = CAAddition.objects.select_for_update().get(pk=pk), database_now()
        if locked.state != State.TESTING:  # given up in the meantime
            return False
        locked.working_until, locked.problem, locked.test_steps = None, recordable(problem, most=500), steps
        if not problem:
            locked.state = State.READY
        locked.save()
        data: dict[str, Value] = {"addition": locked.public_id, "passed": not problem, "problem": locked.problem[:200]}
        record(EventType.ISSUER_ADDITION_TESTED, subject=subject_of(locked), actor=WORKER, at=now, data=data)
    return not problem


def left_tests() -> list[int]:
    """Return ids of additions whose test broke off or was given up before its certificate was revoked.

    Of one that was given up, for two days: by then the certificate has ended.
    """
    now = database_now()
    given_up = Q(state=State.GIVEN_UP, ended_at__gt=now - timedelta(days=2 * DAYS))
    at_rest = Q(working_until__isnull=True) | Q(working_until__lt=now)
    rows = CAAddition.objects.filter(given_up | Q(state=State.TESTING), at_rest, test_settled_at__isnull=True)
    return list(rows.exclude(csr_der=b"").order_by("pk").values_list("pk", flat=True)[:MOST_LEFT])


def send_left_tests() -> None:
    """Have workers settle what `left_tests` returns."""
    for pk in left_tests():
        send_if_room(REVOKE_TASK, pk)


def revoke_left_test(pk: int) -> bool:
    """Revoke the test certificate of an addition that is left, also where only the CA knows of it. Returns whether it is settled.

    Safe to run again and beside another try. Network calls, no open transaction; a CA that cannot be
    asked is asked again after AGAIN.
    """
    if pk not in left_tests():
        return False
    try:
        use([Limit("ca-test", f"addition:{pk}", 1, AGAIN)], message="")
    except TooMany:
        return False
    CAAddition.objects.filter(pk=pk).update(working_until=database_now() + WORKS_FOR)
    row = CAAddition.objects.get(pk=pk)
    try:
        client = client_of_addition(row)
        der = bytes(row.test_der)
        if not der and client.capabilities.lookup is not Lookup.NONE:
            found = client.find(_order(row))
            if isinstance(found, Issued):
                der = found.certificate_der
                _keep(row, found)
        if not der or not _revoke(row, client, der):
            CAAddition.objects.filter(pk=pk).update(test_settled_at=database_now())  # there is none
    except FAILURES as exc:
        log.warning("the test certificate of %s is not revoked yet: %s", row.public_id, exc)
        return False
    finally:
        CAAddition.objects.filter(pk=pk).update(working_until=None)
    return True


def _revoke(row: CAAddition, client: CAClient, der: bytes) -> bool:
    """Revoke the test certificate. Returns False for what is none: unreadable, or on a key that is not the test's."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        is_ours = spki_sha256(certificate.public_key()) == _order(row).spki_sha256
    except (ValueError, UnsupportedAlgorithm):
        return False
    if not is_ours:
        return False
    now = database_now()
    _revoke_soon(client, RevocationOrder(certificate.serial_number, RevocationReason.CESSATION_OF_OPERATION, now, der))
    CAAddition.objects.filter(pk=row.pk).update(test_settled_at=now)
    return True


def _revoke_soon(client: CAClient, order: RevocationOrder) -> None:
    """Have the CA revoke, and ask again while it has only accepted that. Raises CAUnreachable where it does not do it in time."""
    for pause in PAUSES[:-1]:
        time.sleep(pause)
        with suppress(NotDoneYet):
            client.revoke(order)
            return
    time.sleep(PAUSES[-1])
    client.revoke(order)


def _order(row: CAAddition) -> Order:
    """Return the order of the test. Its CSR is made once and kept, so that another try orders the same certificate."""
    if not row.csr_der:
        key = ec.generate_private_key(ec.SECP256R1())
        row.csr_der = build_csr(key, common_name=_common_name(row), dns_names=(row.test_name,), ip_addresses=())
        CAAddition.objects.filter(pk=row.pk, csr_der=b"").update(csr_der=row.csr_der)
        row.refresh_from_db(fields=["csr_der"])
    csr_der = bytes(row.csr_der)
    public_key = x509.load_der_x509_csr(csr_der).public_key()
    return Order(
        order_ref=f"test-{row.public_id}-{spki_sha256(public_key)[:12]}",
        csr_der=csr_der,
        spki_der=spki_der(public_key),
        spki_sha256=spki_sha256(public_key),
        common_name=_common_name(row),
        dns_names=(row.test_name,),
        ip_addresses=(),
        profile="tls-server",
        validity_days=DAYS,
        policy_version="-",
        intended_at=row.created_at,
    )


def _common_name(row: CAAddition) -> str:
    return row.test_name if len(row.test_name) <= 64 else ""  # RFC 5280 A.1


def _issued(row: CAAddition, client: CAClient, chain: tuple[bytes, ...]) -> Issued:
    """Return the test certificate: the one that an earlier try had signed, else a new one.

    What is on record is not asked for again: an earlier try may have revoked it, and a CA gives no
    revoked certificate for an order.
    """
    _begin_anew_if_ended(row)
    order = _order(row)
    if row.test_der:
        return Issued(order.order_ref, bytes(row.test_der), chain)
    CAAddition.objects.filter(pk=row.pk).update(test_settled_at=None)
    found = client.find(order) if client.capabilities.lookup is not Lookup.NONE else None
    outcome = found if found is not None else client.issue_many([order])[0]
    if isinstance(outcome, Issued):
        return outcome
    what = getattr(outcome, "message", "") or "it has not answered yet"
    raise Conflict(f"The CA issued no test certificate: {what}", next_step="Correct that, then try again.")


def _begin_anew_if_ended(row: CAAddition) -> None:
    """Forget a test certificate whose day is over, and its CSR: a CRL need not list it any more (RFC 5280 3.3)."""
    if row.test_der and x509.load_der_x509_certificate(bytes(row.test_der)).not_valid_after_utc <= database_now():
        row.csr_der = row.test_der = b""
        CAAddition.objects.filter(pk=row.pk).update(csr_der=b"", test_der=b"")


def _keep(row: CAAddition, issued: Issued) -> None:
    """Before anything else: what the CA has signed is on record, whatever becomes of this try."""
    CAAddition.objects.filter(pk=row.pk).update(test_der=issued.certificate_der, working_until=database_now() + WORKS_FOR)


def _verify(row: CAAddition, issued: Issued, chain: tuple[bytes, ...]) -> None:
    verify_result(issued, _order(row), Issuer(name=row.name, trust_anchor_der=chain[-1]), now=database_now())


def _seen(certificate: x509.Certificate, authority: x509.Certificate) -> str:
    """Return what relying parties see of the revocation. Raises CAUnreachable where the CRL does not say it in time."""
    address = crl_address(certificate)
    if not address:
        return NO_CRL
    for pause in PAUSES:
        time.sleep(pause)
        if any(entry.serial_number == certificate.serial_number for entry in fetched_crl(address, authority)):
            return f"Found it on the CRL at {address}."
    raise CAUnreachable(f"the CRL at {address} does not list the test certificate yet")


def _replied(certificate: x509.Certificate, authority: x509.Certificate) -> str:
    """Return what the CA's OCSP responder says of the revocation. Raises CAUnreachable where it does not say it in time."""
    address = ocsp_address(certificate)
    if not address:
        return NO_OCSP
    status = ""
    for pause in PAUSES:
        time.sleep(pause)
        status = status_at(address, certificate, authority)
        if status == "revoked":
            return f"The OCSP responder at {address} says revoked."
    raise CAUnreachable(f"the OCSP responder at {address} says {status} of the certificate that was revoked")


def ends_of(row: CAAddition) -> list[tuple[str, datetime]]:
    """Return the names and ends of the chain, for the page; empty before it was received."""
    links = x509.load_pem_x509_certificates(row.chain.encode()) if row.chain else []
    return [(link.subject.rfc4514_string(), link.not_valid_after_utc) for link in links]
