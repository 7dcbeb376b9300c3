"""A CA is rolled over while requests come in over REST and a bulk order is worked off: nothing is lost, nothing fails, both CAs stay true.

PKI_FAULT_SECONDS and PKI_FAULT_LINES make the stream longer and the order larger than the suite has time for.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID

from audit.transparency.sealer import seal
from audit.transparency.signing_key import ensure_sealing_key
from audit.verification.verify import verify
from bench.csrs import make_csr
from certs.access.api_tokens import create_token
from certs.enums import RequestState as S
from certs.models import Certificate, CertificateRequest, Issuer
from certs.requests.submit import Requester
from certs.revocation.deliver import process_revocations
from certs.status.maintenance import keep_status_information
from certs.status.ocsp.lookup import lookups
from certs.status.ocsp.respond import forget_answers
from certs.status.ocsp.signers import forget_signers
from db.clock import database_now
from pkiportal.celery import app
from tests.cast import person
from tests.faults.processes import Web, Worker, environment
from tests.faults.test_bulk_faults import SHORT, SYSTEM, finished, ordered, requester
from tests.portal.authority import issuing_ca, publish_everything
from tests.portal.commands import run

__all__ = ["requester"]  # the fixture
pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = float(os.environ.get("PKI_FAULT_SECONDS", "2"))  # before the roll-over and after it
LINES = int(os.environ.get("PKI_FAULT_LINES", "60"))
CLIENTS = 3
SAMPLE = 5  # certificates of each CA that OCSP is asked about


@dataclass
class Stream:
    """Clients that ask for one certificate after another, and what each was answered."""

    port: int
    token: str
    answers: list[tuple[float, int, dict[str, Any]]] = field(default_factory=list)  # begun at, status, body
    broken: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def ask(self, method: str, path: str, body: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            told = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **headers}
            connection.request(method, path, json.dumps(body), told)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def run(self, client: int) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            der, _, _ = make_csr(f"s{client}-{number}.example.com")
            csr = x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()
            begun = time.monotonic()
            try:
                key = {"Idempotency-Key": f"{client}-{number}"}
                status, answer = self.ask("POST", "/api/v1/certificates/issue", {"csr": csr, "validity_days": 90}, **key)
            except (OSError, ValueError, http.client.HTTPException) as exc:
                self.broken.append(repr(exc))
            else:
                self.answers.append((begun, status, answer))

    def flow(self, *, since: float) -> None:
        """Until that long has passed, and some that were asked since then are answered."""
        deadline = since + SECONDS + 90
        while time.monotonic() < since + SECONDS or sum(begun > since for begun, _, _ in self.answers) < 2 * CLIENTS:
            assert time.monotonic() < deadline, (self.answers[-1:], self.broken[-1:])
            time.sleep(0.05)


@contextmanager
def streaming(stream: Stream) -> Iterator[None]:
    threads = [threading.Thread(target=stream.run, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stream.stop.set()
        for thread in threads:
            thread.join(90)


def fetched(url: str, data: bytes | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=30) as response:
        body: bytes = response.read()
        return body


@dataclass(frozen=True)
class Addresses:
    crl: str
    ocsp: str
    authority: str


def addresses(certificate: x509.Certificate) -> Addresses:
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    (crl,) = [name.value for point in points for name in point.full_name or ()]
    by = {one.access_method: one.access_location.value for one in access}
    return Addresses(crl, by[AuthorityInformationAccessOID.OCSP], by[AuthorityInformationAccessOID.CA_ISSUERS])


def assert_addresses_answer(certificates: Sequence[Certificate], issuer: Issuer) -> None:
    """Every certificate names the places of its own CA, and what is there is that CA's."""
    parsed = [x509.load_der_x509_certificate(bytes(one.body.der)) for one in certificates]
    (places,) = {addresses(one) for one in parsed}
    authority = x509.load_der_x509_certificate(fetched(places.authority))
    assert authority.public_bytes(Encoding.DER) == bytes(issuer.certificate_der or b"")
    for one in parsed:
        one.verify_directly_issued_by(authority)
    crl = x509.load_der_x509_crl(fetched(places.crl))
    assert crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    revoked = {f"{entry.serial_number:x}" for entry in crl}
    assert revoked == {one.serial_number for one in certificates if one.status == Certificate.Status.REVOKED}
    for one, row in list(zip(parsed, certificates, strict=True))[:SAMPLE]:
        asked = ocsp.OCSPRequestBuilder().add_certificate(one, authority, hashes.SHA1()).build()  # noqa: S303 - as clients ask
        reply = ocsp.load_der_ocsp_response(fetched(places.ocsp, asked.public_bytes(Encoding.DER)))
        assert reply.certificate_status.name == ("REVOKED" if row.status == Certificate.Status.REVOKED else "GOOD")


@pytest.mark.parametrize("inline", ["true", "false"])
def test_roll_over_under_load(requester: Requester, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inline: str) -> None:
    """`inline`: whether the web processes sign themselves, as `ca-api`, or leave it to the workers."""
    app.control.purge()
    forget_signers()
    forget_answers()
    user = person("machine", team=requester.team)
    scopes = ["certificates:issue", "certificates:read", "certificates:revoke"]
    _, token = create_token(user=user, team=requester.team, name="machine", scopes=scopes, actor=SYSTEM)
    ensure_sealing_key()
    web = Web(tmp_path / "web.log", environment(**SHORT, PKI_CA_API_INLINE=inline, PKI_CA_API_WAIT_SECONDS="50"))
    settings.PKI_BASE_URL = web.env["PKI_BASE_URL"] = web.url
    publish_everything()
    old = issuing_ca()
    stream = Stream(web.port, token)
    with ExitStack() as stack:
        stack.enter_context(web)
        worker = stack.enter_context(Worker(tmp_path / "worker.log", environment(**SHORT, PKI_BASE_URL=web.url)))
        order = ordered(requester, LINES)
        with streaming(stream):
            stream.flow(since=time.monotonic())
            code, answer = run("roll_over_ca")
            assert (code, answer["took_over_from"]) == (0, old.name)
            rolled_over = time.monotonic()
            stream.flow(since=rolled_over)
        finished(order, worker, seconds=120 + LINES / 10)
        new = Issuer.objects.get(name=answer["issuer"])
        assert_nothing_was_lost(stream, order_lines=LINES, old=old, new=new, rolled_over=rolled_over)
        for issuer in (old, new):
            serial = Certificate.objects.filter(issuer=issuer).order_by("pk").values_list("serial_number", flat=True)[0]
            assert stream.ask("POST", "/api/v1/certificates/revoke", {"serial_number": f"0x{serial}", "reason": "superseded"})[0] == 200
        process_revocations()
        keep_status_information()
        old.refresh_from_db()
        assert (old.state, new.state) == ("revocation_only", "active")
        for issuer in (old, new):
            assert_addresses_answer(list(Certificate.objects.filter(issuer=issuer).select_related("body").order_by("pk")), issuer)
    monkeypatch.setattr("certs.reconciliation.ca.GRACE", timedelta(minutes=-10))
    assert [run(name)[0] for name in ("reconcile_status", "reconcile_ca")] == [0, 0]
    lookups.close()  # the one that OCSP answers were made with here, or the test's database could not be dropped
    while seal():
        pass
    assert verify(now=database_now()).success
    assert "Traceback" not in web.log.read_text()


def assert_nothing_was_lost(stream: Stream, *, order_lines: int, old: Issuer, new: Issuer, rolled_over: float) -> None:
    assert stream.broken == []
    assert [(status, answer) for _, status, answer in stream.answers if status != 200] == []
    serials = {answer["serial_number"].replace(":", "").lower().lstrip("0"): begun for begun, _, answer in stream.answers}
    assert len(serials) == len(stream.answers)
    rows = dict(Certificate.objects.values_list("serial_number", "issuer"))
    assert len(rows) == len(serials) + order_lines
    assert {rows[serial] for serial in serials} == set(rows.values()) == {old.pk, new.pk}
    assert {rows[serial] for serial, begun in serials.items() if begun > rolled_over} == {new.pk}
    assert set(CertificateRequest.objects.values_list("state", flat=True)) == {S.COMPLETED}
