"""What a token is limited to holds for what is made, not for what was sent: profiles, and its own idempotency keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from django.test import Client

from certs.access.api_tokens import SCOPES, create_token, revoke_token
from certs.bulk.control import pause
from certs.bulk.submit import submit_order
from certs.models import ApiToken, BulkOrder, CertificateRequest
from certs.requests.submit import submit_many
from certs.requests.waiting import hold_for_keys
from certs.x509.csr.build import build_csr
from policy.models import Profile
from tests.cast import Cast
from tests.certs.bulk.orders import drafted
from tests.certs.life import issued
from tests.certs.steps import check_policy

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _nobody_waits(settings: Any) -> None:
    settings.PKI_CA_API_INLINE, settings.PKI_CA_API_WAIT_SECONDS = False, 0


def csr() -> str:
    der = build_csr(ec.generate_private_key(ec.SECP256R1()), common_name="a.example.com", dns_names=("a.example.com",), ip_addresses=())
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()


def client_of(cast: Cast, name: str = "requester", **more: Any) -> Client:
    _, secret = create_token(
        user=cast[name], team=cast.web, name=f"t{ApiToken.objects.count()}", scopes=SCOPES, actor=cast.authority(name).actor, **more
    )
    return Client(headers={"Authorization": f"Bearer {secret}"})


def post(client: Client, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    response = client.post(f"/api/v1{path}", json.dumps(body), content_type="application/json", headers=headers)
    return response.status_code, response.json()


# Each makes a tls-server certificate by a way that does not name the profile, or that names it inside.
WAYS: dict[str, tuple[str, Any]] = {
    "empty profile": ("/requests", {"csr": "CSR", "profile": ""}),
    "no profile": ("/requests", {"common_name": "a.example.com"}),
    "named profile": ("/requests", {"common_name": "a.example.com", "profile": "tls-server"}),
    "words": ("/requests/words", {"text": "Certificate for a.example.com, P-256"}),
    "words, planned only": ("/requests/words", {"text": "Certificate for a.example.com, P-256", "plan_only": True}),
    "issue, empty": ("/certificates/issue", {"csr": "CSR", "profile": ""}),
    "issue, none": ("/certificates/issue", {"csr": "CSR"}),
    "bulk words": ("/bulk", {"text": "Certificates for a-1 through a-3, P-256"}),
    "bulk items": ("/bulk", {"items": [{"name": "a.example.com"}]}),
    "bulk, planned only": ("/bulk", {"items": [{"name": "a.example.com", "profile": ""}], "plan_only": True}),
}


@pytest.mark.parametrize("way", WAYS)
def test_profile_of_the_finished_plan_is_one_of_the_tokens(cast: Cast, way: str) -> None:
    """S15"""
    Profile.objects.create(name="tls-client", ekus=["clientAuth"])
    path, body = WAYS[way]
    body = {name: csr() if value == "CSR" else value for name, value in body.items()}
    status, told = post(client_of(cast, profiles=["tls-client"]), path, body)
    assert (status, told["field"], "tls-client" in told["next_step"]) == (403, "profile", True)
    assert (CertificateRequest.objects.count(), BulkOrder.objects.count()) == (0, 0)
    status, _ = post(client_of(cast, "colleague", profiles=["tls-server"]), path, body)
    assert status in (200, 202)


def test_renewal_has_one_of_the_tokens_profiles(cast: Cast, make_spec: Any) -> None:
    certificate = issued(make_spec(), cast.requester("requester"))
    client = client_of(cast, profiles=["tls-client"])
    for plan_only in (True, False):
        assert post(client, f"/certificates/{certificate.cert_id}/renew", {"plan_only": plan_only})[0] == 403
    assert CertificateRequest.objects.count() == 1


def test_request_and_order_of_another_profile_are_not_resumed(cast: Cast, make_spec: Any) -> None:
    """S15: to let it go on is to have it issued."""
    client = client_of(cast, profiles=["tls-client"])
    requester = cast.requester("requester")
    (request,) = submit_many([make_spec()], requester=requester)
    check_policy([request.pk])
    hold_for_keys([request.pk], "sealed")
    request.refresh_from_db()
    order = submit_order(drafted([make_spec("bulk.example.com")], requester), authority=cast.authority("requester"))
    pause(order, authority=cast.authority("requester"))
    for path in (f"/requests/resume/{request.resume_id}", f"/bulk/{order.public_id}/resume", f"/bulk/{order.public_id}/retry"):
        status, told = post(client, path, {})
        assert (status, told["field"]) == (403, "profile"), path
    request.refresh_from_db()
    order.refresh_from_db()
    assert (request.held_since is None, order.state) == (False, "paused")


def test_order_is_found_by_the_token_that_sent_it_alone(cast: Cast) -> None:
    """S16: the same idempotency key of two tokens of one team means two orders."""
    first, second, third = client_of(cast), client_of(cast), client_of(cast, "colleague")
    references = []
    for client in (first, second):
        _, told = post(client, "/certificates/issue", {"csr": csr()}, **{"Idempotency-Key": "order-1"})
        references.append(told["audit_reference"])
    found = [client.get("/api/v1/certificates/by-order/order-1").json()["audit_reference"] for client in (first, second)]
    assert found == references
    assert len(set(references)) == 2
    assert third.get("/api/v1/certificates/by-order/order-1").status_code == 404


def test_order_of_a_replaced_token_is_found_by_the_next_one_of_its_user(cast: Cast) -> None:
    """An order whose answer was lost is looked for before it is sent again, also when the token was replaced in between."""
    old = client_of(cast)
    _, told = post(old, "/certificates/issue", {"csr": csr()}, **{"Idempotency-Key": "order-1"})
    new, colleague = client_of(cast), client_of(cast, "colleague")
    address = "/api/v1/certificates/by-order/order-1"
    assert new.get(address).status_code == 404  # two machines, while both tokens are good
    revoke_token(ApiToken.objects.earliest("pk"), authority=cast.authority("requester"))
    assert old.get(address).status_code == 401
    assert new.get(address).json()["audit_reference"] == told["audit_reference"]
    assert colleague.get(address).status_code == 404
