"""What is answered to whom, and for how long an answer is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from django.db import connection, connections

from certs.access.permissions import Authority
from certs.models import Certificate, IssuanceIntent, Issuer, OperatorAlert, ResponderCertificate, Revocation
from certs.revocation.deliver import process_revocations
from certs.revocation.request import request_release
from certs.status.ocsp import lookup, respond
from certs.status.ocsp.respond import answer, forget_answers
from certs.status.ocsp.signers import UnknownIssuer, forget_signers
from certs.status.watch import watch
from certs.x509.certificate.serial import new_serial
from certs.x509.ocsp import Unsuccessful
from db.clock import database_now
from db.tolerance import CLOCK_TOLERANCE
from tests.certs.relying_parties import Files, gnutls_ocsp, lint, openssl_ocsp, openssl_ocsp_get, pyhanko_refuses
from tests.certs.status.ocsp.questions import SHA1, SHA256, request_for, said, word
from tests.certs.x509.certificate.chains import issuer_of
from tests.portal.authority import issue, issuing_ca, publish_everything, revoke, served
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def test_openssl_by_post_and_get_with_both_hashes(portal: Portal, tmp_path: Path) -> None:
    good, bad = issue(portal, 2)
    revoke(bad)
    issuer = publish_everything()
    files = Files.of(issuer, tmp_path)
    with served() as url:
        address = f"{url}/pki/ocsp/{issuer.slug}"
        for certificate, expected in ((good, "good"), (bad, "revoked")):
            assert openssl_ocsp(files, certificate, address) == expected
            assert openssl_ocsp(files, certificate, address, "-sha256") == expected
            assert openssl_ocsp_get(files, certificate, address) == expected


def test_several_certificates_are_answered_in_one_response(portal: Portal, tmp_path: Path) -> None:
    good, bad = issue(portal, 2)
    revoke(bad, "superseded")
    issuer = publish_everything()
    files = Files.of(issuer, tmp_path)
    with served() as url:
        assert openssl_ocsp(files, good, f"{url}/pki/ocsp/{issuer.slug}", "-cert", str(files.leaf(bad))) == "good"
        assert openssl_ocsp(files, bad, f"{url}/pki/ocsp/{issuer.slug}", "-cert", str(files.leaf(good))) == "revoked"


def test_ocsptool_with_nonce(portal: Portal, tmp_path: Path) -> None:
    good, bad = issue(portal, 2)
    revoke(bad)
    issuer = publish_everything()
    files = Files.of(issuer, tmp_path)
    with served() as url:
        address = f"{url}/pki/ocsp/{issuer.slug}"
        assert "Certificate Status: good" in gnutls_ocsp(files, good, address)
        assert "Certificate Status: revoked" in gnutls_ocsp(files, bad, address)


def test_linter_finds_nothing_and_pyhanko_believes(portal: Portal, tmp_path: Path) -> None:
    good, bad = issue(portal, 2)
    revoke(bad)
    publish_everything()
    file = tmp_path / "answer.der"
    for certificate in (good, bad):
        for data in (request_for(certificate), request_for(certificate, algorithm=SHA256, nonce=b"n" * 32)):
            file.write_bytes(answer(certificate.issuer.slug, data, client="x").body)
            assert lint("lint_ocsp_response", file) == ""
    answers = [answer(one.issuer.slug, request_for(one), client="x").body for one in (good, bad)]
    from tests.portal.authority import published  # noqa: PLC0415 - only here

    issuer = issuing_ca()
    assert issuer.parent is not None
    root_crl = published(issuer.parent).public_bytes(Encoding.DER)
    assert pyhanko_refuses(good, ocsps=answers, crls=[root_crl]) == ""
    assert "revoked" in pyhanko_refuses(bad, ocsps=answers, crls=[root_crl])


def test_good_answer_says_what_the_profile_asks(portal: Portal, settings: Any) -> None:
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    response = said(certificate)
    (responder,) = response.certificates
    authority = x509.load_der_x509_certificate(bytes(issuer.certificate_der or b""))
    responder.verify_directly_issued_by(authority)
    assert word(response) == "good"
    assert response.responder_key_hash == x509.SubjectKeyIdentifier.from_public_key(responder.public_key()).digest  # RFC 9919: byKey
    # T9, O3: back-dated like certificates and CRLs, for clients whose clock is behind
    assert response.this_update_utc == response.produced_at_utc - CLOCK_TOLERANCE
    assert response.next_update_utc is not None
    assert response.next_update_utc - response.produced_at_utc == timedelta(minutes=settings.PKI_OCSP_VALID_MINUTES)
    assert list(response.extensions) == []


def test_revocation_is_visible_in_the_next_answer(portal: Portal) -> None:
    """Although the answer before it is kept: it is of an older version of the row."""
    (certificate,) = issue(portal, 1)
    publish_everything()
    assert word(said(certificate)) == "good"
    assert word(said(certificate)) == "good"
    revoke(certificate, "cessationOfOperation")
    response = said(certificate)
    assert word(response) == "revoked"
    assert response.revocation_reason is x509.ReasonFlags.cessation_of_operation
    assert response.this_update_utc == response.revocation_time_utc  # never before the status began
    assert response.revocation_time_utc == Revocation.objects.get().requested_at.replace(microsecond=0)
    revoke(certificate, "keyCompromise")
    assert said(certificate).revocation_reason is x509.ReasonFlags.key_compromise


def test_same_question_gets_the_same_bytes_until_half_of_their_life_is_over(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    (certificate,) = issue(portal, 1)
    issuer, data = publish_everything(), request_for(certificate)
    first = answer(issuer.slug, data, client="x")
    assert answer(issuer.slug, data, client="y") is first
    assert first.next_update is not None
    assert first.produced_at is not None
    half = first.produced_at + (first.next_update - first.produced_at) / 2
    monkeypatch.setattr("certs.status.ocsp.lookup.clock.now", lambda: half + timedelta(seconds=2))
    assert answer(issuer.slug, data, client="x") is not first


def test_nonce_is_echoed_and_never_kept(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    bodies = set()
    for nonce in (b"1" * 32, b"2" * 32, b"1" * 32):
        reply = answer(issuer.slug, request_for(certificate, nonce=nonce), client="x")
        extension = ocsp.load_der_ocsp_response(reply.body).extensions.get_extension_for_class(x509.OCSPNonce)
        assert (extension.value.nonce, reply.max_age) == (nonce, 0)
        bodies.add(reply.body)
    assert len(bodies) == 3  # each is signed anew


def test_client_that_asks_too_often_with_a_nonce_gets_a_kept_answer(portal: Portal, settings: Any) -> None:
    settings.PKI_OCSP_NONCES_PER_MINUTE = 2
    (certificate,) = issue(portal, 1)
    publish_everything()
    with_nonce = []
    for number in range(5):
        response = said(certificate, request_for(certificate, nonce=bytes([number]) * 32), client="eager")
        with_nonce.append(bool(list(response.extensions)))
        assert word(response) == "good"
    assert sum(with_nonce) in (2, 4)  # four when the minute ended in between
    assert list(said(certificate, request_for(certificate, nonce=b"n" * 32), client="another").extensions) != []


def test_serial_that_was_never_issued_is_unknown(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    reply = answer(issuer.slug, request_for(certificate, serial=new_serial()), client="x")
    assert word(ocsp.load_der_ocsp_response(reply.body)) == "unknown"
    assert reply.max_age == 0  # it may be issued in the next second


@pytest.mark.parametrize(("state", "expected"), [("intended", "unknown"), ("abandoned", "revoked"), ("signed", "good")])
def test_intent_without_certificate(portal: Portal, state: str, expected: str) -> None:
    (certificate,) = issue(portal, 1)
    publish_everything()
    serial = new_serial()
    intent = IssuanceIntent.objects.get(serial_number=certificate.serial_number)
    intent.pk, intent.serial_number, intent.order_ref, intent.state = None, f"{serial:x}", "another", state
    intent.revoked_at = database_now() if state == "abandoned" else None
    intent.save()
    assert word(said(certificate, request_for(certificate, serial=serial))) == expected


def test_certificate_of_another_ca_is_unauthorized(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    other = issuer_of("p-256")
    builder = ocsp.OCSPRequestBuilder().add_certificate(
        x509.load_der_x509_certificate(bytes(certificate.body.der)), other.certificate, SHA1
    )
    data = builder.build().public_bytes(Encoding.DER)
    assert answer(issuer.slug, data, client="x").body == Unsuccessful.UNAUTHORIZED


def test_good_answer_after_a_hold_is_not_dated_into_the_hold(portal: Portal) -> None:
    """T9: thisUpdate is a time at which the certificate was known to be good."""
    (certificate,) = issue(portal, 1)
    publish_everything()
    revoke(certificate, "certificateHold")
    assert word(said(certificate)) == "revoked"
    process_revocations()
    request_release(certificate, authority=Authority(SYSTEM), begin=False)
    process_revocations()
    response = said(certificate)
    released = Revocation.objects.get().released_at
    assert released is not None
    assert (word(response), response.this_update_utc) == ("good", released.replace(microsecond=0))


def test_after_the_end_of_a_ca_nobody_is_asked_to_try_later(portal: Portal) -> None:
    """T1: no responder will ever come, so the answer is that nobody here can speak for it."""
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    ResponderCertificate.objects.update(not_after=database_now() - timedelta(seconds=1))
    Issuer.objects.filter(pk=issuer.pk).update(state=Issuer.State.DISTRUSTED)
    assert answer(issuer.slug, request_for(certificate), client="x").body == Unsuccessful.UNAUTHORIZED


def test_nobody_answers_for_a_ca_that_is_not_there_or_not_ours(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    assert issuer.parent is not None
    Issuer.objects.create(name="Elsewhere", slug="elsewhere", alias="elsewhere", created_at=database_now())
    for slug in ("nobody", issuer.parent.slug, "elsewhere"):
        with pytest.raises(UnknownIssuer):
            answer(slug, request_for(certificate), client="x")


def test_without_a_valid_responder_it_is_try_later(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    ResponderCertificate.objects.update(not_after=database_now() - timedelta(seconds=1))
    assert answer(issuer.slug, request_for(certificate), client="x").body == Unsuccessful.TRY_LATER
    watch()
    assert OperatorAlert.objects.filter(kind="responder_late", closed_at__isnull=True).count() == 1


def test_process_without_a_login_to_the_responders_keys_says_try_later(portal: Portal, settings: Any) -> None:
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    settings.KEY_BACKENDS = {}
    assert answer(issuer.slug, request_for(certificate), client="x").body == Unsuccessful.TRY_LATER


def test_database_that_was_restarted_is_found_again(portal: Portal) -> None:
    """Both connections of this thread are ended by the server, as at a restart; at most one client is asked to come back."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no server that could be restarted")
    (certificate,) = issue(portal, 1)
    publish_everything()
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(_outlives_a_restart, certificate).result() == "good"


def _outlives_a_restart(certificate: Certificate) -> str:
    """In a thread, whose connections are its own."""
    try:
        said(certificate)
        assert lookup.lookups.own.connection is not None
        connection.ensure_connection()
        own = lookup.lookups.own.connection.info
        pids = [own.backend_pid, connection.connection.info.backend_pid]
        with psycopg.connect(own.dsn, password=own.password, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (pids,))
            while other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = ANY(%s)", (pids,)).fetchone():
                time.sleep(0.01)
        forget_signers()
        forget_answers()
        said(certificate)
        return word(said(certificate))
    finally:
        lookup.lookups.close()
        connections.close_all()


class Interrupted(dict[Any, Any]):
    """A store in which another thread asks for an outdated answer while the oldest is sought."""

    def __init__(self, kept: dict[Any, Any], ask: Callable[[], object]) -> None:
        super().__init__(kept)
        self.ask = ask

    def __iter__(self) -> Iterator[Any]:
        begun = super().__iter__()
        other = threading.Thread(target=self.ask, daemon=True)
        other.start()
        other.join(0.5)  # with the lock it waits until the oldest is out
        return begun


def test_outdated_answer_is_dropped_only_when_nobody_looks_for_the_oldest(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads at the store of answers: one makes room, the other drops what is outdated."""
    old, new = issue(portal, 2)
    issuer = publish_everything()
    data = request_for(old)
    answer(issuer.slug, data, client="a")
    past = database_now() - timedelta(minutes=1)
    kept = {key: replace(one, until=past) for key, one in respond.kept_replies.items()}
    again = partial(respond.kept_reply, issuer.slug, data)
    monkeypatch.setattr(respond, "kept_replies", Interrupted(kept, again))
    monkeypatch.setattr(respond, "KEPT", 1)
    assert word(said(new)) == "good"
