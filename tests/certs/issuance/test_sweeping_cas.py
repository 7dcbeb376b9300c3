"""The sweeper's turn at the CAs: each part, each CA and each row alone, in order, within its time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from certs import tasks
from certs.ca.registry import get_ca_client
from certs.enums import RequestState as S
from certs.issuance import recovery
from certs.issuance.advance import Unavailable
from certs.models import (
    Attempt,
    CertificateRequest,
    Issuer,
    OperatorAlert,
    QuarantinedCertificate,
    UnclaimedResult,
)
from certs.requests.submit import Requester, submit_many
from certs.requests.turn import Turn, run_parts
from certs.requests.waiting import hold_for_ca, hold_for_keys
from db.clock import database_now
from tests.certs import steps
from tests.certs.issuance.test_schedules import walk
from tests.certs.requests.test_outcomes import MakeSpec
from tests.twins.ca import Fault, TwinCAClient
from tests.twins.keys import TwinKeyBackend

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ("Twin-CA", "Second-CA", "Third-CA")


class CountingCA(TwinCAClient):
    """A CA that counts how often it was asked for something, and can break in an unforeseen way."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self.asked = 0
        self.breaks_for: set[int] = set()

    def revoke(self, order: Any) -> None:
        self.asked += 1
        if order.serial_number in self.breaks_for:
            raise LookupError("a bug for this one certificate")
        super().revoke(order)

    def find(self, order: Any) -> Any:
        self.asked += 1
        return super().find(order)

    def is_working(self) -> bool:
        self.asked += 1
        return super().is_working()


@pytest.fixture
def cas(twin_portal: Requester, settings: Any) -> list[CountingCA]:
    """Three CAs, each with the request of the same number held for it and a wrong certificate of its own."""
    settings.CA_CLIENTS = {name: {"CLIENT": "tests.certs.issuance.test_sweeping_cas.CountingCA"} for name in NAMES}
    now = database_now()
    clients = []
    for name in NAMES:
        client = get_ca_client(name)
        assert isinstance(client, CountingCA)
        clients.append(client)
        Issuer.objects.update_or_create(
            name=name,
            defaults={"slug": name.lower(), "alias": name, "trust_anchor_der": client.root_der, "created_at": now},
        )
    return clients


def sweep() -> dict[str, int | str]:
    """One turn at all CAs, as `sweep_ca` and `sweep_remote_ca` take it at theirs."""
    return run_parts(tasks.SWEEP_PARTS, Turn())


def at_ca(requester: Requester, make_spec: MakeSpec, name: str, count: int = 1) -> list[CertificateRequest]:
    """Requests that are ready for that CA."""
    specs = [make_spec(f"{name.lower()}-{n}.example.com") for n in range(count)]
    requests = submit_many(specs, requester=requester, issuer=name)
    ids = [request.pk for request in requests]
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs):
        step(ids)
    return list(CertificateRequest.objects.filter(pk__in=ids).order_by("pk"))


def quarantine(client: TwinCAClient, request: CertificateRequest) -> QuarantinedCertificate:
    """A wrong certificate that the CA really signed."""
    client.faults = [Fault.WRONG_KEY]
    walk([request.pk])
    return QuarantinedCertificate.objects.get(request=request)


def test_part_that_fails_stops_no_other(cas: list[CountingCA], monkeypatch: pytest.MonkeyPatch) -> None:
    """K2: an exception in the first part skipped five others."""

    def broken(_turn: Turn) -> int:
        raise LookupError("a bug")

    parts = [(name, broken if name == "renewals_cancelled" else part) for name, part in tasks.SWEEP_PARTS]
    monkeypatch.setattr(tasks, "SWEEP_PARTS", parts)
    told = sweep()
    assert told == {name: "failed" if part is broken else 0 for name, part in parts}
    assert "renewals_cancelled" in OperatorAlert.objects.get(kind="sweep_failed", closed_at=None).message
    monkeypatch.undo()
    assert "failed" not in sweep().values()
    assert not OperatorAlert.objects.filter(kind="sweep_failed", closed_at=None).exists()


def test_silent_ca_costs_one_call_a_turn_and_delays_nobody(cas: list[CountingCA], twin_portal: Requester, make_spec: MakeSpec) -> None:
    """K2, review 6.3: a silent CA cost a hundred time-outs."""
    silent, second, _ = cas
    for client, name in zip(cas, NAMES, strict=True):
        ready = at_ca(twin_portal, make_spec, name, 4)
        for request in ready[:3]:
            quarantine(client, request)
            Issuer.objects.update(circuit_opened_at=None)
        hold_for_ca([ready[3].pk], "down")
        client.asked = 0
    silent.reachable = False
    told = sweep()
    assert silent.asked == 1
    assert told["quarantine_revoked"] == 6
    assert told["released"] == 2
    assert not [one for one in second.book.signed if not one.revoked]


def test_ca_that_is_not_configured_is_alerted_and_the_others_are_served(
    cas: list[CountingCA], twin_portal: Requester, make_spec: MakeSpec, settings: Any
) -> None:
    """K2: `ImproperlyConfigured` was caught nowhere."""
    for name in NAMES[:2]:
        hold_for_ca([at_ca(twin_portal, make_spec, name)[0].pk], "down")
    entries = dict(settings.CA_CLIENTS)
    settings.CA_CLIENTS = {name: entries[name] for name in NAMES[1:]}
    assert sweep()["released"] == 1
    alert = OperatorAlert.objects.get(kind="ca_misconfigured", closed_at=None)
    assert "no entry 'Twin-CA'" in alert.message
    assert CertificateRequest.objects.get(issuer__name="Twin-CA").held_since is not None
    settings.CA_CLIENTS = entries
    assert sweep()["released"] == 1
    assert not OperatorAlert.objects.filter(kind="ca_misconfigured", closed_at=None).exists()


def test_order_for_a_ca_that_is_not_configured_waits_with_the_reason(
    cas: list[CountingCA], twin_portal: Requester, make_spec: MakeSpec, settings: Any
) -> None:
    """K2, K4: it killed the whole batch, and ended as "worker lost"."""
    (lost,), (good,) = (at_ca(twin_portal, make_spec, name) for name in NAMES[:2])
    settings.CA_CLIENTS = {name: settings.CA_CLIENTS[name] for name in NAMES[1:]}
    Issuer.objects.filter(name="Second-CA").update(trust_anchor_der=get_ca_client("Second-CA").chain()[-1])
    with pytest.raises(Unavailable, match="no entry 'Twin-CA'") as caught:
        steps.submit_to_ca([lost.pk, good.pk])
    assert caught.value.ids == [lost.pk]
    good.refresh_from_db()
    assert good.state == S.ISSUED


def test_row_that_cannot_be_settled_hides_no_other(
    cas: list[CountingCA], twin_portal: Requester, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K2: the same hundred unsettled rows came back at every turn."""
    monkeypatch.setattr("certs.requests.turn.PAGE", 2)
    client = cas[0]
    for request in at_ca(twin_portal, make_spec, NAMES[0], 6):
        quarantine(client, request)
        Issuer.objects.update(circuit_opened_at=None)
    client.breaks_for = {one.serial for one in client.book.signed[:3]}
    assert recovery.revoke_quarantined() == 3
    assert QuarantinedCertificate.objects.filter(revoked_at=None).count() == 3
    assert OperatorAlert.objects.filter(kind="sweep_failed", closed_at=None).count() == 3


def test_longest_untried_row_comes_first_when_the_time_is_short(
    cas: list[CountingCA], twin_portal: Requester, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K2: slices without an order."""
    client = cas[0]
    rows = []
    for request in at_ca(twin_portal, make_spec, NAMES[0], 4):
        rows.append(quarantine(client, request).pk)
        Issuer.objects.update(circuit_opened_at=None)
    client.breaks_for = {one.serial for one in client.book.signed}
    tried: list[int] = []
    for _ in range(4):
        client.asked = 0
        turn = Turn()
        monkeypatch.setattr(turn, "is_over", lambda client=client: client.asked >= 1)
        recovery.revoke_quarantined(turn)
        tried.append(QuarantinedCertificate.objects.order_by("-lease_until").exclude(lease_until=None)[0].pk)
    assert tried == rows


def test_row_that_another_worker_settles_is_left_alone(cas: list[CountingCA], twin_portal: Requester, make_spec: MakeSpec) -> None:
    """K2: two sweepers at once both told the CA."""
    client = cas[0]
    wrong = quarantine(client, at_ca(twin_portal, make_spec, NAMES[0])[0])
    QuarantinedCertificate.objects.filter(pk=wrong.pk).update(lease_until=database_now() + timedelta(seconds=30))
    client.asked = 0
    assert (recovery.revoke_quarantined(), client.asked) == (0, 0)
    QuarantinedCertificate.objects.filter(pk=wrong.pk).update(lease_until=database_now())
    assert recovery.revoke_quarantined() == 1


def test_results_of_requests_under_way_do_not_fill_the_slice(
    cas: list[CountingCA], twin_portal: Requester, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K2: a hundred that could not be settled yet hid those that could."""
    monkeypatch.setattr("certs.requests.turn.PAGE", 2)
    *waiting, ended = at_ca(twin_portal, make_spec, NAMES[0], 6)
    now = database_now()
    for request in (*waiting, ended):
        attempt = Attempt.objects.create(
            request=request, step="submit", number=1, lease_until=now, opened_at=now, closed_at=now, outcome="lost"
        )
        UnclaimedResult.objects.create(request=request, attempt=attempt, kind="certificate", payload=b"unreadable", brought_at=now)
    CertificateRequest.objects.filter(pk=ended.pk).update(state=S.CANCELLED)
    assert recovery.settle_unclaimed() == 1


class BrokenBackend(TwinKeyBackend):
    """A key backend whose probe breaks its promise."""

    def is_working(self) -> bool:
        raise LookupError("a bug")


def test_key_backend_that_fails_keeps_no_other_waiting(twin_portal: Requester, make_spec: MakeSpec, settings: Any) -> None:
    """Issue item 9: each key backend alone."""
    requests = submit_many([make_spec(f"k{n}.example.com") for n in range(2)], requester=twin_portal)
    ids = [request.pk for request in requests]
    steps.check_policy(ids)
    hold_for_keys(ids, "sealed")
    settings.KEY_BACKENDS = settings.KEY_BACKENDS | {"a-bad-one": {"BACKEND": f"{__name__}.BrokenBackend"}}
    CertificateRequest.objects.filter(pk=ids[0]).update(key_backend="a-bad-one")
    assert recovery.release_for_answering_keys() == 1
    assert "keys:a-bad-one" in OperatorAlert.objects.get(kind="sweep_failed").message
