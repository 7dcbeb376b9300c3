"""What a chunk leaves behind dies by itself: rows that know each other in both directions would wait for the collector, and grow old."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certs.bulk import chunk as chunks
from certs.bulk import dispatch
from certs.bulk.export import file_of
from certs.bulk.submit import submit_order
from certs.issuance import steps
from certs.issuance.synchronous import Call, issue_now
from certs.models import BulkChunk, Certificate
from certs.spec import CertificateSpec
from certs.x509.csr.build import build_csr
from keys.spec import spki_der
from tests.certs.bulk.orders import drafted, work_off_all
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
OURS = (
    "certs.models",
    "keys.models",
    "policy.models",
    "certs.bulk",
    "certs.issuance",
    "certs.requests",
    "certs.renewal",
    "certs.revocation",
    "certs.ca",
)


@pytest.fixture
def garbage() -> Iterator[Callable[[], Counter[str]]]:
    """Answers how many of our objects the collector has to find since it was asked last."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)

    def found() -> Counter[str]:
        gc.collect()
        kinds = Counter(type(one).__name__ for one in gc.garbage if type(one).__module__.startswith(OURS))
        gc.garbage.clear()
        return kinds

    yield found
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def brought(name: str) -> CertificateSpec:
    key = ec.generate_private_key(ec.SECP256R1())
    csr = build_csr(key, common_name=name, dns_names=(name,), ip_addresses=())
    return CertificateSpec(name, (name,), (), "ec-p256", 90, "tls-server", csr_der=csr, spki_der=spki_der(key.public_key()))


@pytest.mark.parametrize("kind", ["brought", "made here"])
def test_of_a_chunk_nothing_is_left(
    portal: Portal, make_spec: Callable[[str], CertificateSpec], garbage: Callable[[], Counter[str]], kind: str
) -> None:
    specs = [brought(f"n{n}.example.com") if kind == "brought" else make_spec(f"n{n}.example.com") for n in range(60)]
    submit_order(drafted(specs, portal.requester()), authority=portal.requester().authority)
    dispatch.dispatch()
    garbage()
    for chunk in BulkChunk.objects.filter(state="queued"):
        ids = chunks.issue_chunk(chunk.pk) if kind == "brought" else chunks.make_chunk(chunk.pk)
        steps.submit_to_ca(ids, complete=True)
    left = garbage()
    assert Certificate.objects.count() == 60
    assert {name: count for name, count in left.items() if count >= 60} == {}


def test_of_a_call_nothing_is_left(portal: Portal, garbage: Callable[[], Counter[str]]) -> None:
    issue_now(Call(brought("first.example.com"), portal.requester()))
    garbage()
    for n in range(5):
        issue_now(Call(brought(f"n{n}.example.com"), portal.requester()))
    assert {name: count for name, count in garbage().items() if count >= 5} == {}


def test_of_a_download_nothing_is_left(
    portal: Portal, make_spec: Callable[[str], CertificateSpec], garbage: Callable[[], Counter[str]]
) -> None:
    order = submit_order(
        drafted([make_spec(f"n{n}.example.com") for n in range(30)], portal.requester()), authority=portal.requester().authority
    )
    work_off_all()
    for form in ("certificates.zip", "inventory.csv"):
        garbage()
        assert sum(1 for _ in file_of(order, form, authority=portal.requester().authority).parts) >= 30
        assert {name: count for name, count in garbage().items() if count >= 30} == {}
