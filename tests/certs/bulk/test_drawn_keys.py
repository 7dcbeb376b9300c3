"""A chunk whose keys the portal's own database holds: keys, CSRs and requests are written down together, or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from audit.models import AuditEvent
from certs import tasks
from certs.access.permissions import Authority
from certs.bulk import chunk as chunks
from certs.bulk import dispatch
from certs.bulk.submit import submit_order
from certs.ca.registry import forget_clients
from certs.enums import RequestState as S
from certs.issuance import steps
from certs.issuance.steps import drawn as drawing
from certs.issuance.steps.drawn import draw_csrs
from certs.models import Attempt, BulkChunk, BulkOrder, Certificate, CertificateRequest, Issuer, RequestCSR
from certs.requests.submit import Requester, submit
from certs.spec import CertificateSpec
from certs.x509.csr.build import build_csr
from db.clock import database_now
from keys.backends.local import LocalKeyBackend
from keys.lifecycle import private_key_for
from keys.models import Key, KeyName, LocalKeyMaterial, PublicKey
from keys.registry import get_key_backend
from keys.signing import sign_message
from keys.spec import spki_der, spki_sha256
from tests.certs.bulk.orders import drafted, work_off, work_off_all
from tests.portal.fixtures import Portal

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


def chain_after(chunk: BulkChunk) -> Any:
    """What Celery would send when the chunk's first task has run."""
    task: Any = tasks.make_chunk
    task.push_request(chain=["the rest"])
    try:
        task.run(chunk.pk)
        return task.request.chain
    finally:
        task.pop_request()


def states() -> Counter[str]:
    return Counter(CertificateRequest.objects.values_list("state", flat=True))


def nothing_made() -> bool:
    return not any(model.objects.exists() for model in (CertificateRequest, Key, LocalKeyMaterial, PublicKey, KeyName, RequestCSR))


def test_keys_and_csrs_are_written_with_their_requests(requester: Requester, make_spec: MakeSpec) -> None:
    order, chunk = queued([make_spec(f"n{n}.example.com") for n in range(30)], requester)
    ids = chunks.make_chunk(chunk.pk)
    assert states() == {"csr_created": 30}
    assert len(ids) == 30
    assert not Attempt.objects.exists()  # neither step had to note what it was about to do
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


def test_a_drawn_key_is_used_like_any_other(requester: Requester, make_spec: MakeSpec) -> None:
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


def test_line_that_kills_its_worker_leaves_nothing_and_is_met_beat_by_beat(
    requester: Requester, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, chunk = queued([make_spec("a.example.com"), make_spec("b.example.com")], requester)

    class Killed(BaseException):
        """As far as this process can be killed and still tell."""

    def killing(*args: Any, common_name: str, **more: Any) -> bytes:
        if common_name == "b.example.com":
            raise Killed
        return real(*args, common_name=common_name, **more)

    real = build_csr
    monkeypatch.setattr(drawing, "build_csr", killing)
    with pytest.raises(Killed):
        chunks.make_chunk(chunk.pk)
    assert nothing_made()
    ids = chunks.make_chunk(chunk.pk)  # as the message is delivered once more
    assert states() == {"csr_created": 2}
    assert len(ids) == 2
    assert Counter(Attempt.objects.values_list("step", flat=True)) == {"key": 2, "csr": 2}


def test_two_workers_with_one_chunk_make_each_key_once(requester: Requester, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one comes while the first has its keys in hand and nothing written."""
    order, chunk = queued([make_spec(f"n{n}.example.com") for n in range(4)], requester)
    real, second = draw_csrs, list[list[int]]()

    def overtaken(wanted: Any) -> Any:
        drawn = real(wanted)
        if not second:
            second.append(chunks.make_chunk(chunk.pk))
        return drawn

    monkeypatch.setattr(chunks, "draw_csrs", overtaken)
    assert chunks.make_chunk(chunk.pk) == second[0]
    assert states() == {"csr_created": 4}
    assert Key.objects.count() == LocalKeyMaterial.objects.count() == PublicKey.objects.count() == 4
    work_off_all()
    order.refresh_from_db()
    assert (order.state, Certificate.objects.count()) == ("done", 4)


def test_refused_and_slow_lines_keep_no_drawn_key(requester: Requester, make_spec: MakeSpec) -> None:
    specs = [make_spec("good.example.com"), make_spec("long.example.com", days=4000), make_spec("rsa.example.com", key="rsa-4096")]
    order = submit_order(drafted(specs, requester), authority=Authority(requester.actor), with_refused=True)
    work_off_all()
    order.refresh_from_db()
    assert order.state == "done"
    assert states() == {"completed": 2, "rejected": 1}
    assert Key.objects.count() == LocalKeyMaterial.objects.count() == 2
    assert Counter(Attempt.objects.filter(step="key").values_list("request__common_name", flat=True)) == {"rsa.example.com": 1}


def test_without_the_key_encryption_key_nothing_is_lost(requester: Requester, make_spec: MakeSpec, tmp_path: Path) -> None:
    order, chunk = queued([make_spec("api.example.com")], requester)
    (tmp_path / "kek").rename(tmp_path / "away")
    backend = get_key_backend("own")
    assert isinstance(backend, LocalKeyBackend)
    backend._kek.forget()
    work_off(chunk)
    assert states() == {"approved": 1}
    assert not LocalKeyMaterial.objects.exists()
    (tmp_path / "away").rename(tmp_path / "kek")
    assert work_off(chunk)
    order.refresh_from_db()
    assert (order.state, states()) == ("done", {S.COMPLETED.value: 1})


class TestOwnCA:
    """Where the process has the CA's book and key too, the chunk goes on to its certificates."""

    def test_certificates_are_there_when_the_keys_are(self, portal: Portal, make_spec: MakeSpec) -> None:
        order, chunk = queued([make_spec(f"n{n}.example.com") for n in range(5)], portal.requester())
        assert chunks.make_chunk(chunk.pk) == []  # nothing is left for the steps behind it
        assert states() == {"completed": 5}
        assert Counter(Attempt.objects.values_list("step", "outcome")) == {("submit", "done"): 5}
        assert dispatch.end_chunk(chunk.pk)
        order.refresh_from_db()
        assert (order.state, Certificate.objects.count(), Key.objects.filter(purpose="leaf").count()) == ("done", 5, 5)

    def test_its_first_task_ends_a_chunk_and_sends_no_other(self, portal: Portal, make_spec: MakeSpec) -> None:
        order, chunk = queued([make_spec("api.example.com")], portal.requester())
        assert chain_after(chunk) is None
        order.refresh_from_db()
        assert (order.state, chunk.order.chunks.get().state) == ("done", "done")

    def test_a_chunk_with_something_left_goes_on_in_its_chain(self, portal: Portal, make_spec: MakeSpec) -> None:
        _, chunk = queued([make_spec("api.example.com")], portal.requester())
        Issuer.objects.filter(alias="Internal-CA-Prod").update(circuit_opened_at=database_now(), circuit_reason="test")
        assert chain_after(chunk) == ["the rest"]
        assert chunk.order.chunks.get().state == "queued"

    def test_worker_without_the_cas_key_leaves_it_to_the_one_that_has_it(self, portal: Portal, make_spec: MakeSpec, settings: Any) -> None:
        order, chunk = queued([make_spec("api.example.com")], portal.requester())
        Key.objects.filter(purpose="ca").update(backend="elsewhere")
        forget_clients()
        ids = chunks.make_chunk(chunk.pk)
        assert states() == {"csr_created": 1}
        assert not Attempt.objects.exists()
        Key.objects.filter(purpose="ca").update(backend=settings.PKI_CA_KEY_BACKEND)
        forget_clients()
        steps.submit_to_ca(ids, complete=True)
        assert dispatch.end_chunk(chunk.pk)
        order.refresh_from_db()
        assert order.state == "done"

    def test_stopped_ca_is_not_asked(self, portal: Portal, make_spec: MakeSpec) -> None:
        _, chunk = queued([make_spec("api.example.com")], portal.requester())
        Issuer.objects.filter(alias="Internal-CA-Prod").update(circuit_opened_at=database_now(), circuit_reason="test")
        assert len(chunks.make_chunk(chunk.pk)) == 1
        assert states() == {"csr_created": 1}
        assert not Attempt.objects.exists()
