"""What the pages refuse, and to whom: secrets, auditors, doubles, nonsense."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core import signing
from django.test import Client

from certs.models import ApiToken, BulkOrder, CertificateRequest
from certs.views.plans import SALT
from certs.workflow.issuance import submit
from certs.workflow.planning import plan_words
from tests.certs.x509.test_pasted_secrets import SECRETS
from tests.portal.fixtures import PASSWORD, Portal

pytestmark = pytest.mark.django_db(transaction=True)


def signed_in(name: str) -> Client:
    client = Client(raise_request_exception=False)
    assert client.login(username=name, password=PASSWORD)
    return client


def waiting_request(portal: Portal) -> CertificateRequest:
    plan: Any = plan_words("Issue TLS certificate for a.example.com with P-256", requester=portal.requester())
    return submit(plan.specs[0], requester=portal.requester())


@pytest.mark.parametrize(("via", "field"), [("words", "text"), ("form", "common_name"), ("form", "sans"), ("csr", "csr")])
def test_pasted_secret_does_not_come_back_in_the_page(portal: Portal, via: str, field: str) -> None:
    secret = SECRETS["pkcs8"][0].decode()
    response = signed_in("alice").post("/plan/", {"via": via, "team": "web", field: secret})
    assert response.status_code == 422
    assert secret.splitlines()[1] not in response.content.decode()
    assert "no-store" in response["Cache-Control"]


def test_auditor_sees_everything_and_changes_nothing(portal: Portal) -> None:
    portal.bob.groups.add(Group.objects.create(name="auditors"))
    request, auditor = waiting_request(portal), signed_in("bob")
    assert auditor.get(f"/requests/{request.public_id}/").status_code == 200
    assert [auditor.post(f"/requests/{request.public_id}/{act}/").status_code for act in ("cancel", "resume")] == [403, 403]
    request.refresh_from_db()
    assert request.state == "submitted"


def test_plan_confirmed_thrice_is_made_once(portal: Portal) -> None:
    alice = signed_in("alice")
    token = shown_plan(alice, "Certificate for a.example.com, P-256, 30 days")
    assert [alice.post("/confirm/", {"plan": token}).status_code for _ in range(3)] == [302, 302, 302]
    assert CertificateRequest.objects.count() == 1


def shown_plan(client: Client, text: str) -> str:
    page = client.post("/plan/", {"via": "words", "team": "web", "text": text}).content.decode()
    return str(re.findall(r'name="plan" value="([^"]+)"', page)[-1])


def test_several_certificates_in_words_become_a_draft_order(portal: Portal) -> None:
    response = signed_in("alice").post(
        "/plan/", {"via": "words", "team": "web", "text": "Certificates for a-1 through a-3, P-256, 30 days"}
    )
    order = BulkOrder.objects.get()
    assert (response["Location"], order.state, order.items.count()) == (f"/bulk/{order.public_id}/", "draft", 3)


def test_plan_that_another_release_signed_is_refused_with_what_to_do(portal: Portal) -> None:
    token = signing.dumps(
        {"kind": "words", "team": "web", "text": "x", "specs": [], "notes": [], "colour": "red"}, salt=SALT, compress=True
    )
    for path in ("/plan/", "/confirm/"):
        response = signed_in("alice").post(path, {"plan": token})
        assert response.status_code == 422
        assert "Ask again; nothing was made." in response.content.decode()


def test_notes_of_a_plan_outlive_its_suggestion(portal: Portal) -> None:
    alice = signed_in("alice")
    refused = alice.post("/plan/", {"via": "words", "team": "web", "text": "Certificate for api with RSA 2048"}).content.decode()
    token = re.findall(r'name="plan" value="([^"]+)"', refused)[0]
    page = alice.post("/plan/", {"plan": token}).content.decode()
    assert "Completed with the default domain example.com: api" in page
    assert "Changed as the policy suggested: Use RSA key size ≥ 3072 bits" in page
    assert "Issue it" not in refused
    assert "Issue it" in page


def test_altered_or_strange_plan_is_refused(portal: Portal) -> None:
    alice = signed_in("alice")
    assert [alice.post("/confirm/", {"plan": text}).status_code for text in ("", "nonsense", "a:b:c")] == [422, 422, 422]
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
        ("/plan/", {"via": "form", "team": "web", "common_name": "a\x00.example.com"}),
        ("/plan/", {"via": "form", "team": "web", "common_name": "a.example.com", "validity_days": "²"}),
        ("/plan/", {"via": "form", "team": "web", "common_name": "a.example.com", "key": "rsa-1"}),
        ("/plan/", {"via": "nothing", "team": "web"}),
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


def test_signing_in_again_after_a_lost_form_leads_home(portal: Portal) -> None:
    assert [signed_in("alice").get(path)["Location"] for path in ("/plan/", "/confirm/")] == ["/", "/"]


def test_part_of_a_page_sends_the_whole_page_to_the_sign_in(portal: Portal) -> None:
    request = waiting_request(portal)
    response = Client().get(f"/requests/{request.public_id}/steps/", headers={"HX-Request": "true"})
    assert (response["HX-Redirect"], response.content) == ("/login/", b"")
