"""A soft time limit or a lack of memory ends the task, never the order that was in hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from cryptography.hazmat.primitives.asymmetric import ec

from audit.log import UnitOfWork
from certs.ca.base import Issued, Order, Outcome
from certs.ca.local.intents import prepare_intents
from certs.enums import RequestState as S
from certs.issuance.steps import ca_submit
from certs.issuance.synchronous import finish
from certs.issuance.verify import verify_result
from certs.models import CertificateRequest, Issuer
from certs.requests.submit import Requester, submit_many
from certs.spec import CertificateSpec
from certs.x509.csr.build import build_csr
from certs.x509.csr.gate import read_csr
from db.clock import database_now
from keys.backends.vault_session import VaultSession
from keys.spec import spki_der, spki_sha256
from tests.certs import steps
from tests.portal.fixtures import Portal
from tests.twins.ca import TwinCAClient

pytestmark = pytest.mark.django_db(transaction=True)
MakeSpec = Callable[..., CertificateSpec]
INTERRUPTIONS = [SoftTimeLimitExceeded, MemoryError, KeyboardInterrupt]


class InterruptedNames(tuple[str, ...]):  # noqa: SLOT001 - it carries what it raises
    """Names in whose midst the process is interrupted."""

    interruption: type[BaseException]

    def __iter__(self) -> Iterator[str]:
        raise self.interruption


def interrupted(interruption: type[BaseException]) -> InterruptedNames:
    names = InterruptedNames(("a.example.com",))
    names.interruption = interruption
    return names


def an_order() -> Order:
    name, key = "a.example.com", ec.generate_private_key(ec.SECP256R1())
    spki = spki_der(key.public_key())
    csr = build_csr(key, common_name=name, dns_names=(name,), ip_addresses=())
    return Order(
        order_ref="req-1",
        csr_der=csr,
        spki_der=spki,
        spki_sha256=spki_sha256(spki),
        common_name=name,
        dns_names=(name,),
        ip_addresses=(),
        profile="tls-server",
        validity_days=90,
        policy_version="v2.3",
        intended_at=database_now(),
    )


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_interruption_while_the_own_ca_prepares_is_no_refusal(
    interruption: type[BaseException],
    portal: Portal,
) -> None:
    """K6: it ended as a final `Refused("lint")`."""
    order = an_order()
    issuer = Issuer.objects.get(name="Internal-CA-Prod")
    with pytest.raises(interruption):
        prepare_intents(issuer, [order._replace(dns_names=interrupted(interruption))], database_now())


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_interruption_while_a_certificate_is_verified_is_no_mismatch(
    interruption: type[BaseException],
    twin_ca: TwinCAClient,
) -> None:
    """K6: the good certificate would be quarantined and revoked."""
    order = an_order()
    (issued,) = twin_ca.issue_many([order])
    assert isinstance(issued, Issued)
    with pytest.raises(interruption):
        verify_result(
            issued,
            order._replace(dns_names=interrupted(interruption)),
            Issuer.objects.get(alias="Twin-CA"),
            now=database_now(),
        )


class InterruptedCA(TwinCAClient):
    """Its process is interrupted while it waits for the CA."""

    interruption: type[BaseException] = SoftTimeLimitExceeded

    def issue_many(self, orders: Any) -> list[Outcome]:
        raise self.interruption


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_interruption_while_a_chunk_is_issued_ends_the_task(
    interruption: type[BaseException],
    twin_portal: Requester,
    make_spec: MakeSpec,
    settings: Any,
) -> None:
    """K6: the task went on behind its time limit, until the hard one killed its worker."""
    (request,) = submit_many([make_spec()], requester=twin_portal)
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs):
        step([request.pk])
    settings.CA_CLIENTS = {"Twin-CA": {"CLIENT": "tests.certs.issuance.test_interruptions.InterruptedCA"}}
    InterruptedCA.interruption = interruption
    with UnitOfWork() as work:
        requests = list(CertificateRequest.objects.select_related("issuer", "team").select_for_update(of=("self",)))
        acts = ca_submit.reserve(work, requests, decided={}, now=database_now())
    with pytest.raises(interruption):
        finish(acts)
    request.refresh_from_db()
    assert request.state == S.CSR_CREATED


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_interruption_while_vault_is_asked_is_not_vaults_fault(interruption: type[BaseException], vault_access: Any) -> None:
    """K6: a time limit became "Vault answered something unreadable"."""
    session = VaultSession(url=vault_access.address, token=vault_access.token, ca_cert=str(vault_access.ca_file))

    def act(_client: Any) -> NoReturn:
        raise interruption

    with pytest.raises(interruption):
        session.call(act)


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_interruption_while_a_csr_is_judged_is_no_refusal(
    interruption: type[BaseException],
) -> None:
    """K6: the requester would read that the CSR cannot be read."""
    with pytest.raises(interruption):
        read_csr(an_order().csr_der, domains=interrupted(interruption))
