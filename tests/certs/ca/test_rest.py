"""A CA behind the REST API: a page of a gateway before it is no answer of the CA, though its status is 200."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import requests

from certs.access.api_tokens import create_token
from certs.ca.base import CAUnreachable, Issued, NotDoneYet, Order, RevocationOrder, Unknown
from certs.ca.rest import RestCAClient
from certs.enums import RevocationReason
from certs.models import Certificate, Team
from certs.revocation.deliver import process_revocations
from certs.x509.asn1.pem import serial_of
from db.clock import database_now
from tests.cast import person
from tests.contracts.test_ca_client import make_order, portal
from tests.faults.wire import Fault, Wire, wired
from tests.portal.fixtures import SYSTEM

__all__ = ["make_order", "portal"]  # fixtures
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def wire(live_server: Any) -> Iterator[Wire]:
    with wired(live_server.url) as wire:
        yield wire


@pytest.fixture
def token(portal: Team, settings: Any) -> str:
    settings.PKI_CA_API_INLINE = True
    scopes = ["certificates:issue", "certificates:read", "certificates:revoke"]
    _, secret = create_token(user=person("other-portal", team=portal), team=portal, name="other portal", scopes=scopes, actor=SYSTEM)
    return secret


@pytest.fixture
def client(wire: Wire, token: str) -> RestCAClient:
    return RestCAClient("upstream", url=wire.url, token=token)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null"])
def test_page_of_a_gateway_confirms_nothing(body: bytes, client: RestCAClient, wire: Wire, make_order: Callable[..., Order]) -> None:
    order = make_order()
    (outcome,) = client.issue_many([order])
    assert isinstance(outcome, Issued)
    serial = serial_of(outcome.certificate_der)
    assert serial is not None
    # 1. In place of what the CA says: nothing is issued, is absent or is revoked.
    wire.decide = lambda _method, _path: Fault(body=body)
    assert isinstance(client.issue_many([order])[0], Unknown)
    revocation = RevocationOrder(serial, RevocationReason.SUPERSEDED, database_now(), outcome.certificate_der)
    for act in (
        lambda: client.find(order),
        lambda: client.revoke(revocation),
        lambda: client.release(serial),
        lambda: list(client.unknown_certificates() or ()),
    ):
        with pytest.raises(CAUnreachable):
            act()
    # 2. Asked again, the CA says it itself: accepted at first, then done.
    wire.decide = lambda _method, _path: None
    with pytest.raises(NotDoneYet):
        client.revoke(revocation)
    assert Certificate.objects.get().status == Certificate.Status.REVOCATION_PENDING
    process_revocations()
    client.revoke(revocation)


@pytest.mark.parametrize(
    ("body", "is_done"),
    [
        (b'{"status": "revoked", "confirmed": true}', True),
        (b'{"status": "revoked"}', True),  # a CA that has no such field
        (b'{"status": "revocation_pending", "confirmed": false}', False),
        (b'{"status": "revoked", "confirmed": null}', False),
    ],
)
def test_revocation_is_done_when_the_ca_confirms_it(
    body: bytes, is_done: bool, client: RestCAClient, wire: Wire, make_order: Callable[..., Order]
) -> None:
    (outcome,) = client.issue_many([make_order()])
    assert isinstance(outcome, Issued)
    serial = serial_of(outcome.certificate_der)
    assert serial is not None
    wire.decide = lambda _method, _path: Fault(body=body)
    revocation = RevocationOrder(serial, RevocationReason.SUPERSEDED, database_now(), outcome.certificate_der)
    with nullcontext() if is_done else pytest.raises(NotDoneYet):
        client.revoke(revocation)


def test_chain_file_that_is_not_there_holds_the_orders(wire: Wire, token: str, make_order: Callable[..., Order], tmp_path: Path) -> None:
    order, file = make_order(), tmp_path / "chain.pem"
    client = RestCAClient("upstream", url=wire.url, token=token, chain_file=str(file))
    assert isinstance(client.issue_many([order])[0], Unknown)
    with pytest.raises(CAUnreachable, match="chain file"):
        client.find(order)
    file.write_bytes(requests.get(f"{wire.url}/api/v1/ca/chain", headers={"Authorization": f"Bearer {token}"}, timeout=20).content)
    assert isinstance(client.find(order), Issued)
