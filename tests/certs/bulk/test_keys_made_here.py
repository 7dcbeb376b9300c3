"""A chunk whose keys are made in the portal's own database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from audit.models import AuditEvent
from certs import fault_points
from certs.access.permissions import Authority
from certs.bulk import chunk as chunks
from certs.bulk import dispatch
from certs.bulk.submit import submit_order
from certs.enums import RequestState as S
from certs.models import Attempt, BulkChunk, BulkOrder, Certificate, CertificateRequest
from certs.requests.submit import Requester, submit
from certs.spec import CertificateSpec
from keys.models import Key, LocalKeyMaterial, PublicKey
from keys.registry import forget_backends, get_key_backend
from keys.signing import sign_message
from keys.spec import spki_der, spki_sha256
from keys.use import private_key_for
from tests.certs import steps
from tests.certs.bulk.orders import drafted, work_off, work_off_all

MakeSpec = Callable[..., CertificateSpec]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def requester(twin_portal: Requester, settings: Any, tmp_path: Path) -> Requester:
    """The twin's portal with keys in the database."""
    settings.KEY_BACKENDS = {
        "own": {"BACKEND": "keys.backends.local.LocalKeyBackend", "OPTIONS": {"kek_file": str(tmp_path / "kek")}},
        **settings.KEY_BACKENDS,
    }
    settings.PKI_LEAF_KEY_BACKEND = "own"
    get_key_backend("own").set_up()
    return twin_portal


def queued(specs: list[CertificateSpec], requester: Requester) -> tuple[BulkOrder, BulkChunk]:
    """An order of one chunk, which has its place in the queue."""
    order = submit_order(drafted(specs, requester), authority=Authority(requester.actor))
    dispatch.dispatch()
    return order, order.chunks.get()


def states() -> Counter[str]:
    return Counter(CertificateRequest.objects.values_list("state", flat=True))


def test_chunk_creates_keys_and_csrs(requester: Requester, make_spec: MakeSpec) -> None:
    order, chunk = queued([make_spec(f"n{n}.example.com") for n in range(30)], requester)
    ids = chunks.make_chunk(chunk.pk)
    assert states() == {"csr_created": 30}
    assert len(ids) == 30
    assert Counter(Attempt.objects.values_list("step", "outcome")) == {("key", "done"): 30, ("csr", "done"): 30}
    for request in CertificateRequest.objects.select_related("key", "csr"):
        key = request.key
        assert key is not None
        assert (key.state, key.backend, key.version, key.claimed_for) == ("active", "own", 1, request.public_id)
        assert key.evidence == {"encrypted_under": LocalKeyMaterial.objects.get(key_id=key.pk).kek_id}
        csr = x509.load_der_x509_csr(bytes(request.csr.der))
        assert csr.is_signature_valid
        spki = spki_der(csr.public_key())
        assert spki == bytes(request.csr.spki_der) == bytes(key.spki_der or b"")
        assert spki_sha256(spki) == request.spki_sha256 == key.spki_sha256 == request.csr.spki_sha256
        assert PublicKey.objects.get(pk=request.spki_sha256).team == "web"
    work_off_all()
    order.refresh_from_db()
    assert (order.state, Certificate.objects.count()) == ("done", 30)
    kinds = Counter(AuditEvent.objects.filter(subject__startswith="request:").values_list("event", flat=True))
    assert {kind: kinds[kind] for kind in ("key:generated", "csr:created", "certificate:issued")} == dict.fromkeys(
        ("key:generated", "csr:created", "certificate:issued"), 30
    )


def test_key_of_a_line_is_used_like_any_other(requester: Requester, make_spec: MakeSpec) -> None:
    _, chunk = queued([make_spec("api.example.com")], requester)
    work_off(chunk)
    key = Key.objects.get()
    signer = private_key_for(key)
    assert spki_sha256(signer.public_key()) == key.spki_sha256
    assert sign_message(signer, b"tbs")


def test_names_are_taken_as_everywhere(requester: Requester, make_spec: MakeSpec) -> None:
    """Another order's keys have the bare names already, and one has a name that ends in the number whose turn it would be."""
    for name in ("api.example.com", "api-example-com-2.example.com"):
        request = submit(make_spec(name), requester=requester)
        steps.check_policy([request.pk])
        steps.ensure_keys([request.pk])
    Key.objects.filter(name="api-example-com-2-example-com").update(name="api-example-com-2")
    order, chunk = queued([make_spec("api.example.com"), make_spec("www.example.com")], requester)
    work_off(chunk)
    order.refresh_from_db()
    names = sorted(Key.objects.filter(claimed_for__in=order_requests(order)).values_list("name", flat=True))
    assert (order.state, names) == ("done", ["api-example-com-3", "www-example-com"])
    assert LocalKeyMaterial.objects.count() == 4  # none is left of the keys whose name was taken


def order_requests(order: BulkOrder) -> list[str]:
    return list(CertificateRequest.objects.filter(bulk_item__order=order).values_list("public_id", flat=True))


@pytest.fixture
def observed() -> Iterator[Callable[[fault_points.Observer], None]]:
    yield fault_points.observe
    fault_points.observe(None)


def test_two_workers_with_one_chunk_make_each_key_once(
    requester: Requester, make_spec: MakeSpec, observed: Callable[[fault_points.Observer], None]
) -> None:
    """The second one comes while the first has its keys in hand and not recorded."""
    order, chunk = queued([make_spec(f"n{n}.example.com") for n in range(4)], requester)
    second: list[list[int]] = []

    def overtaken(step: str, phase: str) -> None:
        if (step, phase) == ("key", "executed") and not second:
            second.append(chunks.make_chunk(chunk.pk))

    observed(overtaken)
    assert chunks.make_chunk(chunk.pk) == second[0]
    assert states() == {"csr_created": 4}
    assert Key.objects.count() == LocalKeyMaterial.objects.count() == PublicKey.objects.count() == 4
    work_off_all()
    order.refresh_from_db()
    assert (order.state, Certificate.objects.count()) == ("done", 4)


def test_refused_line_has_no_key(requester: Requester, make_spec: MakeSpec) -> None:
    specs = [make_spec("good.example.com"), make_spec("long.example.com", days=4000), make_spec("rsa.example.com", key="rsa-4096")]
    order = submit_order(drafted(specs, requester), authority=Authority(requester.actor), with_refused=True)
    work_off_all()
    order.refresh_from_db()
    assert order.state == "done"
    assert states() == {"completed": 2, "rejected": 1}
    assert Key.objects.count() == LocalKeyMaterial.objects.count() == 2
    assert Counter(Attempt.objects.filter(step="key").values_list("request__common_name", flat=True)) == {
        "good.example.com": 1,
        "rsa.example.com": 1,
    }


def test_without_the_key_encryption_key_nothing_is_lost(requester: Requester, make_spec: MakeSpec, tmp_path: Path) -> None:
    order, chunk = queued([make_spec("api.example.com")], requester)
    (tmp_path / "kek").rename(tmp_path / "away")
    forget_backends()
    work_off(chunk)
    assert states() == {"approved": 1}
    assert not LocalKeyMaterial.objects.exists()
    (tmp_path / "away").rename(tmp_path / "kek")
    assert work_off(chunk)
    order.refresh_from_db()
    assert (order.state, states()) == ("done", {S.COMPLETED.value: 1})
