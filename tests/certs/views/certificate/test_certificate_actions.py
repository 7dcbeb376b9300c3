"""The pages of renewal and revocation without a browser: bad input, other people's roles, and CAs that cannot do everything."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from certs.models import Certificate, Issuer, Revocation
from certs.revocation.deliver import process_revocations
from tests.certs.api.test_issue import Api, pem_csr
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def path(portal: Portal) -> str:
    assert Api(portal.token()).post("/certificates/issue", {"csr": pem_csr("a.example.com")})[0] == 200
    return f"/certificates/{Certificate.objects.get().cert_id}"


def browser(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text_of(response: Any) -> str:
    return " ".join(response.content.decode().split())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "There is no reason"),
        ({"reason": "banana"}, "There is no reason"),
        ({"reason": "removeFromCRL"}, "There is no reason"),
        ({"reason": "superseded", "since": "2026-02-30"}, "This is not a date."),
        ({"reason": "superseded", "since": "tomorrow"}, "This is not a date."),
        ({"reason": "superseded", "since": "2999-01-01"}, "in the future"),
        ({"reason": "keyCompromise", "challenge": "x", "signature": "eA=="}, "not the portal"),
        ({"reason": "superseded", "comment": "token hvs.CAESIJx0bSe7Y2tVb1lRk3n9Zz"}, "This text contains a secret"),
    ],
    ids=str,
)
def test_bad_input_comes_back_with_the_form_and_revokes_nothing(portal: Portal, path: str, given: dict[str, str], said: str) -> None:
    response = browser(portal.alice).post(f"{path}/revoke/", given)
    assert (response.status_code, said in text_of(response)) == (422, True)
    assert "hvs." not in text_of(response)
    assert Revocation.objects.count() == 0


def test_what_cannot_be_done_is_a_conflict(portal: Portal, path: str) -> None:
    alice = browser(portal.alice)
    assert alice.post(f"{path}/release/").status_code == 409
    assert alice.post(f"{path}/revoke/", {"reason": "superseded"}).status_code == 302
    assert alice.post(f"{path}/revoke/", {"reason": "unspecified"}).status_code == 409
    assert alice.post(f"{path}/revoke/", {"reason": "keyCompromise"}).status_code == 302
    assert alice.post(f"{path}/renew/").status_code == 409
    assert "nothing follows it" in text_of(alice.get(f"{path}/renew/"))


def test_auditors_look_and_outsiders_see_nothing(portal: Portal, path: str) -> None:
    portal.carol.groups.set([Group.objects.get_or_create(name="auditors")[0]])
    pages = [f"{path}/{what}/" for what in ("renew", "revoke", "release")]
    assert [browser(portal.carol).get(page).status_code for page in pages] == [403, 403, 403]
    assert [browser(portal.bob).get(page).status_code for page in pages] == [404, 404, 404]
    assert [browser(portal.bob).post(page, {"reason": "superseded"}).status_code for page in pages] == [404, 404, 404]
    assert f"{path}/revoke/" not in text_of(browser(portal.carol).get(f"{path}/"))
    assert Revocation.objects.count() == 0


def test_ca_that_publishes_no_reason_and_takes_nothing_back_says_so(portal: Portal, path: str, settings: Any) -> None:
    alice = browser(portal.alice)
    assert alice.post(f"{path}/revoke/", {"reason": "cessationOfOperation"}).status_code == 302
    process_revocations()
    assert "known only here" not in text_of(alice.get(f"{path}/"))
    settings.CA_CLIENTS = settings.CA_CLIENTS | {
        "Vault-PKI": {"CLIENT": "certs.ca.vault_pki.VaultPKIClient", "OPTIONS": {"role": "portal"}}
    }
    Issuer.objects.filter(name="Internal-CA-Prod").update(alias="Vault-PKI")
    assert "known only here: Internal-CA-Prod publishes none" in text_of(alice.get(f"{path}/"))
    assert "publishes no reasons" in text_of(alice.get(f"{path}/revoke/?reason=superseded"))
    assert "certificateHold" not in text_of(alice.get(f"{path}/revoke/"))


def test_sentence_that_names_a_certificate_by_its_name_leads_to_the_page_of_its_plan(portal: Portal, path: str) -> None:
    """O9"""
    alice = browser(portal.alice)
    for sentence, page in (("Renew A.example.com.", "renew"), ("Revoke a.example.com - superseded", "revoke")):
        shown = alice.post("/new/", {"team": portal.team.slug, "text": sentence}, follow=True)
        assert (shown.status_code, shown.redirect_chain[-1][0].split("?")[0]) == (200, f"{path}/{page}/")
        assert "a.example.com is the name of cert-" in text_of(shown)
    unknown = alice.post("/new/", {"team": portal.team.slug, "text": "Renew b.example.com"})
    assert (unknown.status_code, "No certificate in force that you may see has the name b.example.com" in text_of(unknown)) == (422, True)
    assert Api(portal.token()).post("/certificates/issue", {"csr": pem_csr("a.example.com")})[0] == 200
    several = alice.post("/new/", {"team": portal.team.slug, "text": "Revoke a.example.com - superseded"})
    assert several.status_code == 422
    assert all(one.cert_id in text_of(several) for one in Certificate.objects.all())
