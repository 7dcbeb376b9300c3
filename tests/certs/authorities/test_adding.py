"""Adding a CA: this portal's own REST API, over real HTTP, is the CA that is added."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from django.test import Client
from django.urls import reverse

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.authorities import trial
from certs.authorities.adding import begin_addition, compare_root, give_up, go_live, try_again
from certs.ca.registry import forget_clients, get_ca_client, is_remote
from certs.errors import Conflict, InputRefused, NotPermitted
from certs.models import ApiToken, CAAddition, Certificate, Issuer, OutgoingMail, RateCounter, UnknownCertificate
from certs.x509.certificate.verify import chain_problems
from certs.x509.csr.build import build_csr
from db.clock import database_now
from tests.cast import person
from tests.portal.authority import issuing_ca, publish_everything, served
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
State = CAAddition.State


@pytest.fixture
def token(portal: Portal, settings: Any, tmp_path: Path) -> Iterator[str]:
    """The credential of the CA in its file; certificates of the CA name a CRL that is served."""
    secret = portal.token()
    (tmp_path / "branch").write_text(f"{secret}\n")
    settings.PKI_CA_CREDENTIALS = str(tmp_path)
    forget_clients()
    with served() as address:
        settings.PKI_BASE_URL = address
        publish_everything()
        yield secret
    forget_clients()


def given(live_server: Any, **changed: str) -> dict[str, str]:
    fields = {"kind": "rest", "name": "Branch-CA", "address": live_server.url, "credential": "branch", "test_name": "ca-test.example.com"}
    return fields | changed


def officer(portal: Portal) -> Authority:
    return Authority(Actor("user", "carol"), portal.carol)


def test_credential_of_one_ca_is_sent_to_no_other_address(portal: Portal, token: str, live_server: Any) -> None:
    """One officer could have it sent to a server of their own; that the addition was given up changes nothing."""
    first = begin_addition(given(live_server), authority=officer(portal))
    wanted = given(live_server, name="Other-CA", address="https://evil.example")
    for _ in range(2):
        with pytest.raises(InputRefused, match="sent nowhere else") as refused:
            begin_addition(wanted, authority=officer(portal))
        assert refused.value.field == "credential"
        first.refresh_from_db()
        if first.state != State.GIVEN_UP:
            give_up(first, authority=officer(portal))
    assert CAAddition.objects.count() == 1


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254",
        "http://metadata.google.internal",
        "http://10.0.0.5",
        "http://localhost.evil.example",
        "http://127.0.0.1@evil.example",
        "https://user:pw@ca.example.com",
        "https://ca.example.com/?next=http://169.254.169.254",
        "https://ca.example.com#@evil.example",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379",
        "http://[::ffff:169.254.169.254]",
        "https://169.254.169.254",
        "https://[::ffff:169.254.169.254]",
        "https://[fd00:ec2::254]/",
        "https://0.0.0.0",
        "https://ca.example.com:0",
    ],
)
def test_no_address_leads_a_worker_to_where_only_it_can_go(portal: Portal, live_server: Any, address: str) -> None:
    """Metadata services speak plain http, which is for this machine only; redirects are not followed (`certs.ca.rest`)."""
    with pytest.raises(InputRefused) as refused:
        begin_addition(given(live_server, address=address), authority=officer(portal))
    assert refused.value.field == "address"


def second_officer() -> Authority:
    return Authority(Actor("user", "dora"), person("dora", "security officer", email="dora@example.com"))


def fingerprint() -> str:
    return x509.load_der_x509_certificate(bytes(issuing_ca().trust_anchor_der or b"")).fingerprint(SHA256()).hex(":").upper()


def connected(portal: Portal, live_server: Any) -> CAAddition:
    addition = begin_addition(given(live_server), authority=officer(portal))
    trial.connect_ca(addition.pk)  # a worker, where there is one, may have been first
    return at_step(addition, State.COMPARING)


def at_step(addition: CAAddition, state: str) -> CAAddition:
    """Wait for the worker, and return the row at that step."""
    deadline = time.monotonic() + 30
    while True:
        addition.refresh_from_db()
        if addition.state == state:
            return addition
        assert not addition.problem
        assert time.monotonic() < deadline, addition.state
        time.sleep(0.1)


@pytest.mark.usefixtures("worker")
def test_a_ca_is_compared_tested_and_taken_live_by_a_second_person(portal: Portal, live_server: Any, token: str) -> None:
    addition = connected(portal, live_server)
    compare_root(addition, fingerprint(), authority=officer(portal))
    assert not Issuer.objects.filter(name="Branch-CA").exists()
    at_step(addition, State.READY)
    assert "Found it on the CRL" in addition.test_steps[-2]
    assert addition.test_steps[-1].endswith(f"/pki/ocsp/{issuing_ca().slug} says revoked.")
    assert Certificate.objects.get(common_name="ca-test.example.com").status == "revoked"
    with pytest.raises(NotPermitted, match="second person"):
        go_live(addition, confirmation="Branch-CA", authority=officer(portal))
    dora = second_officer()
    pages = []
    for who in (portal.carol, dora.user):
        client = Client()
        client.force_login(who)
        pages.append(client.get(reverse("ca-addition", args=[addition.public_id])).content.decode())
    assert [('name="confirmation"' in one, "inbox of the others" in one) for one in pages] == [(False, True), (True, False)]
    with pytest.raises(InputRefused):
        go_live(addition, confirmation="branch-ca", authority=dora)
    issuer = go_live(addition, confirmation="Branch-CA", authority=dora)
    assert bytes(issuer.trust_anchor_der or b"") == bytes(issuing_ca().trust_anchor_der or b"")
    assert get_ca_client("Branch-CA").is_working()
    assert is_remote("Branch-CA")
    events = list(AuditEvent.objects.filter(subject="issuer:branch-ca").order_by("pk").values_list("event", flat=True))
    assert events == ["issuer:addition_begun", "issuer:addition_root_compared", "issuer:addition_tested", "issuer:created"]
    assert OutgoingMail.objects.filter(subject__contains="Branch-CA is in use").exists()
    assert UnknownCertificate.objects.get(issuer=issuer).settled_at is not None
    for row in CAAddition.objects.values():
        assert token not in str(row)


@pytest.mark.usefixtures("worker")
def test_a_test_that_broke_off_orders_the_same_certificate_again(portal: Portal, live_server: Any, token: str) -> None:
    """One certificate, however often the step is tried, and the step is found again."""
    addition = connected(portal, live_server)
    compare_root(addition, fingerprint().replace(":", "").lower(), authority=officer(portal))
    at_step(addition, State.READY)
    CAAddition.objects.filter(pk=addition.pk).update(state=State.TESTING, working_until=None)
    assert trial.test_ca(addition.pk)
    assert Certificate.objects.filter(common_name="ca-test.example.com").count() == 1


@pytest.mark.usefixtures("worker")
def test_a_test_tried_again_after_its_certificate_ended_orders_a_new_one(portal: Portal, live_server: Any, token: str) -> None:
    """A CRL need not list a certificate that ended: the step would never be found done."""
    addition = connected(portal, live_server)
    compare_root(addition, fingerprint(), authority=officer(portal))
    first = at_step(addition, State.READY).csr_der
    CAAddition.objects.filter(pk=addition.pk).update(state=State.TESTING, test_der=ended_certificate())
    assert trial.test_ca(addition.pk)
    addition.refresh_from_db()
    assert bytes(addition.csr_der) != bytes(first)
    assert list(Certificate.objects.filter(common_name="ca-test.example.com").values_list("status", flat=True)) == ["revoked"] * 2


def credential_with(portal: Portal, folder: Path, *scopes: str) -> None:
    """Give the CA's workers a new credential, and end those before."""
    ApiToken.objects.update(revoked_at=database_now())
    (folder / "branch").write_text(portal.token(*scopes))
    forget_clients()


def tried_once(addition: CAAddition) -> CAAddition:
    """Run the test once, without the first step."""
    CAAddition.objects.filter(pk=addition.pk).update(state=State.TESTING, working_until=None)
    trial.test_ca(addition.pk)
    addition.refresh_from_db()
    return addition


def status_of_test() -> str:
    return Certificate.objects.get(common_name="ca-test.example.com").status


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("died", [False, True])
def test_a_test_certificate_that_was_left_valid_is_revoked(
    portal: Portal, live_server: Any, token: str, tmp_path: Path, died: bool
) -> None:
    """`died`: the worker was killed between the CA's signature and its own note of it. Then a person gives up."""
    addition = connected(portal, live_server)
    credential_with(portal, tmp_path, "certificates:read", "certificates:issue")
    assert "revocation" in tried_once(addition).problem
    assert (status_of_test(), addition.test_settled_at) == ("good", None)
    credential_with(portal, tmp_path)
    if died:
        CAAddition.objects.filter(pk=addition.pk).update(test_der=b"")
    give_up(addition, authority=officer(portal))
    RateCounter.objects.all().delete()  # as minutes later
    trial.revoke_left_test(addition.pk)  # the worker may have been first
    deadline = time.monotonic() + 30
    while trial.left_tests() or addition.test_settled_at is None:
        assert time.monotonic() < deadline
        addition.refresh_from_db()
        time.sleep(0.1)
    assert status_of_test() in ("revocation_pending", "revoked")


@pytest.mark.usefixtures("worker")
def test_a_test_certificate_other_than_the_one_ordered_is_revoked_too(portal: Portal, live_server: Any, token: str) -> None:
    addition = connected(portal, live_server)
    key = ec.generate_private_key(ec.SECP256R1())
    other = build_csr(key, common_name="else.example.com", dns_names=("else.example.com",), ip_addresses=())
    CAAddition.objects.filter(pk=addition.pk).update(csr_der=other)
    assert "else.example.com" in tried_once(addition).problem
    assert Certificate.objects.get(common_name="else.example.com").status in ("revocation_pending", "revoked")
    assert addition.state == State.TESTING


def ended_certificate() -> bytes:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1).not_valid_before(database_now() - timedelta(days=2))
    return builder.not_valid_after(database_now() - timedelta(days=1)).sign(key, SHA256()).public_bytes(Encoding.DER)


def test_the_fingerprint_is_not_shown_before_it_is_compared(portal: Portal, live_server: Any, token: str) -> None:
    """And five that do not fit end it: nobody tries until one fits."""
    addition = connected(portal, live_server)
    client = Client()
    client.force_login(portal.carol)
    page = reverse("ca-addition", args=[addition.public_id])
    shown = client.get(page).content.decode()
    plain = fingerprint().replace(":", "").lower()
    assert plain not in shown
    assert fingerprint() not in shown
    compare = reverse("ca-addition-act", args=[addition.public_id, "compare"])
    assert client.post(compare, {"fingerprint": "nonsense"}).status_code == 422
    other = "00" * 32
    for _ in range(4):
        answer = client.post(compare, {"fingerprint": other})
        assert answer.status_code == 422
        assert f'value="{other}"' in answer.content.decode()
    client.post(compare, {"fingerprint": other})
    addition.refresh_from_db()
    assert addition.state == State.GIVEN_UP
    with pytest.raises(Conflict):
        compare_root(addition, plain, authority=officer(portal))


def test_a_ca_that_cannot_be_reached_is_a_step_to_try_again(portal: Portal, live_server: Any, token: str) -> None:
    addition = begin_addition(given(live_server, address="http://127.0.0.1:9"), authority=officer(portal))
    assert not trial.connect_ca(addition.pk)
    addition.refresh_from_db()
    assert addition.state == State.CONNECTING
    assert addition.problem
    try_again(addition, authority=officer(portal))
    with pytest.raises(Conflict, match="at it"):
        try_again(addition, authority=officer(portal))


def test_a_missing_credential_names_its_file_and_no_secret(portal: Portal, live_server: Any, token: str) -> None:
    addition = begin_addition(given(live_server, credential="elsewhere"), authority=officer(portal))
    assert not trial.connect_ca(addition.pk)
    addition.refresh_from_db()
    assert "elsewhere" in addition.problem


def test_given_up_leaves_nothing_and_the_name_can_be_used_again(portal: Portal, live_server: Any, token: str) -> None:
    addition = connected(portal, live_server)
    give_up(addition, authority=officer(portal))
    assert not trial.connect_ca(addition.pk)
    assert not Issuer.objects.filter(name="Branch-CA").exists()
    again = begin_addition(given(live_server), authority=officer(portal))
    with pytest.raises(InputRefused, match="being added"):
        begin_addition(given(live_server), authority=officer(portal))
    assert again.state == State.CONNECTING


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"kind": "acme"}, "kind"),
        ({"name": ""}, "name"),
        ({"name": "Internal-CA-Prod"}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": "<b>CA</b>"}, "name"),
        ({"address": "ftp://ca.example.com"}, "address"),
        ({"address": "https://user:pw@ca.example.com"}, "address"),
        ({"address": "http://ca.example.com"}, "address"),
        ({"address": "https://["}, "address"),
        ({"address": "https://ca.example.com:99999"}, "address"),
        ({"credential": "../../etc/passwd"}, "credential"),
        ({"credential": ""}, "credential"),
        ({"credential": ".hidden"}, "credential"),
        ({"test_name": "*.example.com"}, "test_name"),
        ({"test_name": "not a name"}, "test_name"),
        ({"kind": "vault_pki", "mount": "../sys", "role": "r"}, "mount"),
        ({"kind": "vault_pki", "mount": "pki", "role": ""}, "role"),
        ({"kind": "configured", "name": "Internal-CA-Prod"}, "name"),
    ],
)
def test_nonsense_is_refused_at_its_field_and_nothing_is_stored(
    portal: Portal, live_server: Any, changed: dict[str, str], field: str
) -> None:
    with pytest.raises(InputRefused) as refused:
        begin_addition(given(live_server, **changed), authority=officer(portal))
    assert refused.value.field == field
    assert refused.value.next_step
    assert not CAAddition.objects.exists()


def test_a_chain_is_judged_before_it_is_trusted(portal: Portal) -> None:
    """RFC 5280 6.1: it ends in a self-issued root, each link is a CA, and is valid now."""
    issuer = issuing_ca()
    assert issuer.parent is not None
    own, root = bytes(issuer.certificate_der or b""), bytes(issuer.parent.certificate_der or b"")
    now = database_now()
    assert chain_problems((own, root), now=now) == []
    assert "self-issued" in "; ".join(chain_problems((own,), now=now))
    assert chain_problems((root, own), now=now)
    assert "not valid now" in "; ".join(chain_problems((own, root), now=now.replace(year=now.year + 30)))
    assert chain_problems((), now=now) == ["the chain cannot be read"]
    assert chain_problems((b"nonsense",), now=now) == ["the chain cannot be read"]
