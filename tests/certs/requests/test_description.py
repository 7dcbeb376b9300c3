"""Owner, purpose, review and renewal switch: who may change them, what is recorded, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.api_tokens import SCOPES, create_token
from certs.access.permissions import Authority
from certs.errors import Conflict, CSRRefused, InputRefused, NotFound, NotPermitted
from certs.inventory import Renewal, renewal_of
from certs.models import Certificate, OutgoingMail
from certs.requests.description import Changes, describe
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.cast import Cast
from tests.certs.api.test_issue import Api
from tests.certs.life import issued, renewed
from tests.portal.threads import in_thread, until_it_waits_for_a_lock

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


@pytest.fixture
def certificate(twin_portal: Requester, cast: Cast, make_spec: MakeSpec) -> Certificate:
    return issued(make_spec("a.example.com"), cast.requester("requester"))


def by(user: Any) -> Authority:
    return Authority(Actor("user", user.username), user)


def change(certificate: Certificate, user: Any, **changes: Any) -> Certificate:
    given: Changes = changes  # type: ignore[assignment]
    return describe(certificate, given, authority=by(user), channel="portal")


def events_of(certificate: Certificate) -> list[tuple[str, str, dict[str, Any]]]:
    rows = AuditEvent.objects.filter(subject=f"certificate:{certificate.cert_id}").order_by("pk")
    return [(row.event, row.actor_name, row.data) for row in rows]


def test_each_kind_of_change_is_recorded_with_what_was_before(certificate: Certificate, cast: Cast) -> None:
    today = database_now().date()
    row = change(
        certificate,
        cast["requester"],
        owner="colleague",
        purpose=" Shop\n front ",
        critical_function=True,
        last_review=today,
        renewal_off_reason="Ends in March.",
    )
    assert (row.owner, row.purpose, row.critical_function) == (cast["colleague"], "Shop front", True)
    assert (row.last_review, row.renewal_off_reason, renewal_of(row)) == (today, "Ends in March.", Renewal.OFF)
    described = {
        "owner": "colleague",
        "owner_before": "requester",
        "purpose": "Shop front",
        "purpose_before": "",
        "critical_function": True,
        "critical_function_before": False,
    }
    assert events_of(certificate) == [
        ("certificate:reviewed", "requester", {"last_review": today.isoformat(), "last_review_before": None}),
        ("certificate:renewal_switched", "requester", {"renewal": "off", "reason": "Ends in March.", "reason_before": ""}),
        ("certificate:described", "requester", described),
    ]
    change(row, cast["requester"], owner="colleague", purpose="Shop front")
    assert len(events_of(certificate)) == 3  # nothing changed
    row = change(row, cast["colleague"], renewal_off_reason="")
    assert (renewal_of(row), row.renewal_blocked) == (Renewal.ITSELF, "")
    assert events_of(certificate)[-1] == (
        "certificate:renewal_switched",
        "colleague",
        {"renewal": "on", "reason": "", "reason_before": "Ends in March."},
    )
    assert Certificate.objects.get().purpose == "Shop front"  # what was not sent stays


def test_notes_tags_and_runbook_are_kept_and_recorded(certificate: Certificate, cast: Cast) -> None:
    row = change(
        certificate,
        cast["requester"],
        notes="  Reload  both nodes.\r\nThen call the desk. ",
        tags=["Production", "cost:4711", "production", ""],
        runbook="https://wiki.example.com/shop",
    )
    assert (row.notes, row.tag_list, row.runbook) == (
        "Reload both nodes.\nThen call the desk.",
        ["production", "cost:4711"],
        "https://wiki.example.com/shop",
    )
    ((event, actor, data),) = events_of(certificate)
    assert (event, actor, data["tags"], data["tags_before"]) == ("certificate:described", "requester", "production cost:4711", "")
    assert change(certificate, cast["requester"], tags=[]).tag_list == []


def test_rest_writes_and_finds_tags(twin_portal: Requester, certificate: Certificate, cast: Cast) -> None:
    _, secret = create_token(user=cast["requester"], team=twin_portal.team, name="t", scopes=SCOPES, actor=twin_portal.actor)
    api = Api(secret)
    status, told = api.send("patch", f"/certificates/{certificate.cert_id}", {"tags": ["web", "production"], "notes": "n", "runbook": ""})
    assert (status, told["tags"], told["notes"]) == (200, ["web", "production"], "n")
    found = {tag: len(api.get(f"/certificates?tag={tag}")[1]["certificates"]) for tag in ("production", "WEB", "prod", "b p")}
    assert found == {"production": 1, "WEB": 1, "prod": 0, "b p": 0}


@pytest.mark.parametrize(("name", "refused"), [("officer", None), ("auditor", NotPermitted), ("nobody", NotFound)])
def test_members_and_officers_describe_and_auditors_may_not(
    certificate: Certificate, cast: Cast, name: str, refused: type[Exception] | None
) -> None:
    if refused is None:
        assert change(certificate, cast[name], purpose="x").purpose == "x"
        return
    with pytest.raises(refused):
        change(certificate, cast[name], purpose="x")
    assert events_of(certificate) == []


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"owner": "nobody"}, "owner", "no active member"),
        ({"owner": "nobody-at-all"}, "owner", "no active member"),
        ({"purpose": "x" * 201}, "purpose", "201 characters"),
        ({"renewal_off_reason": "x" * 301}, "renewal_off_reason", "at most 300"),
        ({"purpose": "a\u202eb"}, "purpose", "control character"),
        ({"purpose": "a\x00b"}, "purpose", "control character"),
        ({"last_review": date(2999, 1, 1)}, "last_review", "in the future"),
        ({"notes": "x" * 1001}, "notes", "at most 1000"),
        ({"notes": "a\u202eb"}, "notes", "control character"),
        ({"tags": ["two words"]}, "tags", "cannot be a tag"),
        ({"tags": ["x" * 33]}, "tags", "cannot be a tag"),
        ({"tags": [f"t{n}" for n in range(11)]}, "tags", "more than 10"),
        ({"runbook": "javascript:alert(1)"}, "runbook", "no web address"),
        ({"runbook": "wiki/shop"}, "runbook", "no web address"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_by_field(certificate: Certificate, cast: Cast, changes: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(InputRefused, match=said) as refused:
        change(certificate, cast["requester"], **changes)
    assert (refused.value.field, bool(refused.value.next_step)) == (field, True)
    assert Certificate.objects.values().get() == Certificate.objects.values().get(pk=certificate.pk)
    assert events_of(certificate) == []


def test_a_secret_in_a_text_is_refused(certificate: Certificate, cast: Cast) -> None:
    with pytest.raises(CSRRefused) as refused:
        change(certificate, cast["requester"], purpose="pkip_Zq7vWm2nXb4KcR9tYh1LpD6sGf8jUe3aQoIiNnBbVvC")
    assert refused.value.field == "purpose"
    assert Certificate.objects.get().purpose == ""


def test_an_owner_who_left_stays_until_another_is_named(certificate: Certificate, cast: Cast) -> None:
    certificate.team.members.remove(cast["requester"])
    assert change(certificate, cast["colleague"], owner="requester", purpose="x").owner == cast["requester"]
    assert change(certificate, cast["colleague"], owner="colleague").owner == cast["colleague"]
    with pytest.raises(InputRefused):
        change(certificate, cast["colleague"], owner="requester")
    assert change(certificate, cast["colleague"], owner="").owner is None


def test_a_renewed_certificate_is_described_on_the_new_one(certificate: Certificate, cast: Cast) -> None:
    new = renewed(certificate)
    with pytest.raises(Conflict, match=new.cert_id):
        change(certificate, cast["requester"], purpose="x")
    assert change(new, cast["requester"], purpose="x").purpose == "x"


def test_who_loses_the_right_while_waiting_changes_nothing(certificate: Certificate, cast: Cast, request: pytest.FixtureRequest) -> None:
    if "sqlite" in str(transaction.get_connection().vendor):
        return  # one writer at a time: nobody waits behind a row
    kept: list[Exception] = []

    def attempt() -> None:
        try:
            change(certificate, cast["colleague"], purpose="x")
        except NotFound as exc:
            kept.append(exc)

    with transaction.atomic():
        Certificate.objects.select_for_update().get(pk=certificate.pk)
        thread = in_thread(attempt)
        until_it_waits_for_a_lock()
        certificate.team.members.remove(cast["colleague"])
    thread.join(30)
    assert len(kept) == 1
    assert Certificate.objects.get().purpose == ""


@pytest.mark.parametrize("owner", ["leaver", ""])
def test_owner_before_a_change_is_the_one_behind_the_lock(certificate: Certificate, cast: Cast, owner: str) -> None:
    """Two people hand it over at once. The owner who loses it is told, and nothing is left undone."""
    if "sqlite" in str(transaction.get_connection().vendor):
        return  # one writer at a time: nobody waits behind a row
    change(certificate, cast["requester"], owner="requester")
    with transaction.atomic():
        change(certificate, cast["requester"], owner="colleague")
        thread = in_thread(lambda: change(certificate, cast["requester"], owner=owner))
        until_it_waits_for_a_lock()
    thread.join(30)
    assert Certificate.objects.get().owner == (cast[owner] if owner else None)
    event = AuditEvent.objects.filter(event="certificate:described").latest("pk")
    assert (event.data["owner"], event.data["owner_before"]) == (owner or None, "colleague")
    assert OutgoingMail.objects.filter(recipient="colleague@example.org").count() == 2


def test_pages_change_the_description_and_keep_the_input(certificate: Certificate, cast: Cast, client: Client) -> None:
    client.force_login(cast["requester"])
    path = f"/certificates/{certificate.cert_id}/"
    assert f"{path}describe/" in client.get(path).content.decode()
    given = {"owner": "colleague", "purpose": "Shop", "critical_function": "on", "renewal": "off", "renewal_off_reason": " "}
    page = client.post(f"{path}describe/", given)
    assert (page.status_code, b'value="Shop"' in page.content, b"only with a reason" in page.content) == (422, True, True)
    assert client.post(f"{path}describe/", given | {"renewal_off_reason": "over"}).status_code == 302
    assert client.post(f"{path}reviewed/").status_code == 302
    row = Certificate.objects.get()
    assert (row.owner, row.critical_function, row.renewal_off_reason) == (cast["colleague"], True, "over")
    assert row.last_review == database_now().date()
    text = client.get(path).content.decode()
    assert "switched off: over" in text
    certificate.team.members.remove(cast["colleague"])
    assert "colleague has left the team" in client.get(path).content.decode()
    client.force_login(cast["auditor"])
    assert f"{path}describe/" not in client.get(path).content.decode()


def test_rest_changes_only_what_is_sent(certificate: Certificate, cast: Cast) -> None:
    secret = create_token(user=cast["requester"], team=certificate.team, name="t", scopes=SCOPES, actor=Actor("user", "requester"))[1]
    api, path = Api(secret), f"/certificates/{certificate.cert_id}"
    status, told = api.send("patch", path, {"purpose": "Shop", "renewal_off_reason": "over"})
    assert (status, told["owner"], told["purpose"], told["renewal"], told["state"]) == (200, "requester", "Shop", "off", "valid")
    status, told = api.send("patch", path, {"critical_function": True, "last_review": "2026-01-31", "owner": ""})
    assert (told["owner"], told["purpose"], told["critical_function"], told["last_review"]) == (None, "Shop", True, "2026-01-31")
    tomorrow = (database_now().date() + timedelta(days=2)).isoformat()
    for body, field in (({"owner": "nobody"}, "owner"), ({"last_review": tomorrow}, "last_review"), ({"colour": "red"}, "colour")):
        status, told = api.send("patch", path, body)
        assert (status, told["field"]) == (422, field)
    assert api.get(path)[1]["purpose"] == "Shop"
