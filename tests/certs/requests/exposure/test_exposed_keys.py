"""Who can block a public key with what they send: nobody with public data, and nobody a CA's key."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from django.contrib.auth.models import Permission
from django.core import mail
from django.core.management import call_command
from django.test import Client

from audit.models import AuditEvent
from certs.bulk.drafting.upload import lines_of_items, read_lines
from certs.errors import CSRRefused, InputRefused, NotPermitted
from certs.issuance.synchronous import Call, issue_now
from certs.models import Certificate, CertificateRequest, Issuer, OperatorAlert, OutgoingMail
from certs.notifications.delivery.mail import send_due
from certs.requests.exposure.key_blocks import authority_of_key
from certs.requests.exposure.refused_secrets import report_secret
from certs.requests.plan import Fields, describe, plan_csr, plan_fields, plan_words
from certs.requests.submit import Requester, submit_many
from certs.revocation.key_proof import PREFIX, challenge_for, check_proof
from certs.spec import IssuePlan
from keys.models import Key, PublicKey
from keys.spec import spki_sha256
from keys.use import private_key_for
from tests.certs.api.test_issue import Api, pem_csr
from tests.certs.x509.csr.test_possession import ec_jwk, sealed_openssh
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def forged_jwk(public_key: Any) -> str:
    return json.dumps(ec_jwk(public_key, 5))


def clear(key: Any) -> str:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode()


def by_rest(portal: Portal, text: str) -> None:
    assert Api(portal.token()).post("/requests", {"csr": text})[0] == 422


def by_ca_endpoint(portal: Portal, text: str) -> None:
    assert Api(portal.token()).post("/certificates/issue", {"csr": text})[0] == 422


def by_bulk_items(portal: Portal, text: str) -> None:
    assert Api(portal.token()).post("/bulk", {"items": [{"csr": text}]})[0] == 422


def by_words(portal: Portal, text: str) -> None:
    assert Api(portal.token()).post("/requests/words", {"text": text})[0] == 422


def by_form(portal: Portal, text: str) -> None:
    client = Client()
    client.force_login(portal.alice)
    assert client.post("/new/", {"place": "csr", "team": "web", "csr": text}).status_code == 422


def by_upload(portal: Portal, text: str) -> None:
    with pytest.raises(CSRRefused):
        read_lines(text.encode(), filename="a.pem", requester=portal.requester())


CHANNELS = [by_rest, by_ca_endpoint, by_bulk_items, by_words, by_form, by_upload]
channels = pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.__name__)
Channel = Callable[[Portal, str], None]


def issuing_ca() -> Issuer:
    return Issuer.objects.get(alias="Internal-CA-Prod")


@channels
def test_public_data_blocks_no_key_and_alerts_the_officers(portal: Portal, channel: Channel) -> None:
    """Finding S1: a JWK with a made-up `d`, here of the CA's own key."""
    certificate = x509.load_der_x509_certificate(bytes(issuing_ca().certificate_der or b""))
    text = forged_jwk(certificate.public_key())
    if channel is by_words:
        text = clear(ec.generate_private_key(ec.SECP256R1()))[:120]  # half a key: a leak, and no proof
    channel(portal, text)
    assert not PublicKey.objects.filter(blocked_at__isnull=False).exists()
    assert not Key.objects.filter(state=Key.State.COMPROMISED).exists()
    assert OperatorAlert.objects.get(closed_at=None).kind == "secret_pasted"
    assert Api(portal.token()).post("/certificates/issue", {"csr": pem_csr("a.example.com")})[0] == 200


def test_encrypted_key_blocks_nothing(portal: Portal) -> None:
    """Finding S1: the public half of an encrypted OpenSSH file is in the clear and may be anybody's."""
    key = ec.generate_private_key(ec.SECP256R1())
    by_rest(portal, sealed_openssh(key.public_key()).decode())
    assert not PublicKey.objects.exists()
    assert OperatorAlert.objects.get().kind == "secret_pasted"


@channels
def test_private_key_itself_blocks_its_public_key_and_alerts_the_officers(portal: Portal, channel: Channel) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    channel(portal, clear(key))
    assert PublicKey.objects.get(blocked_at__isnull=False).pk == spki_sha256(key.public_key())
    alert = OperatorAlert.objects.get()
    assert (alert.kind, alert.cause) == ("key_blocked", f"key:{spki_sha256(key.public_key())}")
    recipients = set(OutgoingMail.objects.values_list("recipient", flat=True))
    assert recipients == {"carol@example.com", "pki-operators@example.com", "web@example.com"}  # carol: security team
    assert send_due() == len(recipients)
    assert any("unblock_key" in message.body for message in mail.outbox)
    (event,) = AuditEvent.objects.filter(event="secret:refused")
    assert event.data["spki_sha256"] == [spki_sha256(key.public_key())]


def test_private_key_of_another_team_is_blocked_and_the_case_names_its_owner(portal: Portal) -> None:
    """Decision 0021: who has another team's private key proves that it is in wrong hands."""
    key = ec.generate_private_key(ec.SECP256R1())
    assert Api(portal.token()).post("/certificates/issue", {"csr": pem_csr("a.example.com", key=key)})[0] == 200
    other = Api(portal.token(user=portal.bob, team=portal.bob.teams.get()))
    assert other.post("/requests", {"csr": clear(key)})[0] == 422
    row = PublicKey.objects.get(pk=spki_sha256(key.public_key()))
    assert (row.team, row.blocked_at is not None) == ("web", True)
    alert = OperatorAlert.objects.get()
    assert "team web" in alert.message
    assert "1 valid certificate" in alert.message
    assert Certificate.objects.get().status == Certificate.Status.GOOD  # revoking it is the officers' decision


@pytest.mark.parametrize("with_row", [True, False], ids=["key row", "issuer's certificate alone"])
def test_private_key_of_a_ca_is_never_blocked_and_raises_the_highest_alert(portal: Portal, with_row: bool) -> None:
    issuer = issuing_ca()
    assert issuer.key is not None
    backend_key = private_key_for(issuer.key)
    spki = spki_sha256(backend_key.public_key())
    if not with_row:  # a CA elsewhere: the portal has its certificate, and no key
        made = ec.generate_private_key(ec.SECP256R1())
        elsewhere = _self_signed(made)
        Issuer.objects.create(name="Elsewhere", slug="elsewhere", trust_anchor_der=elsewhere, created_at=issuer.created_at)
        by_rest(portal, clear(made))
        spki = spki_sha256(made.public_key())
    else:
        report_secret(actor=portal.requester().actor, team="web", channel="api", kind="private key", length=1, exposed_keys=(spki,))
        issuer.key.refresh_from_db()
        assert issuer.key.state == Key.State.ACTIVE
    assert not PublicKey.objects.filter(blocked_at__isnull=False).exists()
    alert = OperatorAlert.objects.get()
    assert (alert.kind, alert.message.startswith("CRITICAL")) == ("authority_key_exposed", True)
    assert OutgoingMail.objects.filter(recipient="carol@example.com").exists()


def _self_signed(key: Any) -> bytes:
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Elsewhere")]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=9))
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def test_root_issuer_and_responder_keys_are_known_by_their_purpose(portal: Portal) -> None:
    for key in Key.objects.exclude(purpose=Key.Purpose.LEAF):
        assert authority_of_key(key.spki_sha256)
    assert authority_of_key("00" * 32) == ""


@pytest.mark.parametrize(
    "use_case",
    [
        lambda requester, text: plan_csr(text.encode(), requester=requester),
        lambda requester, text: plan_words(text, requester=requester),
        lambda requester, text: plan_fields(Fields(common_name=text), requester=requester),
        lambda requester, text: read_lines(text.encode(), filename="", requester=requester),
        lambda requester, text: lines_of_items([{"csr": text}], requester=requester),
    ],
    ids=["csr", "words", "fields", "upload", "items"],
)
def test_former_member_is_refused_before_the_text_is_looked_at(portal: Portal, use_case: Callable[[Any, str], Any]) -> None:
    """Finding S1: with a former member's token, a pasted key still had its effects."""
    requester = portal.requester()
    portal.team.members.remove(portal.alice)
    with pytest.raises(NotPermitted):
        use_case(requester, clear(ec.generate_private_key(ec.SECP256R1())))
    assert not PublicKey.objects.exists()
    assert not AuditEvent.objects.filter(event="secret:refused").exists()


def test_former_members_csr_has_no_effect(portal: Portal) -> None:
    """Nobody outside the team writes into its history, and a good CSR is refused where it is submitted."""
    requester = portal.requester()
    portal.team.members.remove(portal.alice)
    before = AuditEvent.objects.count()
    with pytest.raises(NotPermitted):
        plan_csr(pem_csr("a.elsewhere.org").encode(), requester=requester)
    with pytest.raises(NotPermitted):
        plan_csr(pem_csr("a.example.com").encode(), requester=requester, profile=clear(ec.generate_private_key(ec.SECP256R1())))
    good = plan_csr(pem_csr("a.example.com").encode(), requester=requester, validity_days=30, profile="tls-server")
    for use_case in (describe, submit_plan, issue_plan):
        with pytest.raises(NotPermitted):
            use_case(good, requester=requester)
    assert (CertificateRequest.objects.count(), AuditEvent.objects.count()) == (0, before)


def submit_plan(plan: IssuePlan, *, requester: Requester) -> None:
    submit_many(plan.specs, requester=requester)


def issue_plan(plan: IssuePlan, *, requester: Requester) -> None:
    issue_now(Call(plan.specs[0], requester))


def unblock(named: str, user: str, reason: str = "pasted by mistake") -> tuple[int, dict[str, Any]]:
    out, code = io.StringIO(), 0
    try:
        call_command("unblock_key", named, reason=reason, as_user=user, json=True, stdout=out)
    except SystemExit as exc:
        code = int(exc.code or 0)
    return code, json.loads(out.getvalue())


def test_officer_unblocks_a_key_by_its_certificate_and_it_issues_again(portal: Portal) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    api = Api(portal.token())
    _, issued = api.post("/certificates/issue", {"csr": pem_csr("a.example.com", key=key)})
    by_rest(portal, clear(key))
    assert api.post("/certificates/issue", {"csr": pem_csr("a.example.com", key=key)})[0] == 403
    assert unblock(issued["cert_id"], "alice")[1]["type"] == "unauthorized"
    assert unblock(issued["cert_id"], "carol", reason=" ")[1]["field"] == "reason"
    code, told = unblock(issued["cert_id"], "carol")
    assert (code, told["success"], told["certificates"]) == (0, True, [issued["cert_id"]])
    assert api.post("/certificates/issue", {"csr": pem_csr("a.example.com", key=key)})[0] == 200
    event = AuditEvent.objects.get(event="key:unblocked")
    assert (event.actor_name, event.data["reason"]) == ("carol", "pasted by mistake")
    assert not OperatorAlert.objects.filter(kind="key_blocked", closed_at=None).exists()
    assert unblock(issued["cert_id"], "carol")[1]["type"] == "conflict"


def test_unblocking_makes_the_portals_own_key_active_again(portal: Portal) -> None:
    """A CA's key that was blocked before such keys were out of reach."""
    issuer = issuing_ca()
    assert issuer.key is not None
    spki = issuer.key.spki_sha256
    Key.objects.filter(pk=issuer.key.pk).update(state=Key.State.COMPROMISED)
    PublicKey.objects.update_or_create(
        spki_sha256=spki,
        defaults={"team": "web", "recorded_at": issuer.created_at, "blocked_at": issuer.created_at},
    )
    assert unblock(spki, "carol")[0] == 0
    issuer.key.refresh_from_db()
    assert issuer.key.state == Key.State.ACTIVE


def test_key_of_a_certificate_revoked_as_compromised_stays_blocked(portal: Portal) -> None:
    api = Api(portal.token())
    _, issued = api.post("/certificates/issue", {"csr": pem_csr("a.example.com")})
    with io.StringIO() as out:
        call_command("revoke", issued["cert_id"], reason="keyCompromise", as_user="carol", json=True, wait=0, stdout=out)
    code, told = unblock(issued["cert_id"], "carol")
    assert (code, told["type"], "keyCompromise" in told["error"]) == (1, "conflict", True)
    assert PublicKey.objects.get().blocked_at is not None


def test_officer_unblocks_in_the_admin_and_nobody_else(portal: Portal) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    by_rest(portal, clear(key))
    spki = spki_sha256(key.public_key())
    portal.bob.is_staff = portal.carol.is_staff = True
    portal.bob.save()
    portal.carol.save()
    for user in (portal.bob, portal.carol):
        user.user_permissions.add(Permission.objects.get(codename="view_publickey"))
    form = {"action": "unblock", "_selected_action": [spki], "reason": "a test key"}
    for user, blocked in ((portal.bob, True), (portal.carol, False)):
        client = Client()
        client.force_login(user)
        page = client.post("/admin/keys/publickey/", form, follow=True)
        assert page.status_code == 200
        assert (PublicKey.objects.get(pk=spki).blocked_at is not None) is blocked


def test_challenge_without_its_prefix_proves_nothing(portal: Portal) -> None:
    """A signature over a text that the key's owner signed for another purpose must not count."""
    key = ec.generate_private_key(ec.SECP256R1())
    Api(portal.token()).post("/certificates/issue", {"csr": pem_csr("a.example.com", key=key)})
    certificate = Certificate.objects.get()
    challenge = challenge_for(certificate)

    def signed(text: str) -> str:
        return base64.b64encode(key.sign(text.encode(), ec.ECDSA(SHA256()))).decode()

    check_proof(certificate, challenge=challenge, signature=signed(challenge))
    bare = challenge.removeprefix(PREFIX)
    with pytest.raises(InputRefused):
        check_proof(certificate, challenge=bare, signature=signed(bare))
