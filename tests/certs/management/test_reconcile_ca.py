"""reconcile_ca: what a CA has and nobody here knows, and what it revoked without us; against each kind of CA, and one that falls silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import hvac
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from audit.models import AuditEvent
from certs.ca.base import Issued, Order
from certs.ca.registry import forget_clients, get_ca_client
from certs.ca.rest import RestCAClient
from certs.ca.vault_pki import Entry, VaultPKIClient
from certs.models import Certificate, Chain, IssuanceIntent, Issuer, OperatorAlert, Revocation, UnknownCertificate
from certs.revocation.deliver import process_revocations
from certs.spec import CertificateSpec
from certs.status.maintenance import keep_status_information
from certs.x509.asn1.pem import serial_of
from certs.x509.certificate.serial import new_serial
from certs.x509.csr.build import build_csr
from db.clock import database_now
from keys.spec import spki_der, spki_sha256
from tests.certs.steps import submit_to_ca
from tests.harness.plugin.parts import VaultAccess, connect
from tests.harness.vault import Vault
from tests.portal.authority import issue, issuing_ca, publish_everything, published, revoke, served
from tests.portal.commands import run
from tests.portal.elsewhere import ROLE, pki_engine
from tests.portal.external import issue_external
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
both_databases = pytest.mark.both_databases


@pytest.fixture(autouse=True)
def _old_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests make is seconds old, and would be on its way into the inventory for an hour."""
    monkeypatch.setattr("certs.reconciliation.ca.GRACE", timedelta(minutes=-10))


def told_of(answer: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in answer["cas"] if one["issuer"] == name)


def open_alerts(kind: str) -> list[OperatorAlert]:
    return list(OperatorAlert.objects.filter(kind=kind, closed_at__isnull=True).order_by("pk"))


@contextmanager
def unrecorded(*certificates: Certificate) -> Iterator[list[str]]:
    """As if these had never come into the inventory; answers their serial numbers."""
    serials = [certificate.serial_number for certificate in certificates]
    for certificate in certificates:
        Certificate.objects.filter(pk=certificate.pk).update(serial_number=f"{new_serial():x}")
    yield serials
    for certificate, serial in zip(certificates, serials, strict=True):
        Certificate.objects.filter(pk=certificate.pk).update(serial_number=serial)


@both_databases
def test_signed_certificate_that_nobody_recorded_becomes_a_row_and_an_alarm(portal: Portal) -> None:
    publish_everything()
    quiet = {"issuer": issuing_ca().name, "listed": True, "found": [], "revoked": []}
    assert run("reconcile_ca") == (0, {"success": True, "cas": [quiet]})
    with unrecorded(*issue(portal, 1)) as (serial,):
        for _ in range(2):
            code, answer = run("reconcile_ca")
            assert (code, answer["cas"][0]["found"]) == (1, [serial])
        assert UnknownCertificate.objects.get().serial_number == serial
        assert [alert.occurrences for alert in open_alerts("unknown_certificate")] == [2]
        assert AuditEvent.objects.filter(event="certificate:found").count() == 1
        assert run("reconcile_ca", "--settle", f"0x{serial}", "--because", "a test") == (0, {"success": True, "settled": serial})
        assert open_alerts("unknown_certificate") == []
        assert AuditEvent.objects.get(event="ca:reconciled").data == {"serial_number": serial, "settlement": "a test"}
        assert run("reconcile_ca", "--settle", f"0x{serial}", "--because", "again")[0] == 1
        assert run("reconcile_ca") == (0, {"success": True, "cas": [quiet]})


@both_databases
def test_young_certificate_may_be_on_its_way(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certs.reconciliation.ca.GRACE", timedelta(hours=1))
    with unrecorded(*issue(portal, 1)):
        assert run("reconcile_ca")[0] == 0
    assert not UnknownCertificate.objects.exists()


@both_databases
def test_many_at_once_are_one_alarm_and_a_later_find_is_another(portal: Portal) -> None:
    first, later = issue(portal, 5), issue(portal, 1, prefix="later")
    with unrecorded(*first):
        run("reconcile_ca")
        (alert,) = open_alerts("unknown_certificate")
        assert "issued 5 certificates without a record here" in alert.message
        with unrecorded(*later) as (serial,):
            run("reconcile_ca")
            assert [serial in alert.message for alert in open_alerts("unknown_certificate")] == [False, True]
            run("reconcile_ca", "--settle", serial, "--because", "the last of its alarm")
            assert open_alerts("unknown_certificate") == [alert]


@both_databases
def test_unknown_certificate_of_the_own_ca_is_revoked_by_the_command(portal: Portal) -> None:
    publish_everything()
    with unrecorded(*issue(portal, 1)) as (serial,):
        run("reconcile_ca")
        assert run("reconcile_ca", "--revoke", serial, "--because", "nobody asked for it") == (0, {"success": True, "revoked": serial})
        keep_status_information()
        assert [f"{entry.serial_number:x}" for entry in published(issuing_ca())] == [serial]
        assert (run("reconcile_ca")[0], open_alerts("unknown_certificate")) == (0, [])
        assert UnknownCertificate.objects.get().settlement == "revoked: nobody asked for it"
    Certificate.objects.all().update(status="revoked")  # only so that the books agree when the serial is back


@both_databases
def test_own_certificate_that_the_book_has_taken_back_is_revoked_in_the_inventory(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    IssuanceIntent.objects.filter(serial_number=certificate.serial_number).update(revoked_at=database_now())
    code, answer = run("reconcile_ca")
    assert (code, answer["cas"][0]["revoked"]) == (1, [certificate.cert_id])
    assert Revocation.objects.get(certificate=certificate).reason == "unspecified"
    assert run("reconcile_ca")[0] == 0


@both_databases
def test_ca_without_a_client_here_is_said_and_does_not_keep_the_others_from_being_asked(portal: Portal) -> None:
    Issuer.objects.create(name="Of former days", slug="former", alias="Former-CA", created_at=database_now())
    with unrecorded(*issue(portal, 1)) as (serial,):
        code, answer = run("reconcile_ca")
    assert (code, told_of(answer, issuing_ca().name)["found"]) == (1, [serial])
    assert "has no entry 'Former-CA'" in told_of(answer, "Of former days")["error"]


def test_settling_needs_a_reason(portal: Portal) -> None:
    from django.core.management import CommandError, call_command  # noqa: PLC0415

    with pytest.raises(CommandError) as caught:
        call_command("reconcile_ca", "--revoke", "ab")
    assert caught.value.returncode == 2


# --- Vault's PKI engine ---


@dataclass
class Engine:
    vault: hvac.Client
    mount: str

    def sign(self, name: str) -> str:
        """Behind the portal's back; answers the serial number as the portal writes it."""
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.load_der_x509_csr(build_csr(key, common_name=name, dns_names=(name,), ip_addresses=()))
        extra = {"alt_names": name, "ttl": "24h"}
        answer = self.vault.secrets.pki.sign_certificate(
            ROLE, csr.public_bytes(Encoding.PEM).decode(), name, extra_params=extra, mount_point=self.mount
        )
        return f"{int(answer['data']['serial_number'].replace(':', ''), 16):x}"

    def revoke(self, serial: str) -> None:
        number = int(serial, 16)
        text = number.to_bytes((number.bit_length() + 7) // 8, "big").hex(":")
        self.vault.secrets.pki.revoke_certificate(text, mount_point=self.mount)

    def is_revoked(self, serial: str) -> bool:
        number = int(serial, 16)
        text = number.to_bytes((number.bit_length() + 7) // 8, "big").hex(":")
        return bool(self.vault.secrets.pki.read_certificate(text, mount_point=self.mount)["data"]["revocation_time"])


def engine_of(settings: Any, vault: hvac.Client, access: VaultAccess, mount: str) -> Engine:
    options = pki_engine(vault, access, mount) | {"url": access.address}
    clients = {"Vault-PKI": {"CLIENT": "certs.ca.vault_pki.VaultPKIClient", "OPTIONS": options}}
    settings.CA_CLIENTS = {**settings.CA_CLIENTS, **clients}
    assert run("add_ca", "Vault-PKI")[0] == 0
    return Engine(vault, mount)


@pytest.fixture
def engine(
    portal: Portal, settings: Any, vault_client: hvac.Client, vault_access: VaultAccess, vault_mount: Callable[[str], str]
) -> Engine:
    return engine_of(settings, vault_client, vault_access, vault_mount("pki"))


def issued_there(portal: Portal, settings: Any, *names: str) -> list[Certificate]:
    settings.PKI_DEFAULT_CA = "Vault-PKI"
    specs = []
    for name in names:
        key = ec.generate_private_key(ec.SECP256R1())
        csr = build_csr(key, common_name=name, dns_names=(name,), ip_addresses=())
        specs.append(CertificateSpec(name, (name,), (), "ec-p256", 90, "tls-server", csr_der=csr, spki_der=spki_der(key.public_key())))
    requests = issue_external(specs, requester=portal.requester())
    submit_to_ca([request.pk for request in requests], complete=True)  # as a worker of remote CAs
    return list(Certificate.objects.filter(request__in=requests).order_by("pk"))


def test_vault_tells_what_it_signed_and_revoked_behind_our_back(portal: Portal, engine: Engine, settings: Any) -> None:
    known, taken = issued_there(portal, settings, "known.example.com", "taken.example.com")
    assert run("reconcile_ca")[0] == 0
    serial = engine.sign("unknown.example.com")
    engine.revoke(engine.sign("revoked-already.example.com"))
    engine.revoke(taken.serial_number)
    code, answer = run("reconcile_ca")
    assert code == 1
    assert told_of(answer, "Vault-PKI") == {"issuer": "Vault-PKI", "listed": True, "found": [serial], "revoked": [taken.cert_id]}
    (alert,) = open_alerts("revoked_elsewhere")
    assert taken.cert_id in alert.message
    revocation = Revocation.objects.get(certificate=taken)
    assert (revocation.reason, revocation.requested_by) == ("unspecified", "reconcile_ca")
    assert revocation.invalidity_date is not None
    process_revocations()
    taken.refresh_from_db()
    known.refresh_from_db()
    assert (taken.status, known.status) == ("revoked", "good")
    assert run("reconcile_ca", "--revoke", serial, "--because", "nobody asked for it")[0] == 0
    assert engine.is_revoked(serial)
    assert run("reconcile_ca")[0] == 0
    assert [alert.occurrences for alert in open_alerts("revoked_elsewhere")] == [1]


def test_vault_that_is_sealed_in_the_middle_leaves_what_was_found(
    portal: Portal, settings: Any, own_vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the second certificate was read."""
    access = VaultAccess(own_vault.address, own_vault.ca_file, own_vault.root_token)
    vault = connect(access)
    vault.sys.enable_secrets_engine("pki")
    engine = engine_of(settings, vault, access, "pki")
    serials = {engine.sign(f"unknown{number}.example.com") for number in range(4)}
    read, reads = VaultPKIClient.read, iter(range(100))

    def sealed_meanwhile(self: VaultPKIClient, serial: str) -> Entry | None:
        if next(reads) == 2:
            own_vault.seal()
        return read(self, serial)

    with monkeypatch.context() as patched:
        patched.setattr(VaultPKIClient, "read", sealed_meanwhile)
        code, answer = run("reconcile_ca")
    told = told_of(answer, "Vault-PKI")
    assert (code, told["listed"]) == (1, False)
    assert "is sealed or not initialised" in told["error"]
    assert len(told["found"]) == UnknownCertificate.objects.count()
    assert len(told["found"]) in (1, 2)  # one that was read may be the engine's own
    assert len(open_alerts("unknown_certificate")) == 1
    own_vault.unseal()
    _, answer = run("reconcile_ca")
    assert set(told_of(answer, "Vault-PKI")["found"]) == serials
    assert UnknownCertificate.objects.count() == 4


def test_certificate_that_is_tidied_away_while_it_is_read_is_passed_over(engine: Engine) -> None:
    client = get_ca_client("Vault-PKI")
    assert isinstance(client, VaultPKIClient)
    assert client.read("7f:ff") is None


# --- another portal, or whatever has the same API ---


@pytest.fixture
def elsewhere(portal: Portal, settings: Any) -> Iterator[Issuer]:
    """An issuer whose certificates come from over HTTP, and this portal itself as the one who serves their CRLs."""
    with served() as url:
        settings.PKI_BASE_URL = url
        client = {"CLIENT": "certs.ca.rest.RestCAClient", "OPTIONS": {"url": url, "token": portal.token()}}
        settings.CA_CLIENTS = {**settings.CA_CLIENTS, "Elsewhere": client}
        yield Issuer.objects.create(name="Elsewhere", slug="elsewhere", alias="Elsewhere", created_at=database_now())


def order_for(name: str) -> Order:
    key = ec.generate_private_key(ec.SECP256R1())
    csr, spki = build_csr(key, common_name=name, dns_names=(name,), ip_addresses=()), spki_der(key.public_key())
    return Order(f"req-{name}", csr, spki, spki_sha256(spki), name, (name,), (), "tls-server", 90, "v2.3", database_now())


def moved(certificates: list[Certificate], issuer: Issuer) -> None:
    """The inventory has them from that CA, as good; what their CA publishes stays as it is."""
    Revocation.objects.filter(certificate__in=certificates).delete()
    Certificate.objects.filter(pk__in=[one.pk for one in certificates]).update(issuer=issuer, status="good")
    IssuanceIntent.objects.all().delete()  # the CA's book is not in our house


@both_databases
def test_crl_of_a_rest_ca_tells_what_was_revoked_there(portal: Portal, elsewhere: Issuer) -> None:
    good, compromised, plain = issue(portal, 3)
    revoke(compromised, "keyCompromise")
    revoke(plain, "unspecified")
    publish_everything()
    moved([good, compromised, plain], elsewhere)
    code, answer = run("reconcile_ca")
    told = told_of(answer, "Elsewhere")
    assert (code, told["found"]) == (1, [])
    assert sorted(told["revoked"]) == sorted([compromised.cert_id, plain.cert_id])
    reasons = dict(Revocation.objects.values_list("certificate__cert_id", "reason"))
    assert reasons == {compromised.cert_id: "keyCompromise", plain.cert_id: "unspecified"}
    assert run("reconcile_ca")[0] == 0
    good.refresh_from_db()
    assert good.status == "good"


@both_databases
def test_crl_that_another_ca_signed_is_not_believed(portal: Portal, elsewhere: Issuer) -> None:
    (certificate,) = issue(portal, 1)
    revoke(certificate)
    issuer = publish_everything()
    assert issuer.parent is not None
    right = certificate.chain.pem
    moved([certificate], elsewhere)
    Chain.objects.update(pem=right[right.index("-----BEGIN", 10) :])  # as if the root had issued it: the CRL there is not the root's
    code, answer = run("reconcile_ca")
    Chain.objects.update(pem=right)
    assert (code, told_of(answer, "Elsewhere")["revoked"]) == (1, [])
    assert "is not signed by CN=Internal-CA-Prod Root" in told_of(answer, "Elsewhere")["error"]
    assert not Revocation.objects.exists()


@both_databases
def test_ca_whose_crl_cannot_be_had_is_said(portal: Portal, elsewhere: Issuer) -> None:
    (certificate,) = issue(portal, 1)  # and no CRL is published
    moved([certificate], elsewhere)
    code, answer = run("reconcile_ca")
    assert (code, told_of(answer, "Elsewhere")["listed"]) == (1, False)
    assert f"/pki/crl/{issuing_ca().slug}.crl cannot be had" in told_of(answer, "Elsewhere")["error"]


def ordered_there(*names: str) -> list[str]:
    """Orders of ours whose answers never came into the inventory; their serial numbers."""
    made = []
    for outcome in get_ca_client("Elsewhere").issue_many([order_for(name) for name in names]):
        assert isinstance(outcome, Issued)
        made.append(f"{serial_of(outcome.certificate_der):x}")
    return made


@both_databases
def test_rest_ca_tells_what_was_ordered_of_it(portal: Portal, elsewhere: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here knows these. They come in pages of two, and one was revoked there since."""
    monkeypatch.setattr("certs.ca.rest.PAGE", 2)
    publish_everything()
    issue(portal, 1, prefix="by-a-person")  # not over the API: none of another portal's business
    gone, *made = ordered_there(*[f"o{number}.example.com" for number in range(5)])
    revoke(Certificate.objects.get(serial_number=gone))
    for _ in range(2):
        code, answer = run("reconcile_ca")
        assert (code, sorted(told_of(answer, "Elsewhere")["found"])) == (1, sorted(made))
    (alert,) = open_alerts("unknown_certificate")
    assert alert.occurrences == 2
    code, answer = run("reconcile_ca", "--revoke", made[0], "--because", "nobody asked for it")
    assert (code, "has not done it yet" in answer["error"]) == (1, True)
    assert Certificate.objects.get(serial_number=made[0]).status == "revocation_pending"  # at that CA, which is this portal too
    process_revocations()
    assert run("reconcile_ca", "--revoke", made[0], "--because", "nobody asked for it")[0] == 0
    _, answer = run("reconcile_ca")
    assert sorted(told_of(answer, "Elsewhere")["found"]) == sorted(made[1:])


@both_databases
def test_list_that_never_ends_is_left(portal: Portal, elsewhere: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    (serial,) = ordered_there("o.example.com")
    page = RestCAClient.page
    monkeypatch.setattr(RestCAClient, "page", lambda self, after: (page(self, 0) or {}) | {"next": 7})
    assert told_of(run("reconcile_ca")[1], "Elsewhere")["found"] == [serial, serial]


@both_databases
def test_rest_ca_that_does_not_take_our_token_is_said(portal: Portal, elsewhere: Issuer, settings: Any) -> None:
    settings.CA_CLIENTS["Elsewhere"]["OPTIONS"]["token"] = "wrong"
    forget_clients()
    code, answer = run("reconcile_ca")
    assert code == 1
    assert "answered 401 when asked for a list" in told_of(answer, "Elsewhere")["error"]


@both_databases
def test_ca_that_cannot_be_asked_anything_says_so(portal: Portal, elsewhere: Issuer, settings: Any) -> None:
    settings.CA_CLIENTS["Elsewhere"]["OPTIONS"]["url"] += "/nothing"  # another implementation, which has no list
    forget_clients()
    code, answer = run("reconcile_ca")
    assert (code, told_of(answer, "Elsewhere")) == (
        0,
        {
            "issuer": "Elsewhere",
            "listed": False,
            "found": [],
            "revoked": [],
            "note": "This CA cannot list what it issued.",
        },
    )
