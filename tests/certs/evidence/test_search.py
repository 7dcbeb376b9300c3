"""The search of the audit log: everything that people see on pages is understood, and nobody finds what they may not see."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from audit.events import Actor, Event, EventType
from audit.log import record_many
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.bulk.submit import submit_order
from certs.errors import InputRefused
from certs.evidence.events import Period, Selection, all_of, page_of
from certs.evidence.kinds import EventKind
from certs.evidence.meaning import meaning_of
from certs.evidence.query import AuditQuery
from certs.evidence.subjects import Source
from certs.evidence.words import words_of
from certs.models import Certificate
from certs.spec import CertificateSpec
from certs.x509.certificate.serial import format_serial
from db.clock import database_now
from tests.certs.api.test_issue import Api, pem_csr
from tests.certs.bulk.orders import drafted
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def certificate(portal: Portal) -> Certificate:
    assert Api(portal.token()).post("/certificates/issue", {"csr": pem_csr("shop.example.com")})[0] == 200
    return Certificate.objects.select_related("request").get()


def authority(user: Any) -> Authority:
    return Authority(Actor("user", user.get_username()), user)


def found(user: Any, text: str) -> list[str]:
    selection = Selection(meaning_of(text, authority(user)).sources)
    return [event.event for event in page_of(selection).events]


def spellings(certificate: Certificate) -> dict[str, str]:
    serial = int(certificate.serial_number, 16)
    return {
        "id": certificate.cert_id,
        "upper case": certificate.cert_id.upper(),
        "subject": f"certificate:{certificate.cert_id}",
        "name": "shop.example.com",
        "address": "https://Shop.Example.com/cart",
        "serial": format_serial(serial),
        "serial in decimal": str(serial),
        "serial of openssl": f"serial={certificate.serial_number.upper()}",
        "fingerprint": bytes.fromhex(certificate.sha256_fingerprint).hex(":").upper(),
        "public key": certificate.spki_sha256,
        "request": certificate.request.public_id,
        "request's subject": f"request:{certificate.request.public_id}",
        "blanks around": f"  {certificate.cert_id}\t",
    }


def test_change_of_an_account_is_told_with_what_was_and_what_is(portal: Portal) -> None:
    portal.bob.is_active = False
    portal.bob.save()
    event = AuditEvent.objects.filter(event="user:changed").latest("id")
    assert words_of(event).endswith("changed the account bob: active account from yes to no.")


def test_waiver_is_found_by_the_name_that_pages_show(portal: Portal) -> None:
    with transaction.atomic():
        record_many([Event(EventType.WAIVER_APPROVED, "waiver:W-7", Actor("user", "carol"), database_now(), {})])
    for text in ("W-7", "w-7", "waiver:W-7"):
        assert found(portal.carol, text) == ["waiver:approved"], text


def test_certificate_is_found_by_whatever_a_page_shows_of_it(portal: Portal, certificate: Certificate) -> None:
    """B8: the audit search found nothing for what its own help said."""
    for person in (portal.carol, portal.alice):
        missing = {name for name, text in spellings(certificate).items() if "certificate:issued" not in found(person, text)}
        assert missing == set()


def test_nobody_learns_of_events_of_what_they_may_not_see(portal: Portal, certificate: Certificate) -> None:
    texts = [*spellings(certificate).values(), "alice", "alice@example.com", "web", "Web", "default", "portal", "worker", "1"]
    assert {text for text in texts if found(portal.bob, text)} == set()
    tokens = AuditEvent.objects.filter(actor_kind="token").values_list("actor_name", flat=True)
    assert {name for name in tokens if found(portal.bob, name)} == set()


def test_persons_are_found_by_name_and_mail_with_what_their_tokens_did(portal: Portal, certificate: Certificate) -> None:
    get_user_model().objects.filter(username="alice").update(first_name="Alice", last_name="van der Berg")
    for text in ("alice", "ALICE@example.com", "user:alice", "Alice van der Berg"):
        assert "request:submitted" in found(portal.carol, text)
    assert "user:created" in found(portal.carol, "alice")
    assert "user:created" in found(portal.alice, "alice")
    assert "request:submitted" not in found(portal.alice, "bob")


@pytest.mark.parametrize("text", ["web", "Web", "example.com", "Internal-CA-Prod", "default", "v2.3", "policy:default", "test"])
def test_other_things_are_found_under_their_names(portal: Portal, text: str) -> None:
    assert found(portal.carol, text)


def test_event_is_found_by_its_number(portal: Portal) -> None:
    number = AuditEvent.objects.order_by("pk")[0].pk
    for text in (str(number), f"#{number}", f"event {number}"):
        assert len(found(portal.carol, text)) >= 1
        assert not found(portal.bob, text)


def test_what_was_looked_for_is_said_where_nothing_is_found(portal: Portal) -> None:
    meaning = meaning_of("no-such-thing", authority(portal.carol))
    assert meaning.things == ()
    assert "account, e-mail address or name of a person" in meaning.looked_for
    assert "account, e-mail address or name of a person" not in meaning_of("no-such-thing", authority(portal.alice)).looked_for


@pytest.mark.parametrize("text", ["%", "'; --", "x" * 5000, "１２３", "💥", "9" * 30, "request:", ":", "a:b:c", "request:req-1/../.."])
def test_nonsense_finds_nothing_and_breaks_nothing(portal: Portal, text: str) -> None:
    client = Client()
    client.force_login(portal.carol)
    assert client.get("/audit/", {"q": text, "before": text, "after": text}).status_code == 200


def write(count: int, *, kind: EventType = EventType.REQUEST_RESUMED, subject: str = "request:req-x", actor: str = "ann") -> None:
    now = database_now()
    with transaction.atomic():
        record_many([Event(kind, subject, Actor("user", actor), now, {"state": "approved"}) for _ in range(count)])


def test_pages_go_both_ways_without_gap_or_repetition(portal: Portal) -> None:
    """Events of one batch share their time; the id orders them."""
    write(7)
    write(5)
    selection = Selection((Source(subjects=("request:req-x",)), Source(actor="ann")))
    every = [event.pk for event in all_of(selection)]
    assert len(every) == 12
    first = page_of(selection, size=5)
    second = page_of(selection, before=first.older, size=5)
    third = page_of(selection, before=second.older, size=5)
    assert [event.pk for page in (first, second, third) for event in page.events] == every
    assert (first.newer, third.older) == (0, 0)
    back = page_of(selection, after=third.newer, size=5)
    assert [event.pk for event in back.events] == [event.pk for event in second.events]
    assert page_of(selection, after=second.newer, size=5).newer == 0


def test_kinds_and_days_narrow_a_search(portal: Portal) -> None:
    write(2)
    write(3, kind=EventType.LOGIN_FAILED, subject="user:ann")
    every = page_of(Selection((Source(actor="ann"),), (EventType.LOGIN_FAILED,)))
    assert [event.event for event in every.events] == ["login:failed"] * 3
    assert not page_of(Selection(None, (), Period(end=AuditEvent.objects.order_by("at")[0].at))).events
    query = AuditQuery.from_query({"from": "2000-01-01", "to": "2100-01-01"}, ["sign-in"])
    assert query.kinds == (EventKind.SIGN_IN,)
    assert AuditQuery.from_query(dict(query.to_query()), ["sign-in"]) == query


@pytest.mark.parametrize(
    ("values", "kinds", "field"),
    [
        ({"from": "yesterday"}, [], "from"),
        ({"to": "2027-02-30"}, [], "to"),
        ({"from": "2027-02-02", "to": "2027-02-01"}, [], "to"),
        ({"from": "0001-01-01"}, [], "from"),
        ({"to": "9999-12-31"}, [], "to"),
        ({}, ["everything"], "kind"),
    ],
)
def test_wrong_filter_names_its_field_and_keeps_what_was_typed(
    portal: Portal, values: dict[str, str], kinds: list[str], field: str
) -> None:
    with pytest.raises(InputRefused) as refused:
        AuditQuery.from_query(values, kinds)
    assert refused.value.field == field
    client = Client()
    client.force_login(portal.carol)
    shown = client.get("/audit/", values | {"kind": kinds, "q": "shop.example.com"})
    assert shown.status_code == 400
    assert 'value="shop.example.com"' in shown.content.decode()


def test_days_are_those_of_the_reader() -> None:
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - one use

    period = AuditQuery(first=date(2027, 3, 28), last=date(2027, 3, 28)).period(ZoneInfo("Europe/Zurich"))
    assert period.start is not None
    assert period.end is not None
    assert (period.end - period.start).total_seconds() == 23 * 3600  # summer time begins


def test_page_costs_the_same_queries_for_any_number_of_events(portal: Portal) -> None:
    client = Client()
    client.force_login(portal.carol)
    client.get("/audit/")
    write(1)
    with CaptureQueriesContext(connection) as few:
        assert client.get("/audit/?q=ann").status_code == 200
    write(60)
    with CaptureQueriesContext(connection) as many:
        assert client.get("/audit/?q=ann").status_code == 200
    assert len(many) == len(few)


def test_events_name_what_they_are_about_as_people_call_it(
    portal: Portal, certificate: Certificate, make_spec: Callable[..., CertificateSpec]
) -> None:
    order = drafted([make_spec("of-an-order.example.com")], portal.requester(), title="three for the shop")
    submit_order(order, authority=portal.requester().authority)
    Certificate.objects.filter(pk=certificate.pk).update(common_name="")  # as of a profile without one
    write(1, kind=EventType.CERTIFICATE_DOWNLOADED, subject=f"certificate:{certificate.cert_id}")
    client = Client()
    client.force_login(portal.carol)
    names = {row.event.subject: row.name for row in client.get("/audit/").context["rows"]}
    name = certificate.request.names[0]
    assert names[f"certificate:{certificate.cert_id}"] == name
    assert names[certificate.request.subject] == name
    assert names[order.subject] == "three for the shop"
    assert f"{name} · {certificate.request.subject}" in client.get("/audit/").content.decode()


def lines(client: Client, address: str) -> list[str]:
    response: Any = client.get(address)
    assert response.status_code == 200
    return b"".join(response.streaming_content).decode().splitlines()


def test_requester_sees_the_latest_events_of_the_own_teams_without_a_search(portal: Portal, certificate: Certificate) -> None:
    client = Client()
    client.force_login(portal.alice)
    page = client.get("/audit/")
    assert {row.event.event for row in page.context["rows"]} >= {"request:submitted", "certificate:issued"}
    assert "Latest events of your teams" in page.content.decode()
    assert {row.event.event for row in client.get("/audit/?kind=requests").context["rows"]} >= {"request:submitted"}
    assert client.get("/audit/?from=2001-01-01&to=2001-01-02").context["rows"] == []
    client.force_login(portal.bob)  # of another team
    page = client.get("/audit/")
    assert page.context["rows"] == []
    assert certificate.cert_id not in page.content.decode()


def test_export_has_what_the_page_has_and_is_itself_an_event(portal: Portal, certificate: Certificate) -> None:
    client = Client()
    client.force_login(portal.carol)
    rows = lines(client, f"/audit/events.csv?q={certificate.cert_id}")
    assert rows[0].startswith("number,time,event,in_words,subject")
    assert any("certificate:issued" in row for row in rows)
    exported = AuditEvent.objects.get(event="audit:exported")
    assert (exported.actor_name, exported.data["searched"]) == ("carol", certificate.cert_id)
    assert any('"request:submitted"' in row for row in lines(client, "/audit/events.jsonl"))
    assert client.get("/audit/events.xml").status_code == 404


def test_export_of_a_requester_is_of_own_objects(portal: Portal, certificate: Certificate) -> None:
    client = Client()
    client.force_login(portal.bob)
    assert len(lines(client, "/audit/events.csv")) == 1
    assert len(lines(client, f"/audit/events.csv?q={certificate.cert_id}")) == 1
    client.force_login(portal.alice)
    assert len(lines(client, f"/audit/events.csv?q={certificate.cert_id}")) > 3
    assert len(lines(client, "/audit/events.csv")) == 1
