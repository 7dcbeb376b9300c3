"""The CA endpoint and its neighbours, over Django's own client: what is answered, to whom, and how it is refused."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from django.test import Client

from audit.models import AuditEvent
from certs.api.schemas import IssuedCertificate
from certs.models import Certificate, CertificateRequest, Issuer
from certs.x509.csr.build import build_csr
from db.clock import database_now
from keys.models import PublicKey
from tests.certs.x509.csr.test_corpus import CASES, content
from tests.certs.x509.csr.test_pasted_secrets import SECRETS
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def pem_csr(*names: str, key: Any = None) -> str:
    der = build_csr(key or ec.generate_private_key(ec.SECP256R1()), common_name=names[0], dns_names=names, ip_addresses=())
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()


class Api:
    def __init__(self, token: str) -> None:
        self.client, self.token = Client(), token

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        return self.send("post", path, body, **headers)

    def send(self, method: str, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        data = body if isinstance(body, str | bytes) else json.dumps(body)
        sent = {"Authorization": f"Bearer {self.token}", **headers}
        response = self.client.generic(method.upper(), f"/api/v1{path}", data, content_type="application/json", headers=sent)
        return response.status_code, json.loads(response.content)

    def get(self, path: str) -> tuple[int, Any]:
        response = self.client.get(f"/api/v1{path}", headers={"Authorization": f"Bearer {self.token}"})
        return response.status_code, json.loads(response.content) if "json" in response["Content-Type"] else response.content


@pytest.fixture
def api(portal: Portal) -> Api:
    return Api(portal.token())


def test_csr_is_answered_with_its_certificate(api: Api) -> None:
    status, told = api.post("/certificates/issue", {"csr": pem_csr("a.example.com"), "validity_days": 30, "profile": "tls-server"})
    assert IssuedCertificate.model_validate(told).model_dump(mode="json") == told  # what the schema promises, no more and no less
    assert status == 200
    certificate = x509.load_pem_x509_certificate(told["certificate"].encode())
    assert f"{certificate.serial_number:X}" == told["serial_number"].replace(":", "").lstrip("0")
    assert {"certificate", "serial_number", "not_before", "not_after"} <= told.keys()
    assert len(told["chain"]) == 2


def test_same_idempotency_key_is_the_same_certificate(api: Api) -> None:
    body = {"csr": pem_csr("a.example.com"), "validity_days": 30}
    answers = [api.post("/certificates/issue", body, **{"Idempotency-Key": "order-1"}) for _ in range(3)]
    assert answers[0][0] == 200
    assert answers[0] == answers[1] == answers[2]
    assert Certificate.objects.count() == 1
    assert api.get("/certificates/by-order/order-1") == answers[0]


def test_same_idempotency_key_is_the_same_certificate_after_another_ca_took_over(api: Api) -> None:
    body = {"csr": pem_csr("a.example.com"), "validity_days": 30}
    first = api.post("/certificates/issue", body, **{"Idempotency-Key": "order-1"})
    old = Issuer.objects.get(alias="Internal-CA-Prod")
    new = Issuer.objects.create(name="Next", slug="next", alias=old.alias, created_at=old.created_at)
    Issuer.objects.filter(pk=old.pk).update(state=Issuer.State.REVOCATION_ONLY, successor=new)
    assert api.post("/certificates/issue", body, **{"Idempotency-Key": "order-1"}) == first
    other = api.post("/certificates/issue", body | {"validity_days": 29}, **{"Idempotency-Key": "order-1"})
    assert (other[0], first[0]) == (422, 200)


def test_revoked_certificate_is_not_handed_out_again(api: Api) -> None:
    body = {"csr": pem_csr("a.example.com"), "validity_days": 30}
    _, first = api.post("/certificates/issue", body, **{"Idempotency-Key": "order-1"})
    api.post("/certificates/revoke", {"serial_number": first["serial_number"], "reason": "superseded"})
    status, told = api.post("/certificates/issue", body, **{"Idempotency-Key": "order-1"})
    assert (status, told["type"].rsplit("/", 1)[-1].rsplit(":", 1)[-1]) == (409, "revoked")
    assert api.get("/certificates/by-order/order-1")[0] == 404


def test_same_idempotency_key_with_another_body_is_refused(api: Api) -> None:
    api.post("/certificates/issue", {"csr": pem_csr("a.example.com")}, **{"Idempotency-Key": "order-1"})
    status, told = api.post("/certificates/issue", {"csr": pem_csr("b.example.com")}, **{"Idempotency-Key": "order-1"})
    assert (status, told["field"], Certificate.objects.count()) == (422, "Idempotency-Key", 1)


@pytest.mark.parametrize("case", [c for c in CASES if c["expect"] == "reject"], ids=lambda case: case["file"])
def test_corpus_gets_the_same_class_at_this_door(api: Api, case: dict[str, str]) -> None:
    text = content(case).decode("utf-8", "replace")
    status, told = api.post("/certificates/issue", {"csr": text})
    assert 400 <= status < 500
    if not case["file"].endswith((".der", ".zip")):  # those are not text, and reach this door as something else
        assert told["type"] == f"urn:pki-portal:error:{case['reason']}"
    assert (Certificate.objects.count(), CertificateRequest.objects.count()) == (0, 0)
    assert AuditEvent.objects.filter(event__in=("csr:refused", "secret:refused")).count() == 1


def test_body_beyond_all_bounds_is_too_large(api: Api) -> None:
    status, told = api.post("/certificates/issue", {"csr": "x" * 9_000_000})
    assert (status, told["type"]) == (413, "urn:pki-portal:error:too_large")


def test_pasted_private_key_is_kept_nowhere_and_its_public_key_blocked(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    status, told = api.post("/certificates/issue", {"csr": SECRETS["pkcs8"][0].decode()})
    assert (status, told["type"]) == (422, "urn:pki-portal:error:secret_pasted")
    secret = SECRETS["pkcs8"][0].decode().splitlines()[1]
    everything = json.dumps([list(AuditEvent.objects.values_list("data", flat=True)), told]) + caplog.text
    assert secret not in everything
    assert PublicKey.objects.get().blocked_at is not None


def test_policy_refusal_says_reason_version_and_what_passes(api: Api) -> None:
    status, told = api.post("/certificates/issue", {"csr": pem_csr("a.example.com"), "validity_days": 400})
    assert (status, told["policy_version"]) == (403, "v2.3")
    assert "397" in told["detail"]
    assert "397" in told["suggestion"]


def test_csr_with_another_teams_key_is_refused(api: Api, portal: Portal) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    assert api.post("/certificates/issue", {"csr": pem_csr("a.example.com", key=key)})[0] == 200
    other = Api(portal.token(user=portal.bob, team=portal.bob.teams.get()))
    status, told = other.post("/certificates/issue", {"csr": pem_csr("a.other.test", key=key)})
    assert (status, "another team" in told["detail"]) == (403, True)


def test_outsider_sees_nothing_of_another_team(api: Api, portal: Portal) -> None:
    _, told = api.post("/certificates/issue", {"csr": pem_csr("a.example.com")}, **{"Idempotency-Key": "order-1"})
    outsider = Api(portal.token(user=portal.bob, team=portal.bob.teams.get()))
    request = CertificateRequest.objects.get()
    for path in (
        f"/certificates/{told['cert_id']}",
        f"/certificates/{told['cert_id']}/pem",
        f"/requests/{request.public_id}",
        "/certificates/by-order/order-1",
    ):
        assert (path, outsider.get(path)[0]) == (path, 404)
        assert (path, api.get(path)[0]) == (path, 200)
    status, _ = outsider.post("/certificates/revoke", {"serial_number": told["serial_number"]})
    assert status == 404


@pytest.mark.parametrize("token", ["", "nonsense", "pkip_" + "x" * 43])
def test_without_a_valid_token_nothing_is_answered(portal: Portal, token: str) -> None:
    status, told = Api(token).post("/certificates/issue", {"csr": "x"})
    assert (status, told["status"]) == (401, 401)


def test_token_without_the_scope_is_refused(portal: Portal) -> None:
    reader = Api(portal.token("certificates:read"))
    assert reader.post("/certificates/issue", {"csr": pem_csr("a.example.com")})[0] == 403
    assert reader.post("/certificates/revoke", {"serial_number": "0x1"})[0] == 403


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "null",
        '{"csr": 1}',
        '{"csr": "x", "owner": "bob"}',
        '{"csr": "x", "validity_days": 0}',
        '{"csr": "x", "validity_days": 1e99}',
        '{"csr": "x", "profile": "nope"}',
    ],
)
def test_nonsense_gets_a_problem_document(api: Api, body: str) -> None:
    status, told = api.post("/certificates/issue", body)
    assert 400 <= status < 500
    assert {"type", "title", "status", "detail"} <= told.keys()


def test_revocation_by_serial_in_any_spelling_and_twice(api: Api) -> None:
    _, issued = api.post("/certificates/issue", {"csr": pem_csr("a.example.com")})
    for spelling in (issued["serial_number"], "0x" + issued["serial_number"].replace(":", "").lower()):
        status, told = api.post("/certificates/revoke", {"serial_number": spelling, "reason": "superseded"})
        assert (status, told["reason"]) == (200, "superseded")
    assert api.post("/certificates/revoke", {"serial_number": issued["serial_number"], "reason": "unspecified"})[0] == 409
    assert api.post("/certificates/revoke", {"serial_number": issued["serial_number"], "reason": "keyCompromise"})[0] == 200


def test_words_are_planned_and_refused_with_their_position(api: Api) -> None:
    status, told = api.post(
        "/requests/words", {"text": "Issue TLS certificate for api.example.com with RSA 4096, 90-day validity", "plan_only": True}
    )
    assert (status, told["decision"], told["plan"][0]["key"]) == (200, "allow", "rsa-4096")
    status, told = api.post("/requests/words", {"text": "Make me a sandwich"})
    assert (status, told["type"]) == (422, "urn:pki-portal:error:not_understood")
    assert {"position", "example"} <= told.keys()
    assert CertificateRequest.objects.count() == 0


def in_days(days: int) -> str:
    return (database_now().date() + timedelta(days=days)).isoformat()


def test_end_date_is_honoured_by_the_ca_endpoint(api: Api) -> None:
    """D1: in place of a number of days."""
    status, told = api.post("/certificates/issue", {"csr": pem_csr("a.example.com"), "not_after": in_days(20)})
    assert (status, told["not_after"]) == (200, f"{in_days(20)}T23:59:59Z")


@pytest.mark.parametrize("end", [1893456000, "2030-1-1", "20300101", "2030-01-01T00:00:00Z", "2030-02-30", "soon", True, ""])
def test_end_date_that_is_no_iso_date_is_refused_by_its_field(api: Api, end: object) -> None:
    """D1."""
    for path, body in (("/certificates/issue", {"csr": "x"}), ("/requests", {"common_name": "a.example.com"})):
        status, told = api.post(path, body | {"not_after": end})
        assert status == 422
        assert "not_after" in json.dumps(told)


@pytest.mark.parametrize(
    "more", [{"not_after": "2020-01-01"}, {"not_after": "2126-12-31"}, {"not_after": "2027-01-31", "validity_days": 30}]
)
def test_end_date_of_no_use_is_refused_by_its_field(api: Api, more: dict[str, object]) -> None:
    """D1: past, beyond a century, or beside a number of days."""
    for path, body in (("/certificates/issue", {"csr": pem_csr("a.example.com")}), ("/requests", {"common_name": "a.example.com"})):
        status, told = api.post(path, body | more)
        assert (status, told["field"]) == (422, "not_after")
        assert told["next_step"]


def test_items_of_an_order_keep_their_end_dates(api: Api) -> None:
    """D1, for REST items."""
    items: list[dict[str, object]] = [{"name": "a.example.com", "not_after": in_days(20)}, {"name": "b.example.com", "validity_days": 20}]
    _, told = api.post("/bulk", {"items": items, "plan_only": True})
    assert [(line["validity_days"], line["not_after"]) for line in told["lines"]] == [(None, in_days(20)), (20, None)]
    status, told = api.post("/bulk", {"items": [items[0] | items[1]]})
    assert (status, told["field"]) == (422, "not_after")
