"""Pages for what goes wrong: each has its own words, and what was typed is kept."""

from __future__ import annotations

import re
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client, RequestFactory

from certs.errors import TooMany
from certs.models import ApiToken, RateCounter
from certs.requests.submit import submit_many
from certs.spec import CertificateSpec
from certs.views import kept_forms
from certs.views.access import page
from certs.views.kept_forms import KEPT_FOR, MOST_CHARACTERS
from tests.certs.installation.servers import pem_of_key
from tests.certs.life import brought, issued, walk
from tests.portal.fixtures import PASSWORD, Portal

pytestmark = [pytest.mark.django_db(transaction=True)]

ORIGIN = {"Origin": "http://testserver"}
FORM = {"name": "deploy <pipeline>", "team": "web", "scopes": ["certificates:read", "certificates:issue"], "days": "30"}


@pytest.fixture
def alice(portal: Portal) -> Client:
    client = Client()
    client.force_login(portal.alice)
    return client


def signed_in(client: Client, following: str) -> Any:
    return client.post("/login/", {"username": "alice", "password": PASSWORD, "next": following})


def fields_of(text: str) -> list[tuple[str, str]]:
    found = re.findall(r'<textarea name="([^"]+)" hidden[^>]*>\n(.*?)</textarea>', text, re.DOTALL)
    return [(name, value.replace("&lt;", "<").replace("&gt;", ">")) for name, value in found]


def test_form_of_a_person_who_was_signed_out_is_kept_across_the_sign_in(portal: Portal) -> None:
    """B17: the text that was typed was lost."""
    client = Client()
    asked = client.post("/tokens/", FORM, headers={"Referer": "http://testserver/tokens/?x=1"})
    assert (asked.status_code, asked["Location"]) == (302, "/login/?next=%2Fsend-again%2F")
    text = client.get(asked["Location"]).content.decode()
    assert "You were signed out.</strong> Sign in; what you typed is kept." in text
    answer = signed_in(client, "/send-again/")
    assert answer["Location"] == "/send-again/"
    assert client.session.get_expiry_age() > KEPT_FOR.total_seconds()
    shown = client.get("/send-again/").content.decode()
    assert 'action="/tokens/"' in shown
    assert "deploy &lt;pipeline&gt;" in shown
    fields = fields_of(shown)
    assert fields == [
        ("name", "deploy <pipeline>"),
        ("team", "web"),
        ("scopes", "certificates:read"),
        ("scopes", "certificates:issue"),
        ("days", "30"),
    ]
    sent: dict[str, list[str]] = {}
    for name, value in fields:
        sent.setdefault(name, []).append(value)
    assert client.post("/tokens/", sent).status_code == 200
    assert ApiToken.objects.get().name == "deploy <pipeline>"


def test_passwords_secrets_and_files_are_not_kept(portal: Portal) -> None:
    client = Client()
    secret = pem_of_key(ec.generate_private_key(ec.SECP256R1())).decode()
    client.post("/tokens/", {"name": secret, "old_password": "hunter2hunter2", "team": "web"})
    signed_in(client, "/send-again/")
    text = client.get("/send-again/").content.decode()
    assert "PRIVATE KEY" not in text
    assert "hunter2" not in text
    assert fields_of(text) == []  # nothing is sent that is not complete
    assert "Passwords, secrets and files are not kept" in text
    assert "Web" not in text
    assert ">web<" in text


@pytest.mark.parametrize("path", ["/tokens/", "/teams/web/webhooks/", "/certificates/{}/live/", "/account/"])
def test_form_that_is_refused_repeats_no_secret(portal: Portal, alice: Client, path: str) -> None:
    certificate = issued(brought("shop.example.com"), portal.requester())
    secret = pem_of_key(ec.generate_private_key(ec.SECP256R1())).decode()
    form = dict.fromkeys(("name", "url", "place", "time_zone"), secret) | {"team": "web", "do": "zone", "scopes": "certificates:read"}
    text = alice.post(path.format(certificate.cert_id), form).content.decode()
    assert secret.split()[4] not in text
    assert "PRIVATE KEY" not in text


def test_kept_form_is_forgotten_when_its_person_wants(portal: Portal) -> None:
    client = Client()
    client.post("/tokens/", FORM)
    signed_in(client, "/send-again/")
    client.post("/send-again/")
    assert client.get("/send-again/").status_code == 302


def test_forms_of_strangers_do_not_fill_the_database(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_forms, "FROM_ONE_ADDRESS", 2)
    answers = [Client().post("/tokens/", FORM)["Location"] for _ in range(3)]
    assert answers == ["/login/?next=%2Fsend-again%2F"] * 2 + ["/login/?next=/tokens/"]
    assert RateCounter.objects.get(key="kept-form:127.0.0.1").used == 2


def test_form_that_is_too_long_is_kept_as_far_as_it_goes(portal: Portal) -> None:
    client = Client()
    client.post("/tokens/", {"name": "x", "csr": "y" * (MOST_CHARACTERS + 1)})
    assert client.session[kept_forms.KEY]["fields"] == [["name", "x"]]


def test_part_of_a_page_leads_to_the_sign_in_and_back_to_its_page(portal: Portal) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://testserver/requests/req-1/"}
    answer = Client().get("/requests/req-1/steps/", headers=headers)
    assert answer["HX-Redirect"] == "/login/?next=%2Frequests%2Freq-1%2F"


def test_page_whose_token_is_too_old_is_sent_again_with_one_click(portal: Portal) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(portal.alice)
    answer = client.post("/tokens/", FORM, headers=ORIGIN)
    text = answer.content.decode()
    assert answer.status_code == 403
    assert "This page is too old to send" in text
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', text)
    assert token is not None
    sent = {name: [value for n, value in fields_of(text) if n == name] for name, _ in fields_of(text)}
    assert client.post("/tokens/", sent | {"csrfmiddlewaretoken": token.group(1)}, headers=ORIGIN).status_code == 200
    assert ApiToken.objects.count() == 1


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://evil.example"}, {"Origin": "null"}, ORIGIN | {"Sec-Fetch-Site": "cross-site"}])
def test_form_of_another_site_is_not_offered_for_sending(portal: Portal, headers: dict[str, str]) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(portal.alice)
    answer = client.post("/tokens/", FORM, headers=headers)
    assert (answer.status_code, fields_of(answer.content.decode())) == (403, [])
    assert "deploy" not in answer.content.decode()


def test_signed_out_person_with_an_old_page_signs_in_first(portal: Portal) -> None:
    client = Client(enforce_csrf_checks=True)
    answer = client.post("/tokens/", FORM, headers=ORIGIN)
    assert (answer.status_code, answer["Location"]) == (302, "/login/?next=%2Fsend-again%2F")


def test_refusal_names_who_can_give_the_role(portal: Portal, alice: Client) -> None:
    """B17: 403 and CSRF shared one text that helped with neither."""
    portal.carol.is_staff = portal.carol.is_superuser = True
    portal.carol.save()
    answer = alice.get("/admin/login/")
    text = answer.content.decode()
    assert answer.status_code == 403
    assert "You may not open this page" in text
    assert "Roles are given by carol." in " ".join(text.split())


def test_refused_form_shows_what_was_typed_and_leads_back(portal: Portal, alice: Client) -> None:
    answer = alice.post("/tokens/", FORM | {"days": "9999"}, headers={"Referer": "http://testserver/tokens/"})
    assert answer.status_code == 422
    assert "deploy &lt;pipeline&gt;" in answer.content.decode()


def test_rejection_without_a_reason_stays_on_its_page_with_the_field_marked(portal: Portal, alice: Client) -> None:
    """B20: it led to a page with one button, to ask for a certificate."""
    spec = CertificateSpec("*.example.com", ("*.example.com",), (), "ec-p256", 90, "tls-server")
    (row,) = submit_many([spec], requester=portal.requester())
    walk([row.pk])
    row.refresh_from_db()
    carol = Client()
    carol.force_login(portal.carol)
    form = {"decision": "reject", "digest": row.digest, "comment": " "}
    answer = carol.post(f"/requests/{row.public_id}/decide/", form)
    text = answer.content.decode()
    assert answer.status_code == 422
    assert "A rejection needs a reason. Say what the requester should do instead." in text
    assert 'name="decision" value="reject"' in text
    assert 'aria-describedby="comment-error"' in text
    assert alice.post(f"/requests/{row.public_id}/decide/", form).status_code == 422  # and shows no form to others
    assert "Your decision" not in alice.post(f"/requests/{row.public_id}/decide/", form).content.decode()


def test_page_that_is_asked_for_too_often_says_how_long_to_wait(portal: Portal) -> None:
    @page
    def busy(_request: Any) -> Any:
        raise TooMany("You asked too often.", retry_after=90)

    request = RequestFactory().get("/")
    request.user, request.session = portal.alice, SessionStore()
    answer: Any = busy(request)
    assert (answer.status_code, answer["Retry-After"]) == (429, "90")
    assert "Try again in 2 minutes." in answer.content.decode()
    assert "Too many in a short time" in answer.content.decode()


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [("/nowhere/", 404, "There is no such page"), ("/login/?x=%00", 400, "The request could not be read")],
)
def test_each_kind_of_fault_has_words_and_a_way_on(alice: Client, path: str, status: int, words: str) -> None:
    answer = alice.get(path)
    text = answer.content.decode()
    assert (answer.status_code, f"<h1>{words}</h1>" in text) == (status, True)
    assert '<nav aria-label="Main">' in text


def test_portal_without_people_who_give_roles_names_its_administrators(portal: Portal, alice: Client) -> None:
    assert "the administrators of this portal" in alice.get("/admin/login/").content.decode()
