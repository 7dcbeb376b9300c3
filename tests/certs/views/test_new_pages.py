"""Where a sentence leads, and what the pages of a new certificate offer: as a person without JavaScript meets them."""

from __future__ import annotations

import html
import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from django.test import Client

from certs.access.time_zones import choose_zone
from certs.models import Certificate, CertificateRequest, RenewalBlocked, RequestDraft, Team
from certs.requests.drafts import DraftFields, begin
from certs.requests.plan import plan_words
from db.clock import database_now
from tests.cast import person
from tests.certs.life import brought, issued, new_policy
from tests.journeys.test_channels import signed_in
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def text_of(response: Any) -> str:
    return html.unescape(" ".join(response.content.decode().split()))


def said(alice: Client, text: str) -> Any:
    return alice.post("/new/", {"text": text, "team": "web"}, follow=True)


def csr_for(key: Any, name: str, organization: str = "") -> bytes:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    subject = x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    return (
        x509.CertificateSigningRequestBuilder(subject).add_extension(names, critical=False).sign(key, SHA256()).public_bytes(Encoding.PEM)
    )


def test_sentence_for_an_automatic_client_keeps_its_names(portal: Portal, tmp_path: Path) -> None:
    page = said(signed_in("alice"), "https for x.example.com and y.example.com with certbot")
    assert page.redirect_chain == [("/new/automatic/?team=web&name=x.example.com&name=y.example.com", 302)]
    text = text_of(page)
    assert '-subj "/CN=x.example.com" -addext "subjectAltName=DNS:x.example.com,DNS:y.example.com"' in text
    assert "outside the domains" not in text
    assert RequestDraft.objects.count() == 0


def test_automatic_client_for_a_name_of_elsewhere_says_what_to_do(portal: Portal) -> None:
    text = text_of(said(signed_in("alice"), "https for pay.other.test in kubernetes"))
    assert "pay.other.test is outside the domains of team Web" in text
    assert "/teams/web/ask-for-domain/?domain=pay.other.test" in text


@pytest.mark.parametrize("name", ["$(reboot).example.com", "*.example.com", "localhost", "-rf.example.com", 'a".example.com', ""])
def test_names_that_a_shell_could_mistake_are_in_no_script(portal: Portal, name: str) -> None:
    page = signed_in("alice").get("/new/automatic/", {"name": name})
    assert page.status_code == 200
    assert "/CN=shop.example.com" in text_of(page)
    assert not name or f"DNS:{name}" not in text_of(page)


def test_place_that_the_policy_has_no_certificate_for_is_grey_with_its_reason(portal: Portal) -> None:
    draft = begin(DraftFields(place="server", names="a.example.com"), requester=portal.requester())
    text = text_of(signed_in("alice").get(f"/new/{draft.public_id}/"))
    assert 'value="place:client" disabled>A program that logs in<' in text
    assert "A program that logs in: Policy v2.3 has no client certificates." in text
    assert 'value="place:vault">' in text


def test_whole_domain_by_csr_has_one_answer(portal: Portal) -> None:
    draft = begin(DraftFields(place="server", names="*.example.com"), requester=portal.requester())
    text = text_of(signed_in("alice").get(f"/new/{draft.public_id}/"))
    assert "A CSR cannot ask for that." in text
    assert "With a key in the vault the approvers decide" in text
    assert "This needs an approval" not in text


def test_revocation_without_a_reason_is_asked_what_happened(portal: Portal) -> None:
    certificate = issued(brought("shop.example.com"), portal.requester())
    alice = signed_in("alice")
    for sentence in ("revoke shop.example.com", f"revoke {certificate.cert_id}"):
        page = said(alice, sentence)
        assert page.redirect_chain == [(f"/certificates/{certificate.cert_id}/revoke/", 302)]
        assert "What happened?" in text_of(page)
    page = said(alice, "revoke nothing.example.com")
    assert (page.status_code, "revoke nothing.example.com" in text_of(page)) == (422, True)
    certificate.refresh_from_db()
    assert certificate.status == "good"


def test_order_in_words_is_asked_where_its_keys_will_be_and_an_address_keeps_it(portal: Portal) -> None:
    alice, words = signed_in("alice"), "Certificates for api-1 and api-2, 60 days"
    page = said(alice, words)
    ((address, _),) = page.redirect_chain
    assert "Where will the private keys be?" in text_of(page)
    assert words in text_of(alice.get(address))
    assert f">{words}</textarea>" in text_of(alice.get(f"{address}&keys=store"))
    own = text_of(alice.get(f"{address}&keys=own"))
    assert "Make the 2 keys and CSRs" in own
    assert "for name in api-1.example.com" in own
    nonsense = alice.get("/bulk/new/", {"keys": "own", "text": "nonsense that says nothing"})
    assert (nonsense.status_code, 'class="notice is-bad"' in text_of(nonsense)) == (200, True)


@pytest.mark.parametrize(
    ("words", "days"), [("Certificates for api-1 and api-2, 60 days", 60), ("Certificates for api-1 and api-2", 90), ("", 90)]
)
def test_csrs_made_for_a_sentence_get_its_validity(portal: Portal, words: str, days: int) -> None:
    """The sentence said 60 days, and the certificates were to be valid for 90."""
    alice = signed_in("alice")
    page = alice.get("/bulk/new/", {"keys": "own", "team": "web", "text": words})
    assert ('name="said"' in page.content.decode()) == bool(words)
    csrs = b"".join(csr_for(ec.generate_private_key(ec.SECP256R1()), f"api-{number}.example.com") for number in (1, 2)).decode()
    order = alice.post("/bulk/new/", {"via": "csrs", "keys": "own", "team": "web", "csrs": csrs, "said": words}, follow=True)
    text = text_of(order)
    assert text.count(f">{days} days</td>") == 2
    assert ("60 days: from your sentence" in text) == (days == 60)


def test_long_order_in_words_is_drafted_and_says_where_its_keys_are(portal: Portal) -> None:
    names = ", ".join(f"a-host-with-a-long-name-number-{number}.example.com" for number in range(60))
    page = said(signed_in("alice"), f"Certificates for {names}")
    assert "/bulk/bulk-" in page.redirect_chain[-1][0]
    assert "The portal makes the keys in its key store, where they stay" in text_of(page)


def test_script_of_the_automatic_client_is_a_shell_script(portal: Portal, tmp_path: Path) -> None:
    page = signed_in("alice").get("/new/automatic/?name=x.example.com")
    script = html.unescape(page.content.decode().split('id="automatic_renew"')[1].split(">", 1)[1].split("</pre>")[0])
    (tmp_path / "renew.sh").write_text(script)
    subprocess.run(["sh", "-n", tmp_path / "renew.sh"], check=True)
    long = f"{'a' * 60}.example.com"  # a common name has at most 64 characters (RFC 5280 appendix A.1)
    assert '-subj "/" -addext' in text_of(signed_in("alice").get(f"/new/automatic/?name={long}"))


@pytest.mark.parametrize("validity", ["a date", "3 months"])
def test_end_date_is_said_once_and_is_the_same_in_every_zone(portal: Portal, validity: str) -> None:
    """An end date is the last day in UTC. In Tokyo that moment is a day later, and the page would contradict itself."""
    choose_zone(portal.requester().user, "Asia/Tokyo")
    if validity == "a date":
        validity = (database_now() + timedelta(days=60)).date().isoformat()
    draft = begin(DraftFields(place="vault", names="a.example.com", validity=validity), requester=portal.requester())
    alice = signed_in("alice")
    for part, begins, ends in (("", '<p class="defaults">', "</p>"), ("plan/", "<dt>Validity</dt>", "</dd>")):
        text = text_of(alice.get(f"/new/{draft.public_id}/{part}"))
        assert text.split(begins)[1].split(ends)[0].count("until ") == 1


@pytest.mark.parametrize("path", ["/", "/new/", "/new/csr/", "/new/automatic/", "/bulk/new/"])
def test_person_without_a_team_finds_the_teams_to_ask_on_every_page_that_needs_one(portal: Portal, path: str) -> None:
    dave = Client()
    dave.force_login(person("dave"))
    text = text_of(dave.get(path))
    assert "Which team are you in?" in text
    assert "There is no team to ask" not in text
    assert f'<option value="{portal.team.slug}">' in text


def test_person_without_a_team_is_not_told_of_a_form_for_tokens_that_is_not_there(portal: Portal) -> None:
    dave = Client()
    dave.force_login(person("dave"))
    text = text_of(dave.get("/tokens/"))
    assert "Make one below" not in text
    assert "A token acts for a team, and you are in none yet." in text
    assert "Make one below" in text_of(signed_in("alice").get("/tokens/"))


def sent_csr(alice: Client, data: bytes, address: str = "/new/") -> Any:
    given = {"place": "csr", "team": "web", "csr": data.decode()}
    return alice.post(address, given, follow=True)


def test_csr_with_a_key_that_is_too_short_leads_to_the_command_that_makes_another(portal: Portal) -> None:
    alice = signed_in("alice")
    page = sent_csr(alice, csr_for(rsa.generate_private_key(public_exponent=65537, key_size=2048), "short.example.com"))
    draft = RequestDraft.objects.get()
    assert page.redirect_chain == [(f"/new/{draft.public_id}/", 302)]
    for path in (f"/new/{draft.public_id}/", f"/new/{draft.public_id}/plan/"):
        text = text_of(alice.get(path, follow=True))
        assert "Run the command below: it makes a key that policy v2.3 accepts." in text
        assert "openssl req -new -newkey rsa:3072" in text


def test_csr_for_a_name_of_elsewhere_says_whom_to_ask(portal: Portal) -> None:
    alice = signed_in("alice")
    own = begin(DraftFields(place="server", names="a.example.com"), requester=portal.requester())
    for address in ("/new/", f"/new/{own.public_id}/csr/"):
        text = text_of(sent_csr(alice, csr_for(ec.generate_private_key(ec.SECP256R1()), "www.other.test"), address))
        assert "www.other.test is outside your team's domains" in text
        assert "If another team runs it, ask that team to request the certificate." in text
        assert 'href="/teams/web/ask-for-domain/">Ask for the domain<' in text


def test_suggestion_for_a_key_that_is_still_to_be_made_asks_for_no_new_csr(portal: Portal) -> None:
    text = text_of(said(signed_in("alice"), "https for a.example.com on nginx with RSA 2048"))
    assert 'value="apply">Use RSA key size ≥ 3072 bits</button>' in text


def test_plan_that_somebody_changed_is_shown_again_and_not_requested(portal: Portal) -> None:
    """The page was a dead end: "This cannot be done now"."""
    alice = signed_in("alice")
    draft = begin(DraftFields(place="vault", names="a.example.com"), requester=portal.requester())
    plan = alice.get(f"/new/{draft.public_id}/plan/")
    RequestDraft.objects.update(names="b.example.com")
    page = alice.post(f"/new/{draft.public_id}/submit/", {"shown": plan.context["shown"]})
    text = text_of(page)
    assert (page.status_code, "What would be requested changed since this plan was shown" in text) == (409, True)
    assert "<strong>b.example.com</strong>" in text
    assert CertificateRequest.objects.count() == 0
    alice.post(f"/new/{draft.public_id}/submit/", {"shown": page.context["shown"]})
    assert CertificateRequest.objects.get().common_name == "b.example.com"


@pytest.mark.parametrize("on_the_draft", [False, True])
def test_pasted_csr_that_is_refused_stays_in_the_field_and_a_secret_does_not(portal: Portal, on_the_draft: bool) -> None:
    """Every error keeps what was typed."""
    alice = signed_in("alice")
    draft = begin(DraftFields(place="server", names="a.example.com"), requester=portal.requester())
    address, fields = (
        (f"/new/{draft.public_id}/csr/", {}) if on_the_draft else ("/new/", {"place": "csr", "team": "web", "validity": "30 days"})
    )
    page = alice.post(address, {**fields, "csr": "BEGIN nothing </textarea>"})
    assert page.status_code == 422
    assert ">BEGIN nothing &lt;/textarea&gt;</textarea>" in page.content.decode()
    assert on_the_draft or 'value="30 days"' in page.content.decode()
    secret = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    assert secret[60:100] not in alice.post(address, {**fields, "csr": secret}).content.decode()


def test_private_key_in_place_of_a_csr_is_said_to_be_blocked_and_another_is_offered(portal: Portal) -> None:
    alice, key = signed_in("alice"), ec.generate_private_key(ec.SECP256R1())
    own = begin(DraftFields(place="server", names="a.example.com"), requester=portal.requester())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for address, way in (("/new/", 'href="/new/">'), (f"/new/{own.public_id}/csr/", "Run the command above")):
        page = sent_csr(alice, pem, address)
        text = text_of(page)
        assert page.status_code == 422
        assert "Nothing of the private key was kept. Its public half is blocked: no certificate is issued for it any more." in text
        assert way in text.split('role="alert"')[1].split("</div>")[0]
        assert pem.decode().split()[5] not in page.content.decode()
    garbage = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
    text = text_of(sent_csr(alice, garbage.encode()))
    assert "Nothing of the private key was kept." in text
    assert "is blocked" not in text


def test_plan_shows_the_subject_and_whose_organization_it_names(portal: Portal) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    text = text_of(sent_csr(signed_in("alice"), csr_for(key, "a.example.com", organization="Shop GmbH")))
    assert '<dt>Subject</dt><dd class="names">CN=a.example.com' in text
    Team.objects.filter(pk=portal.team.pk).update(organization="Example AG")
    text = text_of(sent_csr(signed_in("alice"), csr_for(key, "a.example.com", organization="Shop GmbH")))
    assert "O=Example AG, CN=a.example.com" in text
    assert "The organization is that of team Web, also where a CSR names another one." in text


def test_renewal_that_the_policy_refuses_leads_to_a_new_request_for_the_same_names(portal: Portal) -> None:
    """A key in the vault of a kind that is not allowed any more: neither the old nor a new key of that kind passes."""
    plan: Any = plan_words("Certificate for old.example.com and www.old.example.com, P-256", requester=portal.requester())
    certificate = issued(plan.specs[0], portal.requester())
    new_policy("v2.9", allowed_keys={"rsa": {"min_bits": 3072}})
    alice = signed_in("alice")
    for key in ("default", "new"):
        text = text_of(alice.get(f"/certificates/{certificate.cert_id}/renew/?key={key}"))
        assert "Request a new certificate for these names</button>" in text
    Certificate.objects.filter(pk=certificate.pk).update(renewal_blocked=RenewalBlocked.POLICY)
    inside = text.split('action="/new/"')[1].split("</form>")[0]
    form = dict(re.findall(r'name="(place|team|names)" value="([^"]*)"', inside))
    assert form == {"place": "vault", "team": "web", "names": "old.example.com www.old.example.com"}
    page = alice.post("/new/", form, follow=True)
    assert page.context["judged"].outcome == "allow"
    assert "Renew that one" not in text_of(page)
