"""What a CA says is kept and audited as far as it can be: no word of its own may undo what the portal writes beside it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from audit.models import AuditEvent
from certs.ca.base import CAUnreachable, Unknown
from certs.ca.rest import RestCAClient
from certs.enums import RequestState as S
from certs.issuance.steps.ca_call import order_for
from certs.models import Attempt, CertificateRequest, Issuer, QuarantinedCertificate, RequestCSR
from certs.requests.submit import Requester, submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.certs import steps
from tests.certs.issuance.test_schedules import walk
from tests.twins.ca import Fault, TwinCAClient

MakeSpec = Callable[..., CertificateSpec]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

NASTY = {
    "NUL": ("refused", "no\x00 such role"),
    "half a surrogate pair": ("refused", "no \ud800 such role"),
    "a token": ("refused", "permission denied for hvs.CAESIJ1111111111111111111111"),
    "long words": ("refused", "ü" * 5000),
    "a long problem": ("p" * 5000, "no"),
    "a NUL in the problem": ("p\x00", "no"),
}


@pytest.mark.parametrize("said", NASTY.values(), ids=NASTY.keys())
def test_refusal_in_any_words_ends_the_request(
    said: tuple[str, str], twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    twin_ca.refuses = said
    requests = submit_many([make_spec("a.example.com"), make_spec("b.example.com")], requester=twin_portal)
    walk([request.pk for request in requests])
    assert {row.state for row in CertificateRequest.objects.all()} == {S.FAILED}
    assert set(Attempt.objects.filter(step="submit").values_list("outcome", flat=True)) == {"refused"}
    assert AuditEvent.objects.filter(event="request:failed").count() == 2
    for row in CertificateRequest.objects.all():
        assert "hvs." not in row.error


def test_wrong_certificate_with_many_long_names_is_kept_apart(twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec) -> None:
    twin_ca.faults = [Fault.WRONG_NAMES]
    (request,) = submit_many([make_spec()], requester=twin_portal)
    walk([request.pk])
    request.refresh_from_db()
    assert (request.state, QuarantinedCertificate.objects.count()) == (S.FAILED, 1)
    assert Issuer.objects.get().circuit_opened_at is not None


@pytest.fixture
def talkative() -> Iterator[tuple[RestCAClient, dict[str, object]]]:
    """A server whose only answers are those in the mapping, by path."""
    answers: dict[str, object] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def do_GET(self) -> None:
            found = next((body for path, body in answers.items() if self.path.startswith(path)), None)
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_args: object) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield RestCAClient("far", url=f"http://127.0.0.1:{server.server_port}", token="t"), answers
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("answer", [{"certificate": 5}, [], "text", {"certificate": None}, {"certificate": "no PEM"}], ids=str)
def test_answer_of_any_shape_leaves_the_order_unknown(
    answer: object, talkative: tuple[RestCAClient, dict[str, object]], twin_portal: Requester, make_spec: MakeSpec
) -> None:
    (request,) = submit_many([make_spec()], requester=twin_portal)
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs):
        step([request.pk])
    order = order_for(request, RequestCSR.objects.get(), now=database_now())
    client, answers = talkative
    answers["/api/v1/certificates/"] = answer
    (outcome,) = client.issue_many([order])
    assert isinstance(outcome, Unknown)
    with pytest.raises(CAUnreachable):
        client.find(order)
