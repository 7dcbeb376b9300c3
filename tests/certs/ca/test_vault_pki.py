"""Vault's PKI engine as CA: look-ups that list once, roles that are wrong, rights that are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings

from certs.ca import rest
from certs.ca.base import CAUnreachable, Issued, NotSent, Order, RevocationOrder, Unknown
from certs.ca.known import known_serials
from certs.ca.vault_pki import VaultPKIClient
from certs.enums import RevocationReason
from certs.models import QuarantinedCertificate
from certs.requests.submit import Requester, submit_many
from certs.x509.asn1.pem import serial_of
from db.clock import database_now
from keys.backends import vault_session
from tests.certs.requests.test_outcomes import MakeSpec
from tests.contracts.test_ca_client import make_order
from tests.faults.wire import Fault, Wire, wired
from tests.keys.backends.test_vault_policies import Mounts, mounts
from tests.portal.elsewhere import ROLE, pki_engine

__all__ = ["make_order", "mounts"]  # fixtures
pytestmark = pytest.mark.django_db(transaction=True)
MakeOrder = Callable[..., Order]


@pytest.fixture
def engine(vault_client: Any, vault_access: Any, vault_mount: Callable[[str], str]) -> dict[str, Any]:
    return pki_engine(vault_client, vault_access, vault_mount("pki"))


def serial(outcome: Any) -> str:
    assert isinstance(outcome, Issued)
    return f"{serial_of(outcome.certificate_der):x}"


def test_look_up_lists_once_and_reads_each_unknown_serial_once(engine: dict[str, Any], vault_access: Any, make_order: MakeOrder) -> None:
    """K5, F7: the whole mount was listed, and every unknown certificate read, for every order."""
    with wired(vault_access.address, ca_file=engine["ca_cert"]) as wire:
        client = VaultPKIClient("vault-pki", url=wire.url, **engine)
        orders = [make_order() for _ in range(6)]
        client.issue_many(orders)
        wire.calls.clear()
        found = client.find_many([*orders, make_order()])
        assert [one.order_ref for one in found[:6] if isinstance(one, Issued)] == [o.order_ref for o in orders]
        assert found[6] is None
        assert wire.count("GET", "/certs") == 1
        first_reads = wire.count("GET", "/cert/")
        assert first_reads <= 6 + 6 + 3  # each once, each match again, the chain
        wire.calls.clear()
        client.find_many([make_order()])
        assert (wire.count("GET", "/certs"), wire.count("GET", "/cert/")) == (1, 0)


def test_orders_between_two_renewals_of_the_lease_end_within_it() -> None:
    """An external call starts only if its time-out is shorter than what is left of the lease.

    The lease is renewed when a quarter of it is over. Orders at Vault are sent one after the other, those at a REST API side by side.
    """
    left = settings.PKI_ATTEMPT_LEASE_SECONDS * 3 / 4
    assert VaultPKIClient.capabilities.batch_size * vault_session.TOTAL_TIMEOUT < left
    assert left > rest.TOTAL_TIMEOUT


def test_match_that_was_revoked_since_it_was_read_is_not_adopted(
    engine: dict[str, Any], vault_access: Any, make_order: MakeOrder, vault_client: Any
) -> None:
    client, order = VaultPKIClient("vault-pki", url=vault_access.address, **engine), make_order()
    (outcome,) = client.issue_many([order])
    assert client.find(order) == outcome
    number = serial_of(outcome.certificate_der) if isinstance(outcome, Issued) else None
    assert number is not None
    text = number.to_bytes((number.bit_length() + 7) // 8, "big").hex(":")
    vault_client.secrets.pki.revoke_certificate(text, mount_point=engine["mount"])
    assert client.find(order) is None


def test_serial_of_another_ca_hides_nothing(
    engine: dict[str, Any],
    vault_access: Any,
    make_order: MakeOrder,
    twin_portal: Requester,
    make_spec: MakeSpec,
) -> None:
    """K5: serial numbers were compared with those of all CAs."""
    client, order = VaultPKIClient("vault-pki", url=vault_access.address, **engine), make_order()
    (outcome,) = client.issue_many([order])
    (request,) = submit_many([make_spec()], requester=twin_portal)
    QuarantinedCertificate.objects.create(
        request=request,
        issuer=request.issuer,
        order_ref="x",
        der=b"",
        serial_number=serial(outcome),
        reasons=[],
        received_at=database_now(),
    )
    assert client.find(order) == outcome
    assert known_serials("Twin-CA", [serial(outcome), "1"]) == {serial(outcome)}


@pytest.mark.parametrize("bad", [{"no_store": True}, {"use_csr_sans": True}, {"use_csr_common_name": True}])
def test_wrong_role_is_a_configuration_error_that_waits_and_goes_on(
    bad: dict[str, bool], engine: dict[str, Any], vault_access: Any, vault_client: Any, make_order: MakeOrder
) -> None:
    """K4: it ended as "the worker was lost 3 times"."""
    client, order = VaultPKIClient("vault-pki", url=vault_access.address, **engine), make_order()
    good = vault_client.secrets.pki.read_role(ROLE, mount_point=engine["mount"])["data"]
    vault_client.secrets.pki.create_or_update_role(ROLE, good | bad, mount_point=engine["mount"])
    (outcome,) = client.issue_many([order])
    assert isinstance(outcome, NotSent)
    assert f"must be written with {next(iter(bad))}=false" in outcome.message
    assert client.is_working() is False
    vault_client.secrets.pki.create_or_update_role(ROLE, good, mount_point=engine["mount"])
    assert client.is_working() is True  # without a restart
    assert isinstance(client.issue_many([order])[0], Issued)


def test_role_that_does_not_exist_waits(engine: dict[str, Any], vault_access: Any, make_order: MakeOrder) -> None:
    """K4."""
    client = VaultPKIClient("vault-pki", url=vault_access.address, **engine | {"role": "no-such-role"})
    assert isinstance(client.issue_many([make_order()])[0], NotSent)
    assert client.is_working() is False


def test_rights_that_are_gone_hold_the_order_and_are_seen_by_the_probe(mounts: Mounts, make_order: MakeOrder) -> None:
    """F4: a 403 of a living token made the order fail permanently; K1: the probe saw a healthy Vault."""
    engine = pki_engine(mounts.vault, mounts.access, mounts.pki) | {"token": ""}
    client = VaultPKIClient("vault-pki", url=mounts.access.address, **engine, **mounts.login("pki"))
    assert client.is_working() is True
    name = f"pki-{mounts.mark}"
    gone = mounts.policy("pki").replace(f'path "{mounts.pki}/sign/portal"', 'path "elsewhere"')
    mounts.vault.sys.create_or_update_policy(name, gone)
    (outcome,) = client.issue_many([make_order()])
    assert isinstance(outcome, NotSent)
    assert "policy" in outcome.message
    assert client.is_working() is False
    mounts.vault.sys.create_or_update_policy(name, mounts.policy("pki"))
    assert client.is_working() is True
    assert isinstance(client.issue_many([make_order()])[0], Issued)


BODIES = [b"<html>", b"{}", b"[]", b'{"data": null}', b'{"data": {}}', b'{"data": {"keys": 1, "certificate": 1}}']


@pytest.fixture
def wire(engine: dict[str, Any], vault_access: Any) -> Iterator[Wire]:
    with wired(vault_access.address, ca_file=engine["ca_cert"]) as wire:
        yield wire


def client_behind(wire: Wire, engine: dict[str, Any]) -> VaultPKIClient:
    """A client of the CA that is logged in already and has read nothing else."""
    client = VaultPKIClient("vault-pki", url=wire.url, **engine)
    client.read("7f:ff")
    return client


def answering(wire: Wire, part: str, body: bytes) -> None:
    wire.decide = lambda _method, path: Fault(body=body) if part in path else None


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(("part", "outcome"), [("/roles/", NotSent), ("/ca_chain", NotSent), ("/sign/", Unknown)])
def test_reply_that_cannot_be_read_decides_nothing_about_an_order(
    part: str, outcome: type, body: bytes, engine: dict[str, Any], wire: Wire, make_order: MakeOrder
) -> None:
    """What a gateway before the engine says instead. A signature may have been made behind it, so it is looked up."""
    client = client_behind(wire, engine)
    answering(wire, part, body)
    (told,) = client.issue_many([make_order()])
    assert type(told) is outcome
    if part == "/roles/":
        assert client.is_working() is False


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("part", ["/certs", "/cert/"])
def test_list_that_cannot_be_read_is_not_an_empty_list(
    part: str, body: bytes, engine: dict[str, Any], wire: Wire, make_order: MakeOrder
) -> None:
    """An order that "is not there" would be signed once more."""
    order, revoked = make_order(), make_order()
    other = VaultPKIClient("vault-pki", url=wire.url, **engine)
    other.issue_many([order])
    number = int(serial(other.issue_many([revoked])[0]), 16)
    other.revoke(RevocationOrder(number, RevocationReason.UNSPECIFIED, database_now()))  # an empty list is a 404, whatever else is said
    client = client_behind(wire, engine)
    answering(wire, part, body)
    with pytest.raises(CAUnreachable, match="unreadable"):
        client.find(order)
    (found,) = client.find_many([order])
    assert isinstance(found, Unknown)
    with pytest.raises(CAUnreachable, match="unreadable"):
        list(client.unknown_certificates())
    if part == "/certs":
        with pytest.raises(CAUnreachable, match="unreadable"):
            list(client.revoked_certificates())
