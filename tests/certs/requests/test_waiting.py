"""Requests that wait for a CA or a key backend: what is kept, who is notified, and how they go on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from audit.log import Actor, UnitOfWork
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.bulk.submit import submit_order
from certs.enums import RequestState as S
from certs.errors import Conflict, NotFound, NotPermitted
from certs.issuance.advance import advance
from certs.models import CertificateRequest, Issuer, OperatorAlert
from certs.requests.submit import Requester, submit_many
from certs.requests.waiting import hold_for_ca, hold_for_keys, release, release_held, resume
from certs.spec import CertificateSpec
from db.clock import database_now
from pkiportal.celery import app
from tests.cast import Cast
from tests.certs.bulk.orders import drafted
from tests.portal.broker import messages

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]
REASON = "HTTP 503 " + "x" * 600


@pytest.fixture(autouse=True)
def empty_broker() -> None:
    app.control.purge()


def at_the_ca(requester: Requester, spec: CertificateSpec, count: int = 1) -> list[CertificateRequest]:
    """Requests with keys and CSRs, that the CA has not been asked for."""
    rows = submit_many([spec] * count, requester=requester)
    advance([row.pk for row in rows], until=S.CSR_CREATED)
    return again(rows)


def again(rows: list[CertificateRequest]) -> list[CertificateRequest]:
    return list(CertificateRequest.objects.filter(pk__in=[row.pk for row in rows]).order_by("pk"))


def events(row: CertificateRequest, kind: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(subject=row.subject, event=kind).order_by("pk"))


# Holding


def test_a_request_held_for_its_ca_stays_where_it_is_with_a_resume_id(twin_portal: Requester, make_spec: MakeSpec) -> None:
    (row,) = at_the_ca(twin_portal, make_spec())
    key = row.key_id
    hold_for_ca([row.pk], REASON)
    row.refresh_from_db()
    assert (row.state, row.error, row.key_id) == (S.CSR_CREATED, "CA unavailable after 3 retries", key)
    assert row.resume_id is not None
    assert row.held_since is not None
    (event,) = events(row, "ca:unavailable")
    assert event.data == {"state": "csr_created", "reason": REASON[:500]}


def test_operators_have_one_alert_for_all_requests_of_a_ca(twin_portal: Requester, make_spec: MakeSpec) -> None:
    rows = at_the_ca(twin_portal, make_spec(), 2)
    for row in rows:
        hold_for_ca([row.pk], "HTTP 503")
    (alert,) = OperatorAlert.objects.filter(kind="ca_unavailable")
    assert (alert.message, alert.occurrences) == ("Twin-CA is unavailable: HTTP 503.", 2)
    assert "manage.py resume" in alert.next_step


def test_requests_held_for_their_keys_keep_the_state_in_which_they_are(twin_portal: Requester, make_spec: MakeSpec) -> None:
    first, second = submit_many([make_spec("a.example.com"), make_spec("b.example.com")], requester=twin_portal)
    advance([first.pk, second.pk], until=S.APPROVED)
    advance([second.pk], since=S.APPROVED, until=S.KEY_READY)
    hold_for_keys([first.pk, second.pk], "sealed")
    first, second = again([first, second])
    assert (first.state, second.state) == (S.APPROVED, S.KEY_READY)
    assert [row.error for row in (first, second)] == ["Key backend unavailable"] * 2
    assert [events(row, "request:held")[0].data["state"] for row in (first, second)] == ["approved", "key_ready"]
    (alert,) = OperatorAlert.objects.filter(kind="keys_unavailable")
    assert (alert.cause, alert.occurrences) == ("keys:twin", 2)


def test_a_request_that_is_elsewhere_or_held_already_is_left_alone(twin_portal: Requester, make_spec: MakeSpec) -> None:
    (row,) = at_the_ca(twin_portal, make_spec())
    hold_for_keys([row.pk], "sealed")  # it has its key and its CSR
    row.refresh_from_db()
    assert (row.held_since, row.resume_id) == (None, None)
    assert not OperatorAlert.objects.exists()
    hold_for_ca([row.pk], "first")
    row.refresh_from_db()
    since, resume_id = row.held_since, row.resume_id
    hold_for_ca([row.pk], "second")
    row.refresh_from_db()
    assert (row.held_since, row.resume_id, len(events(row, "ca:unavailable"))) == (since, resume_id, 1)


def test_a_request_held_again_keeps_its_resume_id(twin_portal: Requester, make_spec: MakeSpec) -> None:
    """What a person has copied from the first mail works after the second outage."""
    (row,) = at_the_ca(twin_portal, make_spec())
    hold_for_ca([row.pk], "first")
    row.refresh_from_db()
    first = str(row.resume_id)
    resume(first, authority=twin_portal.authority)
    hold_for_ca([row.pk], "second")
    row.refresh_from_db()
    assert row.resume_id == first


# Resuming


def test_a_resumed_request_goes_on_with_its_own_key_and_csr(twin_portal: Requester, make_spec: MakeSpec) -> None:
    (row,) = at_the_ca(twin_portal, make_spec())
    before = (row.key_id, bytes(row.csr.der))
    hold_for_ca([row.pk], "down")
    row.refresh_from_db()
    app.control.purge()
    resumed = resume(str(row.resume_id), authority=twin_portal.authority)
    assert messages() == {"ca": 1}
    resumed.refresh_from_db()
    assert (resumed.held_since, resumed.error, resumed.losses) == (None, "", 0)
    (event,) = events(resumed, "request:resumed")
    assert (event.data, event.actor_name) == ({"state": "csr_created"}, "alice")
    advance([row.pk], since=S.CSR_CREATED, until=S.COMPLETED)
    (done,) = again([row])
    assert (done.state, (done.key_id, bytes(done.csr.der))) == (S.COMPLETED, before)


@pytest.mark.parametrize("stopped", [S.APPROVED, S.KEY_READY, S.CSR_CREATED])
def test_a_failed_request_goes_back_to_where_it_stopped(twin_portal: Requester, make_spec: MakeSpec, stopped: S) -> None:
    (row,) = submit_many([make_spec()], requester=twin_portal)
    CertificateRequest.objects.filter(pk=row.pk).update(state=S.FAILED, stopped_at=stopped, resume_id="resume-1", error="e", losses=3)
    resume("resume-1", authority=twin_portal.authority)
    row.refresh_from_db()
    assert (row.state, row.stopped_at, row.error, row.losses, row.held_since) == (stopped, "", "", 0, None)
    assert [event.data for event in events(row, "request:resumed")] == [{"state": str(stopped)}]


@pytest.mark.parametrize("state", [S.APPROVED, S.COMPLETED, S.REJECTED, S.CANCELLED, S.FAILED, S.AWAITING_APPROVAL])
def test_a_request_that_waits_for_nothing_is_not_resumed(twin_portal: Requester, make_spec: MakeSpec, state: S) -> None:
    (row,) = submit_many([make_spec()], requester=twin_portal)
    CertificateRequest.objects.filter(pk=row.pk).update(state=state, resume_id="resume-1", held_since=None, stopped_at="")
    with pytest.raises(Conflict, match=f"does not wait to be resumed .now: {state.words}") as refused:
        resume("resume-1", authority=twin_portal.authority)
    assert row.public_id in refused.value.next_step
    assert not events(row, "request:resumed")


def test_an_unknown_resume_id_and_one_of_another_team_are_not_told_apart(cast: Cast, make_spec: MakeSpec) -> None:
    (row,) = at_the_ca(cast.requester("requester"), make_spec())
    hold_for_ca([row.pk], "down")
    row.refresh_from_db()
    said = []
    for resume_id, name in (("resume-unknown", "requester"), (str(row.resume_id), "outsider"), (str(row.resume_id), "nobody")):
        with pytest.raises(NotFound) as refused:
            resume(resume_id, authority=cast.authority(name))
        said.append((refused.value.message.replace(resume_id, "X"), refused.value.next_step))
    assert len(set(said)) == 1


def test_who_sees_a_request_without_working_on_it_does_not_resume_it(cast: Cast, make_spec: MakeSpec) -> None:
    (row,) = at_the_ca(cast.requester("requester"), make_spec())
    hold_for_ca([row.pk], "down")
    row.refresh_from_db()
    for name in ("auditor", "approver"):
        with pytest.raises(NotPermitted):
            resume(str(row.resume_id), authority=cast.authority(name))
    cast.web.members.remove(cast["requester"])
    with pytest.raises(NotFound):
        resume(str(row.resume_id), authority=cast.authority("requester"))
    assert resume(str(row.resume_id), authority=cast.authority("operator")).pk == row.pk


def test_a_token_for_other_profiles_does_not_resume_a_request(cast: Cast, make_spec: MakeSpec) -> None:
    (row,) = at_the_ca(cast.requester("requester"), make_spec())
    hold_for_ca([row.pk], "down")
    row.refresh_from_db()
    other = Authority(Actor("user", "requester"), cast["requester"], cast.web, ("tls-client",))
    with pytest.raises(NotPermitted) as refused:
        resume(str(row.resume_id), authority=other)
    assert refused.value.field == "profile"
    row.refresh_from_db()
    assert row.held_since is not None


# Released by the sweeper


def test_only_requests_of_the_ca_that_answers_again_are_released(twin_portal: Requester, make_spec: MakeSpec) -> None:
    rows = at_the_ca(twin_portal, make_spec(), 2)
    hold_for_ca([row.pk for row in rows], "down")
    elsewhere = Issuer.objects.create(name="Elsewhere", slug="elsewhere", created_at=database_now())
    CertificateRequest.objects.filter(pk=rows[1].pk).update(issuer=elsewhere)
    assert release_held(states=[S.CSR_CREATED], issuer=Issuer.objects.get(name="Twin-CA"), limit=10) == 1
    first, second = again(rows)
    assert (first.held_since is None, second.held_since is None) == (True, False)


def test_only_requests_of_the_key_backend_that_answers_again_are_released(twin_portal: Requester, make_spec: MakeSpec) -> None:
    rows = submit_many([make_spec("a.example.com"), make_spec("b.example.com")], requester=twin_portal)
    advance([row.pk for row in rows], until=S.APPROVED)
    hold_for_keys([row.pk for row in rows], "sealed")
    CertificateRequest.objects.filter(pk=rows[1].pk).update(key_backend="another")
    assert release_held(states=[S.APPROVED, S.KEY_READY], backend="twin", limit=10) == 1
    assert [row.held_since is None for row in again(rows)] == [True, False]


def test_no_request_is_released_from_another_state_or_above_the_limit(twin_portal: Requester, make_spec: MakeSpec) -> None:
    rows = at_the_ca(twin_portal, make_spec(), 3)
    hold_for_ca([row.pk for row in rows], "down")
    assert release_held(states=[S.APPROVED], limit=10) == 0
    assert release_held(states=[S.CSR_CREATED], limit=2) == 2
    assert sum(row.held_since is None for row in again(rows)) == 2
    event = AuditEvent.objects.filter(event="request:resumed").first()
    assert event is not None
    assert (event.actor_kind, event.actor_name) == ("system", "worker")


def test_lines_of_an_order_go_on_in_the_queue_for_bulk(twin_portal: Requester, make_spec: MakeSpec) -> None:
    """They do not delay those that a person waits for."""
    (single,) = at_the_ca(twin_portal, make_spec())
    order = submit_order(drafted([make_spec("bulk.example.com")], twin_portal), authority=twin_portal.authority)
    (line,) = at_the_ca(twin_portal, make_spec("line.example.com"))
    CertificateRequest.objects.filter(pk=line.pk).update(bulk_item=order.items.get())
    hold_for_ca([single.pk, line.pk], "down")
    app.control.purge()
    with UnitOfWork() as work:
        locked = list(CertificateRequest.objects.select_for_update().filter(pk__in=[single.pk, line.pk]))
        assert release(work, locked, actor=Actor("command", "test")) == 2
        assert messages() == {}  # before the commit nobody may begin
    assert messages() == {"ca": 1, "ca-bulk": 1}
