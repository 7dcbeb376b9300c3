"""What every CA client must do, run against each with the real CA behind it (for `rest`: this portal over real HTTP)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from audit.log import Actor
from certs.access.api_tokens import create_token
from certs.ca.base import CAClient, CAUnreachable, Issued, Lookup, NotDoneYet, NotSent, Order, RevocationOrder, Unknown
from certs.ca.local.client import LocalCAClient
from certs.ca.local.setup import ensure_own_ca
from certs.ca.rest import RestCAClient
from certs.ca.vault_pki import VaultPKIClient
from certs.enums import RevocationReason
from certs.errors import NotFound, SignerMismatch
from certs.issuance.verify import verify_result
from certs.models import Domain, Issuer, Team
from certs.revocation.deliver import process_revocations
from certs.spec import end_of_day
from certs.x509.asn1.pem import serial_of
from certs.x509.csr.build import build_csr
from db.clock import database_now
from keys.spec import KeySpec, spki_der, spki_sha256
from policy.drafting import draft_version
from policy.models import Profile
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from tests.cast import person
from tests.portal.elsewhere import pki_engine
from tests.twins.ca import TwinCAClient

pytestmark = pytest.mark.django_db(transaction=True)
SYSTEM = Actor("system", "test")


@dataclass
class Subject:
    """A client under test, and how to make it unreachable."""

    client: CAClient
    unreachable: CAClient


@pytest.fixture
def portal(settings: Any) -> Team:
    settings.CA_CLIENTS = {"Internal-CA-Prod": {"CLIENT": "certs.ca.local.LocalCAClient", "OPTIONS": {}}}
    now = database_now()
    publish_version(draft_version("default", DEFAULT_V2_3, actor=SYSTEM, now=now), actor=SYSTEM, now=now)
    Profile.objects.create(name="tls-server", ekus=["serverAuth"])
    team = Team.objects.create(slug="web", name="Web", default_domain="example.com")
    Domain.objects.create(name="example.com", team=team)
    ensure_own_ca(name="Internal-CA-Prod", spec=KeySpec.EC_P256, actor=SYSTEM, tell=lambda _line: None)
    return team


def _local(request: pytest.FixtureRequest) -> Subject:
    request.getfixturevalue("portal")
    return Subject(LocalCAClient("Internal-CA-Prod"), LocalCAClient("no-such-ca"))


def _rest(request: pytest.FixtureRequest) -> Subject:
    """This portal is the CA: the same API that it serves to others, on a real socket."""
    team, settings, server = (request.getfixturevalue(name) for name in ("portal", "settings", "live_server"))
    settings.PKI_CA_API_INLINE = True
    user = person("other-portal", team=team)
    scopes = ["certificates:issue", "certificates:read", "certificates:revoke"]
    _, secret = create_token(user=user, team=team, name="other portal", scopes=scopes, actor=SYSTEM)
    return Subject(RestCAClient("upstream", url=server.url, token=secret), RestCAClient("upstream", url="http://127.0.0.1:9", token=secret))


def _vault_pki(request: pytest.FixtureRequest) -> Subject:
    access, vault, mount = (
        request.getfixturevalue("vault_access"),
        request.getfixturevalue("vault_client"),
        request.getfixturevalue("vault_mount")("pki"),
    )
    options = pki_engine(vault, access, mount)
    return Subject(
        VaultPKIClient("vault-pki", url=access.address, **options), VaultPKIClient("vault-pki", url="https://127.0.0.1:9", **options)
    )


def _twin(_request: pytest.FixtureRequest) -> Subject:
    gone = TwinCAClient("gone")
    gone.reachable = False
    return Subject(TwinCAClient("twin"), gone)


KINDS: dict[str, Callable[[pytest.FixtureRequest], Subject]] = {"local": _local, "rest": _rest, "vault_pki": _vault_pki, "twin": _twin}


@pytest.fixture(params=KINDS)
def subject(request: pytest.FixtureRequest) -> Subject:
    return KINDS[request.param](request)


@pytest.fixture
def make_order() -> Callable[..., Order]:
    def make(*names: str, days: int = 90) -> Order:
        names = names or (f"a{uuid.uuid4().hex[:8]}.example.com",)
        key = ec.generate_private_key(ec.SECP256R1())
        spki = spki_der(key.public_key())
        csr = build_csr(key, common_name=names[0], dns_names=names, ip_addresses=())
        return Order(
            f"req-{uuid.uuid4().hex}", csr, spki, spki_sha256(spki), names[0], names, (), "tls-server", days, "v2.3", database_now()
        )

    return make


def issuer_of(client: CAClient) -> Issuer:
    return Issuer(name=client.alias, slug=client.alias, alias=client.alias, trust_anchor_der=client.chain()[-1])


def test_issued_certificate_is_the_one_ordered(subject: Subject, make_order: Callable[..., Order]) -> None:
    order = make_order("one.example.com", "two.example.com")
    (outcome,) = subject.client.issue_many([order])
    assert isinstance(outcome, Issued)
    facts = verify_result(outcome, order, issuer_of(subject.client), now=database_now()).facts
    assert (facts.dns_names, facts.spki_sha256) == (order.dns_names, order.spki_sha256)
    assert timedelta(days=90) <= facts.not_after - facts.not_before + timedelta(minutes=1) <= timedelta(days=90, minutes=10)


def test_named_end_date_is_the_last_day_of_the_certificate(subject: Subject, make_order: Callable[..., Order]) -> None:
    """D1: whatever the CA does with days, a named date is met to the second."""
    end = database_now().date() + timedelta(days=20)
    order = make_order()._replace(validity_days=None, not_after=end, longest_days=397)
    (outcome,) = subject.client.issue_many([order])
    assert isinstance(outcome, Issued)
    assert verify_result(outcome, order, issuer_of(subject.client), now=database_now()).facts.not_after == end_of_day(end)


def test_end_date_at_the_edge_of_the_policy_is_shortened_and_accepted(subject: Subject, make_order: Callable[..., Order]) -> None:
    """D1: the last day that the policy allows may end hours after its maximum; the certificate does not."""
    end = database_now().date() + timedelta(days=20)
    order = make_order()._replace(validity_days=None, not_after=end, longest_days=20)
    (outcome,) = subject.client.issue_many([order])
    assert isinstance(outcome, Issued)
    facts = verify_result(outcome, order, issuer_of(subject.client), now=database_now()).facts
    assert timedelta(days=18) < facts.not_after - facts.not_before <= timedelta(days=20, minutes=10)
    assert facts.not_after <= end_of_day(end)


def test_certificate_beyond_the_named_end_date_is_refused(subject: Subject, make_order: Callable[..., Order]) -> None:
    """D1: verification compares the end with the date that was ordered."""
    order = make_order(days=30)
    (outcome,) = subject.client.issue_many([order])
    assert isinstance(outcome, Issued)
    dated = order._replace(validity_days=None, not_after=database_now().date() + timedelta(days=20))
    with pytest.raises(SignerMismatch, match=r"it ends at .* after the .* ordered"):
        verify_result(outcome, dated, issuer_of(subject.client), now=database_now())


def test_batch_answers_each_order_in_its_place(subject: Subject, make_order: Callable[..., Order]) -> None:
    orders = [make_order() for _ in range(5)]
    outcomes = subject.client.issue_many(orders)
    assert [outcome.order_ref for outcome in outcomes] == [order.order_ref for order in orders]
    for order, outcome in zip(orders, outcomes, strict=True):
        assert isinstance(outcome, Issued)
        verify_result(outcome, order, issuer_of(subject.client), now=database_now())


def test_order_sent_twice_is_one_certificate_or_found_before(subject: Subject, make_order: Callable[..., Order]) -> None:
    order = make_order()
    (first,) = subject.client.issue_many([order])
    assert isinstance(first, Issued)
    found = subject.client.find(order)
    assert isinstance(found, Issued)
    assert found.certificate_der == first.certificate_der
    if subject.client.capabilities.lookup is Lookup.BY_ORDER_REF:
        (again,) = subject.client.issue_many([order])
        assert again == first


def test_find_of_an_order_that_never_arrived_is_none(subject: Subject, make_order: Callable[..., Order]) -> None:
    subject.client.issue_many([make_order()])
    assert subject.client.find(make_order()) is None


def test_find_does_not_take_anothers_certificate_for_the_same_name(subject: Subject, make_order: Callable[..., Order]) -> None:
    theirs = make_order("same.example.com")
    subject.client.issue_many([theirs])
    assert subject.client.find(make_order("same.example.com")) is None


def test_revoked_certificate_is_not_handed_out_for_its_order_by_the_own_ca(portal: Team, make_order: Callable[..., Order]) -> None:
    """As when a late answer was revoked because its request had failed, and the request is resumed."""
    client, order = LocalCAClient("Internal-CA-Prod"), make_order()
    (first,) = client.issue_many([order])
    assert isinstance(first, Issued)
    serial = serial_of(first.certificate_der)
    assert serial is not None
    client.revoke(RevocationOrder(serial, RevocationReason.SUPERSEDED, database_now(), first.certificate_der))
    assert client.find(order) is None
    (again,) = client.issue_many([order])
    assert isinstance(again, Issued)
    assert serial_of(again.certificate_der) != serial
    assert client.find(order) == again


def revoke(client: CAClient, order: RevocationOrder) -> None:
    """Revoke. Where this portal is the CA, its own CA must have heard of it before the client says that it is done."""
    if isinstance(client, RestCAClient):
        with pytest.raises(NotDoneYet, match="has not done it yet"):
            client.revoke(order)
        process_revocations()
    client.revoke(order)


def test_revoke_twice_is_success_and_unknown_serial_is_not_found(subject: Subject, make_order: Callable[..., Order]) -> None:
    (outcome,) = subject.client.issue_many([make_order()])
    assert isinstance(outcome, Issued)
    serial = serial_of(outcome.certificate_der)
    assert serial is not None
    revocation = RevocationOrder(serial, RevocationReason.SUPERSEDED, database_now(), outcome.certificate_der)
    revoke(subject.client, revocation)
    subject.client.revoke(revocation)
    with pytest.raises(NotFound):
        subject.client.revoke(replace(revocation, serial_number=serial ^ (1 << 100)))


def test_hold_is_taken_back_and_again_is_success(subject: Subject, make_order: Callable[..., Order]) -> None:
    (outcome,) = subject.client.issue_many([make_order()])
    assert isinstance(outcome, Issued)
    serial = serial_of(outcome.certificate_der)
    assert serial is not None
    if not subject.client.capabilities.holds:
        with pytest.raises(NotImplementedError):
            subject.client.release(serial)
        return
    revoke(subject.client, RevocationOrder(serial, RevocationReason.CERTIFICATE_HOLD, database_now(), outcome.certificate_der))
    if isinstance(subject.client, RestCAClient):
        with pytest.raises(NotDoneYet, match="has not done it yet"):
            subject.client.release(serial)
        process_revocations()
    subject.client.release(serial)
    subject.client.release(serial)
    with pytest.raises(NotFound):
        subject.client.release(serial ^ (1 << 100))


def test_certificate_that_nobody_recorded_is_listed_where_the_ca_can_list(subject: Subject, make_order: Callable[..., Order]) -> None:
    (outcome,) = subject.client.issue_many([make_order()])
    assert isinstance(outcome, Issued)
    listed = subject.client.unknown_certificates()
    if isinstance(subject.client, LocalCAClient | VaultPKIClient | RestCAClient):
        assert listed is not None
        assert list(listed) == [outcome.certificate_der]
        serial = serial_of(outcome.certificate_der)
        assert serial is not None
        revoke(subject.client, RevocationOrder(serial, RevocationReason.SUPERSEDED, database_now(), outcome.certificate_der))
        assert list(subject.client.unknown_certificates() or ()) == []
    else:
        assert listed is None


def test_list_of_a_ca_that_cannot_be_reached_is_an_error(request: pytest.FixtureRequest) -> None:
    with pytest.raises(CAUnreachable):
        list(_vault_pki(request).unreachable.unknown_certificates() or ())


def test_chain_leads_from_the_issuing_ca_to_a_root(subject: Subject) -> None:
    chain = [x509.load_der_x509_certificate(der) for der in subject.client.chain()]
    assert chain[-1].issuer == chain[-1].subject
    for below, above in pairwise(chain):
        below.verify_directly_issued_by(above)


def test_client_that_answers_is_available(subject: Subject) -> None:
    assert subject.client.is_working() is True


def test_unreachable_ca_is_not_sent_and_a_look_up_says_so(subject: Subject, make_order: Callable[..., Order]) -> None:
    order = make_order()
    (outcome,) = subject.unreachable.issue_many([order])
    assert isinstance(outcome, NotSent)
    assert subject.unreachable.is_working() is False
    if not isinstance(subject.unreachable, LocalCAClient):
        with pytest.raises(CAUnreachable):
            subject.unreachable.find(order)


def test_lost_answer_of_a_ca_that_only_lists_is_adopted_and_its_double_revoked(
    request: pytest.FixtureRequest, make_order: Callable[..., Order]
) -> None:
    client = _vault_pki(request).client
    order = make_order()
    for _ in range(2):  # the engine signs the same CSR twice: this is what a blind retry would leave behind
        (outcome,) = client.issue_many([order])
        assert isinstance(outcome, Issued)
    first = client.find(order)
    assert isinstance(first, Issued)
    assert client.find(order) == first
    assert len(list(client.unknown_certificates() or ())) == 1


def test_find_many_answers_each_order_in_its_place(subject: Subject, make_order: Callable[..., Order]) -> None:
    """F7, K5."""
    signed, never = [make_order() for _ in range(3)], make_order()
    outcomes = subject.client.issue_many(signed)
    calls: list[int] = []
    asked = [signed[2], never, signed[0]]
    found = subject.client.find_many(asked, between=lambda: calls.append(1))
    assert [one.certificate_der if isinstance(one, Issued) else one for one in found] == [
        outcomes[2].certificate_der if isinstance(outcomes[2], Issued) else "",
        None,
        outcomes[0].certificate_der if isinstance(outcomes[0], Issued) else "",
    ]
    assert calls  # else no lease could be renewed


def test_look_ups_at_a_ca_that_does_not_answer_cost_one_time_out(subject: Subject, make_order: Callable[..., Order]) -> None:
    """K3: a hundred look-ups were a hundred time-outs."""
    if isinstance(subject.unreachable, LocalCAClient):
        return  # its book is in the portal's own database: it cannot fall silent
    calls: list[int] = []
    orders = [make_order() for _ in range(5)]
    found = subject.unreachable.find_many(orders, between=lambda: calls.append(1))
    assert all(isinstance(one, Unknown) and not one.answered for one in found)
    assert len(calls) == 1
