"""What the pages refuse, and to whom: secrets, auditors, doubles, nonsense."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.models import ApiToken, BulkOrder, Certificate, CertificateRequest, OperatorAlert
from certs.requests.approvals.approval import cancel
from certs.requests.plan import plan_words
from certs.requests.submit import submit
from certs.views.request.timeline import timeline
from db.clock import database_now
from tests.certs import steps
from tests.certs.x509.csr.test_pasted_secrets import SECRETS
from tests.portal.fixtures import PASSWORD, SYSTEM, Portal

pytestmark = pytest.mark.django_db(transaction=True)


def signed_in(name: str) -> Client:
    client = Client(raise_request_exception=False)
    assert client.login(username=name, password=PASSWORD)
    return client


def waiting_request(portal: Portal) -> CertificateRequest:
    plan: Any = plan_words("Issue TLS certificate for a.example.com with P-256", requester=portal.requester())
    return submit(plan.specs[0], requester=portal.requester())


@pytest.mark.parametrize(("place", "field"), [("", "text"), ("server", "names"), ("csr", "csr"), ("csr", "validity")])
def test_pasted_secret_does_not_come_back_in_the_page(portal: Portal, place: str, field: str) -> None:
    secret = SECRETS["pkcs8"][0].decode()
    response = signed_in("alice").post("/new/", {"place": place, "team": "web", "csr": "x"} | {field: secret})
    assert response.status_code == 422
    assert secret.splitlines()[1] not in response.content.decode()


def test_secret_in_a_field_does_not_come_back_with_the_error_of_another(portal: Portal) -> None:
    secret = SECRETS["pkcs8"][0].decode()
    for form in ({"csr": "x", "validity": secret}, {"csr": secret, "validity": "x"}, {"csr": "", "validity": secret}):
        response = signed_in("alice").post("/new/", {"place": "csr", "team": "web"} | form)
        assert response.status_code == 422
        assert secret.splitlines()[1] not in response.content.decode()
    assert "no-store" in response["Cache-Control"]


def test_auditor_sees_everything_and_changes_nothing(portal: Portal) -> None:
    portal.bob.groups.add(Group.objects.get(name="auditors"))
    request, auditor = waiting_request(portal), signed_in("bob")
    assert auditor.get(f"/requests/{request.public_id}/").status_code == 200
    assert [auditor.post(f"/requests/{request.public_id}/{act}/").status_code for act in ("cancel", "resume")] == [403, 403]
    request.refresh_from_db()
    assert request.state == "submitted"


def test_plan_confirmed_thrice_is_made_once(portal: Portal) -> None:
    alice = signed_in("alice")
    address, shown = shown_plan(alice, "Certificate for a.example.com in the vault, P-256, 30 days")
    assert {alice.post(f"{address}submit/", {"shown": shown})["Location"] for _ in range(3)} == {
        f"/requests/{CertificateRequest.objects.get().public_id}/"
    }
    assert alice.get(address)["Location"] == f"/requests/{CertificateRequest.objects.get().public_id}/"


def shown_plan(client: Client, text: str) -> tuple[str, str]:
    """The address of the draft, and the digest of its plan as the page shows it."""
    address = client.post("/new/", {"team": "web", "text": text})["Location"]
    page = client.get(f"{address}plan/").content.decode()
    return address, str(re.findall(r'name="shown" value="([^"]+)"', page)[0])


def test_several_certificates_in_words_become_a_draft_order(portal: Portal) -> None:
    words, alice = "Certificates for a-1 through a-3, P-256, 30 days", signed_in("alice")
    asked = alice.post("/new/", {"team": "web", "text": words})["Location"]
    assert (asked.partition("?")[0], parse_qs(asked.partition("?")[2])) == ("/bulk/new/", {"team": ["web"], "text": [words]})
    assert BulkOrder.objects.count() == 0
    response = alice.post("/new/", {"team": "web", "text": f"{words}, in the vault"})
    order = BulkOrder.objects.get()
    assert (response["Location"], order.state, order.items.count()) == (f"/bulk/{order.public_id}/", "draft", 3)


def test_suggestion_is_a_button_that_says_what_it_changes(portal: Portal) -> None:
    alice = signed_in("alice")
    draft = alice.post("/new/", {"team": "web", "text": "Certificate for api with RSA 2048 in the vault"})["Location"]
    refused = alice.get(draft).content.decode()
    assert "Completed with the default domain example.com: api" in refused
    assert "Use RSA key size ≥ 3072 bits</button>" in refused
    assert "Get the certificate" not in alice.get(f"{draft}plan/").content.decode()
    assert alice.post(draft, {"go": "apply"})["Location"] == draft
    page = alice.get(f"{draft}plan/").content.decode()
    assert "RSA 3072" in page
    assert "Get the certificate" in page


def test_plan_that_changed_since_it_was_shown_is_not_requested(portal: Portal) -> None:
    alice = signed_in("alice")
    address, shown = shown_plan(alice, "Certificate for a.example.com in the vault, P-256, 30 days")
    alice.post(address, {"names": "b.example.com", "go": "save"})
    assert [alice.post(f"{address}submit/", {"shown": text}).status_code for text in (shown, "", "nonsense")] == [409] * 3
    assert CertificateRequest.objects.count() == 0


NONSENSE = (
    "/requests/?before=²",
    "/requests/?before=-1",
    "/requests/?q=%00",
    "/certificates/?expiring=²",
    "/certificates/?q=²",
    "/requests/a%00b/",
    "/certificates/a%00b/",
    "/certificates/?before=99999999999999999999",
    "/bulk/?before=²&state=nope",
    "/bulk/new/?via=nope",
    "/bulk/a%00b/",
    "/bulk/nope/?show=nope&sort=nope&after=²",
    "/bulk/nope/everything.exe",
)


@pytest.mark.parametrize("path", NONSENSE)
def test_nonsense_in_addresses_is_never_a_server_error(portal: Portal, path: str) -> None:
    assert signed_in("alice").get(path).status_code in (200, 400, 404)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/login/", {"username": "a\x00b", "password": "x"}),
        ("/new/", {"place": "server", "team": "web", "names": "a\x00.example.com"}),
        ("/new/", {"place": "server", "team": "web", "server": "abacus"}),
        ("/new/", {"place": "moon", "team": "web"}),
        ("/new/", {"place": "csr", "team": "web"}),
        ("/new/", {"team": "web", "text": ""}),
        ("/tokens/", {"name": "x", "team": "web", "days": "²", "scopes": ["certificates:read"]}),
        ("/tokens/", {"name": "x", "team": "web", "days": "0000011000000", "scopes": ["certificates:read"]}),
        ("/tokens/", {"name": "x", "team": "web", "days": "9", "scopes": ["everything"]}),
    ],
)
def test_nonsense_in_forms_is_refused_with_a_reason(portal: Portal, path: str, body: dict[str, Any]) -> None:
    assert 400 <= signed_in("alice").post(path, body).status_code < 500
    assert ApiToken.objects.count() == 0


def test_enter_in_the_approvers_comment_decides_nothing(portal: Portal) -> None:
    plan: Any = plan_words("Issue TLS certificate for *.apps.example.com with P-256", requester=portal.requester())
    request = submit(plan.specs[0], requester=portal.requester())
    CertificateRequest.objects.filter(pk=request.pk).update(state="awaiting_approval")
    page = signed_in("carol").get(f"/requests/{request.public_id}/").content.decode()
    form = page[page.index('name="digest"') :]
    assert form.index("disabled") < form.index('value="approve"')


def test_part_of_a_page_sends_the_whole_page_to_the_sign_in(portal: Portal) -> None:
    request = waiting_request(portal)
    response = Client().get(f"/requests/{request.public_id}/steps/", headers={"HX-Request": "true"})
    assert (response["HX-Redirect"], response.content) == ("/login/", b"")


def test_auditor_is_shown_no_button_that_would_be_refused(portal: Portal) -> None:
    portal.bob.groups.add(Group.objects.get(name="auditors"))
    request = waiting_request(portal)
    CertificateRequest.objects.filter(pk=request.pk).update(
        state="csr_created", held_since=database_now(), resume_id="resume-1", error="down"
    )
    path = f"/requests/{request.public_id}/"
    shown = {name: signed_in(name).get(path).content.decode() for name in ("alice", "bob", "carol")}
    buttons = {name: ("Resume now" in page, "Cancel this request" in page) for name, page in shown.items()}
    assert buttons == {"alice": (True, True), "bob": (False, False), "carol": (True, True)}


def test_part_of_a_page_is_sent_only_when_something_happened(portal: Portal) -> None:
    request, alice = waiting_request(portal), signed_in("alice")
    first = alice.get(f"/requests/{request.public_id}/steps/").content.decode()
    assert [f'id="{name}" hx-swap-oob' in first for name in ("request-said", "request-beside", "request-audit", "request-end")] == [
        True
    ] * 4
    seen = re.findall(r"seen=(\d+)", first)[0]
    assert alice.get(f"/requests/{request.public_id}/steps/?seen={seen}").status_code == 204
    cancel(request, authority=Authority(SYSTEM))
    after = alice.get(f"/requests/{request.public_id}/steps/?seen={seen}")
    assert (after.status_code, "hx-get" in after.content.decode()) == (200, False)


@pytest.mark.parametrize(("state", "every"), [("submitted", "1s"), ("awaiting_approval", "5s"), ("rejected", None), ("failed", None)])
def test_page_asks_again_as_often_as_something_may_happen(portal: Portal, state: str, every: str | None) -> None:
    request = waiting_request(portal)
    CertificateRequest.objects.filter(pk=request.pk).update(state=state)
    page = signed_in("alice").get(f"/requests/{request.public_id}/").content.decode()
    assert re.findall(r'hx-trigger="every (\w+)"', page) == ([every] if every else [])


def test_cancelled_request_shows_where_it_stopped(portal: Portal) -> None:
    request = waiting_request(portal)
    for state, title in (("submitted", "Policy"), ("awaiting_approval", "Approval"), ("approved", "Key"), ("csr_created", "Signed")):
        CertificateRequest.objects.filter(pk=request.pk).update(state=state)
        events = [event_of("request:submitted"), event_of("policy:evaluated"), event_of("request:cancelled", state=state)]
        request.refresh_from_db()
        request.state = "cancelled"
        assert [step.title for step in timeline(request, events) if step.state == "stopped"] == [title]


def test_steps_tell_the_last_word_of_the_policy(portal: Portal) -> None:
    events = [
        event_of("policy:evaluated", outcome="allow", policy_version="v1"),
        event_of("policy:evaluated", outcome="deny", policy_version="v2"),
    ]
    assert timeline(waiting_request(portal), events)[1].detail == "refused under policy v2"


def event_of(name: str, **data: Any) -> AuditEvent:
    return AuditEvent(event=name, at=database_now(), data=data)


def test_request_is_found_by_any_of_its_names(portal: Portal) -> None:
    plan: Any = plan_words("Certificate for a.example.com, www.b.example.com and 192.0.2.7, P-256", requester=portal.requester())
    row = submit(plan.specs[0], requester=portal.requester())
    found = {text: row.public_id in signed_in("alice").get("/requests/", {"q": text}).content.decode() for text in NAMES}
    assert found == {"a.example.com": True, "WWW.b": True, "192.0.2.7": True, "c.example.com": False}


NAMES = ("a.example.com", "WWW.b", "192.0.2.7", "c.example.com")


def test_asking_about_a_download_is_not_taking_it_and_a_pending_revocation_is_told_as_such(portal: Portal) -> None:
    request = waiting_request(portal)
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs, steps.submit_to_ca, steps.record_inventory):
        step([request.pk])
    certificate, alice = Certificate.objects.get(), signed_in("alice")
    path = f"/certificates/{certificate.cert_id}/cert.pem"
    taken = AuditEvent.objects.filter(event="certificate:downloaded")
    assert (alice.head(path).status_code, taken.count()) == (200, 0)
    assert (alice.get(path).status_code, taken.count()) == (200, 1)
    told = {}
    for status in ("revocation_pending", "revoked"):
        Certificate.objects.filter(pk=certificate.pk).update(status=status)
        response = alice.get(path)
        told[status] = (response.status_code, "is being revoked" in response.content.decode(), "is revoked" in response.content.decode())
    assert told == {"revocation_pending": (409, True, False), "revoked": (409, False, True)}
    Certificate.objects.filter(pk=certificate.pk).update(status="good")


def test_closing_an_alert_is_on_record_once(portal: Portal) -> None:
    now = database_now()
    alert = OperatorAlert.objects.create(kind="k", cause="c", message="m", next_step="n", raised_at=now, last_seen_at=now)
    carol = signed_in("carol")
    assert [carol.post(f"/alerts/{alert.pk}/close/").status_code for _ in range(2)] == [302, 302]
    assert signed_in("alice").post(f"/alerts/{alert.pk}/close/").status_code == 404
    events = AuditEvent.objects.filter(event="alert:closed").values_list("subject", "actor_name", "data")
    assert list(events) == [(f"alert:{alert.pk}", "carol", {"kind": "k", "cause": "c"})]
