"""Renewing, revoking and releasing over REST: what is answered, to whom, and how it is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from django.test import Client

from audit.models import AuditEvent
from certs.models import Certificate, CertificateRequest, OperatorAlert, Revocation
from certs.renewal.planned_revocation import revoke_replaced
from certs.requests.lineage import newest_of
from certs.revocation.deliver import process_revocations
from keys.models import PublicKey
from tests.certs.api.test_issue import Api, pem_csr
from tests.certs.life import new_policy, walk
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def api(portal: Portal) -> Api:
    return Api(portal.token())


@pytest.fixture
def issued(api: Api) -> dict[str, Any]:
    status, told = api.post("/certificates/issue", {"csr": pem_csr("a.example.com")})
    assert status == 200
    return dict(told)


def outsider(portal: Portal) -> Api:
    return Api(portal.token(user=portal.bob, team=portal.bob.teams.get()))


def test_renewal_is_accepted_once_and_watched_by_its_reference(api: Api, issued: dict[str, Any]) -> None:
    path = f"/certificates/{issued['cert_id']}/renew"
    status, plan = api.post(path, {"plan_only": True})
    assert (status, plan["decision"], plan["key"], plan["validity_days"]) == (200, "allow", "kept", 90)
    assert CertificateRequest.objects.count() == 1
    answers = [api.post(path, {}) for _ in range(2)]
    assert [(status, told["already"]) for status, told in answers] == [(202, False), (202, True)]
    assert answers[0][1]["audit_reference"] == answers[1][1]["audit_reference"]
    request = CertificateRequest.objects.get(public_id=answers[0][1]["audit_reference"])
    walk([request.pk])
    status, told = api.get(f"/requests/{request.public_id}")
    assert (status, told["success"]) == (200, True)
    old, new = (api.get(f"/certificates/{cert_id}")[1] for cert_id in (issued["cert_id"], told["cert_id"]))
    assert (old["superseded_by"], new["renewed_from"]) == (new["cert_id"], old["cert_id"])


def test_renewal_that_the_policy_refuses_says_what_passes(api: Api, issued: dict[str, Any]) -> None:
    new_policy("v2.4", allowed_keys={"rsa": {"min_bits": 3072}, "ec": [384]})
    status, told = api.post(f"/certificates/{issued['cert_id']}/renew", {})
    assert (status, told["type"], told["policy_version"]) == (403, "urn:pki-portal:error:policy_violation", "v2.4")
    assert "Curve P-256 is not allowed" in told["detail"]
    assert "P-384" in told["suggestion"]


@pytest.mark.parametrize(
    "spelling",
    [lambda s: s, lambda s: s.replace(":", " "), lambda s: "0x" + s.replace(":", "").lower(), lambda s: str(int(s.replace(":", ""), 16))],
    ids=["colons", "spaces", "0x", "decimal"],
)
def test_serial_number_in_every_spelling(api: Api, issued: dict[str, Any], spelling: Any) -> None:
    status, told = api.post("/certificates/revoke", {"serial_number": spelling(issued["serial_number"]), "reason": "superseded"})
    assert (status, told["cert_id"]) == (200, issued["cert_id"])


def test_serial_number_that_means_two_certificates_is_said(api: Api, portal: Portal) -> None:
    first, second = (api.post("/certificates/issue", {"csr": pem_csr(f"{n}.example.com")})[1]["cert_id"] for n in "ab")
    Certificate.objects.filter(cert_id=first).update(serial_number=f"{1234567890:x}")
    Certificate.objects.filter(cert_id=second).update(serial_number="1234567890")
    status, told = api.post("/certificates/revoke", {"serial_number": "1234567890", "reason": "superseded"})
    assert (status, told["field"]) == (409, "serial_number")
    assert first in told["detail"]
    assert second in told["detail"]
    status, told = api.post("/certificates/revoke", {"serial_number": "0x1234567890", "reason": "superseded"})
    assert (status, told["cert_id"]) == (200, second)


def test_hold_and_release_over_rest(api: Api, issued: dict[str, Any]) -> None:
    path = f"/certificates/{issued['cert_id']}"
    status, told = api.post(f"{path}/revoke", {"reason": "certificateHold"})
    assert (status, told["status"], told["confirmed"]) == (200, "revocation_pending", False)
    assert api.post(f"{path}/release", {})[0] == 409  # the CA has not confirmed the hold
    process_revocations()
    assert api.post(f"{path}/release", {})[0] == 200
    process_revocations()
    assert api.get(path)[1]["status"] == "good"
    assert api.post(f"{path}/release", {})[0] == 409
    assert api.post("/certificates/release", {"serial_number": issued["serial_number"]})[0] == 200  # as a CA: already so is success


def test_compromise_revokes_the_others_on_the_key_and_refuses_it_at_the_ca_endpoint(api: Api) -> None:
    csr = pem_csr("a.example.com")
    first = api.post("/certificates/issue", {"csr": csr})[1]
    second = api.post("/certificates/issue", {"csr": csr, "validity_days": 30})[1]
    status, told = api.post(f"/certificates/{first['cert_id']}/revoke", {"reason": "keyCompromise"})
    assert (status, told["also_revoked"], told["case_opened"]) == (200, [second["cert_id"]], True)
    status, told = api.post("/certificates/issue", {"csr": csr})
    assert (status, "compromised" in told["detail"]) == (403, True)
    assert OperatorAlert.objects.filter(kind="key_claimed", closed_at__isnull=True).count() == 1


@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
def test_signature_by_the_key_has_it_refused_for_everybody_at_once(api: Api, kind: str) -> None:
    key: Any = {
        "ec": lambda: ec.generate_private_key(ec.SECP384R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 3072),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    cert_id = api.post("/certificates/issue", {"csr": pem_csr("a.example.com", key=key)})[1]["cert_id"]
    path = f"/certificates/{cert_id}"
    challenge = api.get(f"{path}/key-challenge")[1]["challenge"]
    schemes: dict[str, dict[str, Any]] = {
        "ec": {"signature_algorithm": ec.ECDSA(SHA256())},
        "rsa": {"padding": padding.PKCS1v15(), "algorithm": SHA256()},
        "ed25519": {},
    }
    signature = base64.b64encode(key.sign(challenge.encode(), **schemes[kind])).decode()
    for wrong in (
        {"challenge": challenge, "signature": base64.b64encode(b"x" * 64).decode()},
        {"challenge": challenge + "x", "signature": signature},
        {"challenge": challenge, "signature": "no base64"},
    ):
        assert api.post(f"{path}/revoke", {"reason": "keyCompromise", "proof": wrong})[0] == 422
    assert Revocation.objects.count() == 0
    proof = {"challenge": challenge, "signature": signature}
    status, told = api.post(f"{path}/revoke", {"reason": "keyCompromise", "proof": proof})
    assert (status, told["key_blocked"], told["case_opened"]) == (200, True, False)
    assert PublicKey.objects.get(blocked_at__isnull=False).blocked_reason.endswith("proved by a signature")


def test_challenge_for_one_key_proves_nothing_about_another(api: Api) -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = ("a.example.com", "b.example.com")
    issued = [api.post("/certificates/issue", {"csr": pem_csr(name, key=key)})[1] for name, key in zip(names, keys, strict=True)]
    ids = [told["cert_id"] for told in issued]
    challenge = api.get(f"/certificates/{ids[0]}/key-challenge")[1]["challenge"]
    signature = base64.b64encode(keys[1].sign(challenge.encode(), ec.ECDSA(SHA256()))).decode()
    proof = {"challenge": challenge, "signature": signature}
    status, told = api.post(f"/certificates/{ids[1]}/revoke", {"reason": "keyCompromise", "proof": proof})
    assert (status, told["field"]) == (422, "challenge")


def test_token_acts_for_its_team_alone(portal: Portal, issued: dict[str, Any]) -> None:
    other, path = outsider(portal), f"/certificates/{issued['cert_id']}"
    for suffix, body in (("renew", {}), ("revoke", {"reason": "superseded"}), ("release", {})):
        assert (suffix, other.post(f"{path}/{suffix}", body)[0]) == (suffix, 404)
    reader = Api(portal.token("certificates:read"))
    for suffix, body in (("renew", {}), ("revoke", {"reason": "superseded"}), ("release", {})):
        assert (suffix, reader.post(f"{path}/{suffix}", body)[0]) == (suffix, 403)
    officer = Api(portal.token(user=portal.carol, team=portal.team)) if portal.team.members.filter(pk=portal.carol.pk).exists() else None
    assert officer is None  # a token is never wider than its team
    assert Revocation.objects.count() == 0


@pytest.mark.parametrize(
    ("suffix", "body"),
    [
        ("revoke", {"reason": "banana"}),
        ("revoke", {"reason": "removeFromCRL"}),
        ("revoke", {"reason": "superseded", "revocation_date": "yesterday"}),
        ("revoke", {"reason": "superseded", "revocation_date": "2999-01-01T00:00:00Z"}),
        ("revoke", {"reason": "superseded", "comment": "x" * 501}),
        ("revoke", {"reason": "superseded", "owner": "bob"}),
        ("renew", {"new_key": True, "keep_key": True}),
        ("renew", {"validity_days": 1}),
        ("renew", {"new_key": "maybe"}),
    ],
    ids=str,
)
def test_nonsense_is_refused_with_its_field(api: Api, issued: dict[str, Any], suffix: str, body: dict[str, Any]) -> None:
    status, told = api.post(f"/certificates/{issued['cert_id']}/{suffix}", body)
    assert (status, bool(told["detail"])) == (422, True)
    assert told["field"]


@pytest.mark.parametrize("serial", ["", "xyz", "0", "0x", "F" * 41, "12:3G"])
def test_what_is_no_serial_number_is_refused(api: Api, issued: dict[str, Any], serial: str) -> None:
    assert api.post("/certificates/revoke", {"serial_number": serial, "reason": "superseded"})[0] == 422


def test_brought_key_gets_no_new_one_from_us(api: Api, issued: dict[str, Any]) -> None:
    status, told = api.post(f"/certificates/{issued['cert_id']}/renew", {"new_key": True})
    assert (status, "new CSR" in told["suggestion"]) == (403, True)
    assert newest_of(Certificate.objects.get()).cert_id == issued["cert_id"]


def test_secret_in_a_comment_is_kept_nowhere(api: Api, issued: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    secret = "hvs." + "CAESIJx0bSe7Y2tVb1lRk3n9Zz"
    status, told = api.post(f"/certificates/{issued['cert_id']}/revoke", {"reason": "superseded", "comment": f"see {secret}"})
    assert (status, told["type"]) == (422, "urn:pki-portal:error:secret_pasted")
    everything = json.dumps([list(AuditEvent.objects.values_list("data", flat=True)), told]) + caplog.text
    assert secret not in everything
    assert Revocation.objects.count() == 0


def test_page_of_a_revocation_that_waits_says_for_whom(portal: Portal, api: Api, issued: dict[str, Any]) -> None:
    assert api.post(f"/certificates/{issued['cert_id']}/revoke", {"reason": "superseded"})[1]["confirmed"] is False
    Revocation.objects.update(tries=3, last_error="503 Service Unavailable")
    client = Client()
    client.force_login(portal.alice)
    page = " ".join(client.get(f"/certificates/{issued['cert_id']}/").content.decode().split())
    assert "Revocation is under way." in page
    assert "Internal-CA-Prod has not confirmed the revocation, tried 3 times: 503 Service Unavailable" in page
    assert client.get(f"/certificates/{issued['cert_id']}/cert.pem").status_code == 409


def test_files_of_a_certificate_hold_what_their_names_say(api: Api, portal: Portal, issued: dict[str, Any]) -> None:
    """O10: fullchain.pem held the self-signed root."""

    def file(name: str) -> bytes:
        path = f"/api/v1/certificates/{issued['cert_id']}/pem?format={name}"
        answer = api.client.get(path, headers={"Authorization": f"Bearer {api.token}"})
        assert answer.status_code == 200
        return answer.content

    leaf, *above = x509.load_pem_x509_certificates(file("fullchain"))
    (root,) = x509.load_pem_x509_certificates(file("root"))
    assert len(above) == 1
    assert all(one.subject != one.issuer for one in above)
    assert root.subject == root.issuer
    assert x509.load_pem_x509_certificates(file("chain")) == [*above, root]
    assert x509.load_pem_x509_certificates(file("cert")) == [leaf]
    assert x509.load_der_x509_certificate(file("der")) == leaf
    signed_in = Client()
    signed_in.force_login(portal.alice)
    for name in ("fullchain.pem", "root.pem", "chain.pem"):
        page = signed_in.get(f"/certificates/{issued['cert_id']}/{name}")
        assert page.content == file(name.removesuffix(".pem"))
    wrong = api.get(f"/certificates/{issued['cert_id']}/pem?format=p12")
    assert (wrong[0], wrong[1]["field"]) == (422, "format")


def test_asking_about_a_file_is_no_download(api: Api, issued: dict[str, Any]) -> None:
    path = f"/api/v1/certificates/{issued['cert_id']}/pem"
    head = api.client.head(path, headers={"Authorization": f"Bearer {api.token}"})
    assert (head.status_code, head.content) == (200, b"")
    assert not AuditEvent.objects.filter(event="certificate:downloaded").exists()


def test_a_download_is_on_record_and_a_revoked_certificate_is_not_handed_out(api: Api, issued: dict[str, Any]) -> None:
    path = f"/certificates/{issued['cert_id']}"
    answer = api.client.get(f"/api/v1{path}/pem", headers={"Authorization": f"Bearer {api.token}"})
    assert answer.status_code == 200
    assert answer.content.decode().startswith(issued["certificate"])
    event = AuditEvent.objects.get(event="certificate:downloaded")
    assert (event.subject, event.actor_kind, event.data) == (f"certificate:{issued['cert_id']}", "token", {"form": "fullchain.pem"})
    assert api.get(path)[0] == 200  # reading it is not taking it
    assert api.post(f"{path}/revoke", {"reason": "superseded"})[0] in (200, 202)
    refused = api.client.get(f"/api/v1{path}/pem", headers={"Authorization": f"Bearer {api.token}"})
    assert (refused.status_code, "cannot be downloaded" in refused.json()["detail"]) == (409, True)
    assert AuditEvent.objects.filter(event="certificate:downloaded").count() == 1


def test_replacement_with_a_new_key_comes_before_the_revocation(portal: Portal, api: Api, issued: dict[str, Any]) -> None:
    path = f"/certificates/{issued['cert_id']}/replace"
    status, told = api.post(path, {"hours": 3})
    assert (status, told["field"]) == (422, "hours")
    assert api.post(path, {})[0] in (403, 422)  # the key is its owner's, so a CSR is needed
    csr = pem_csr("a.example.com", key=ec.generate_private_key(ec.SECP384R1()))
    answers = [api.post(path, {"hours": 4, "csr": csr, "comment": "Laptop lost"}) for _ in range(2)]
    (status, plan), second = answers
    assert (status, plan["cert_id"], plan["when_issued"], second) == (202, issued["cert_id"], True, (status, plan))
    row = Certificate.objects.get(cert_id=issued["cert_id"])
    assert row.status == "good"
    walk([CertificateRequest.objects.get(public_id=plan["replacement"]).pk])
    revoke_replaced()
    row.refresh_from_db()
    assert row.status == "revocation_pending"
    for scopes in (["certificates:revoke"], ["certificates:issue"]):
        assert Api(portal.token(*scopes)).post(path, {})[0] == 403
    assert outsider(portal).post(path, {})[0] == 404
