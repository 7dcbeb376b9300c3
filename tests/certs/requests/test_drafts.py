"""Drafts of requests: kept for the team, never with a secret, submitted once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from certs import tasks
from certs.access.permissions import teams_of
from certs.errors import InputRefused
from certs.models import CertificateRequest, OutgoingMail, RequestDraft, Team
from certs.notifications.topics import Topic
from certs.requests.drafts import DraftFields, begin, plan_of, submit_draft
from certs.requests.plan import plan_digest
from certs.servers.kinds import Place
from db.clock import database_now
from tests.cast import person
from tests.certs.api.test_issue import pem_csr
from tests.certs.life import brought, issued, new_policy, walk
from tests.journeys.test_channels import signed_in
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def drafted(client: Client, **fields: Any) -> str:
    return str(client.post("/new/", {"place": "server", "team": "web"} | fields)["Location"])


def text_of(response: Any) -> str:
    return " ".join(response.content.decode().split())


def test_sentence_fills_the_draft_with_the_place(portal: Portal) -> None:
    alice = signed_in("alice")
    page = text_of(alice.get(alice.post("/new/", {"text": "https for shop.example.com on nginx"})["Location"]))
    draft = RequestDraft.objects.get()
    assert (draft.place, draft.server, draft.names, draft.sentence) == (
        "server",
        "nginx",
        "shop.example.com",
        "https for shop.example.com on nginx",
    )
    assert "openssl req -new -newkey rsa:3072" in page
    assert "-out shop.example.com.csr" in page


def test_draft_survives_back_reload_and_a_new_session(portal: Portal) -> None:
    alice = signed_in("alice")
    draft = drafted(alice)
    assert alice.post(draft, {"names": "shop.example.com", "server": "caddy", "go": "save"})["Location"] == draft
    for client in (alice, signed_in("alice")):
        page = text_of(client.get(draft))
        assert ">shop.example.com</textarea>" in page
        assert 'value="caddy" checked' in page
    signed_out = Client().get(draft)
    assert signed_out["Location"] == f"/login/?next={draft}"


def test_colleague_goes_on_with_it_and_others_see_nothing(portal: Portal) -> None:
    draft = drafted(signed_in("alice"), names="shop.example.com")
    portal.team.members.add(portal.carol)
    carol = signed_in("carol")
    assert carol.post(f"{draft}csr/", {"csr": pem_csr("shop.example.com")})["Location"] == f"{draft}plan/"
    bob = signed_in("bob")
    assert [bob.get(f"{draft}{part}").status_code for part in ("", "plan/")] == [404, 404]
    assert [bob.post(f"{draft}{part}").status_code for part in ("", "csr/", "submit/")] == [404, 404, 404]
    shown = carol.get(f"{draft}plan/").context["shown"]
    assert carol.post(f"{draft}submit/", {"shown": shown}).status_code == 302
    assert CertificateRequest.objects.get().requester == portal.carol


def test_typing_keeps_the_draft_and_sends_back_what_depends_on_it(portal: Portal) -> None:
    alice = signed_in("alice")
    draft = drafted(alice)
    part = alice.post(draft, {"names": "shop.example.com\nwww.example.com"}, headers={"HX-Request": "true"})
    assert part.status_code == 200
    assert "<html" not in text_of(part)
    assert "subjectAltName=DNS:shop.example.com,DNS:www.example.com" in text_of(part)
    assert RequestDraft.objects.get().names == "shop.example.com\nwww.example.com"
    refused = text_of(alice.post(draft, {"names": "shop..example.com"}, headers={"HX-Request": "true"}))
    assert "openssl" not in refused
    assert "shop..example.com" in refused


def test_secret_that_is_typed_is_not_kept(portal: Portal) -> None:
    alice, secret = signed_in("alice"), "hvs." + "A1b2" * 10
    draft = drafted(alice, names="shop.example.com")
    for headers in ({}, {"HX-Request": "true"}):
        page = alice.post(draft, {"names": secret}, headers=headers)
        assert secret not in text_of(page)
    assert RequestDraft.objects.get().names == "shop.example.com"


@pytest.mark.parametrize(
    ("typed", "expected"), [("shop", "shop.example.test"), ("", "example.test"), ("a.example.com, b", "a.example.com\nb.example.test")]
)
def test_chip_of_a_domain_completes_the_last_name(portal: Portal, typed: str, expected: str) -> None:
    alice = signed_in("alice")
    draft = drafted(alice)
    alice.post(draft, {"names": typed, "go": "add:example.test"})
    assert RequestDraft.objects.get().names == expected


def test_name_outside_the_domains_says_what_to_do(portal: Portal) -> None:
    """B: a dead end before; whose it is stays untold, as in every refusal."""
    alice = signed_in("alice")
    page = text_of(alice.get(drafted(alice, names="pay.other.test")))
    assert "pay.other.test is outside the domains of team Web" in page
    assert "ask that team to request the certificate" in page
    assert "ask the security team for it (carol)" in page
    assert "the security team can say it" in page
    assert "Other" not in page.replace("Others", "")


@pytest.mark.parametrize("name", ["pay.other.test", "*.other.test", "other.test"])
@pytest.mark.parametrize("way", ["member", "auditor"])
def test_team_of_a_name_is_told_to_its_members_and_to_who_sees_every_team(portal: Portal, name: str, way: str) -> None:
    if way == "member":
        Team.objects.get(slug="other").members.add(portal.alice)
    else:
        Group.objects.get(name="auditor").user_set.add(portal.alice)
    alice = signed_in("alice")
    page = text_of(alice.get(drafted(alice, names=name)))
    assert f'<span class="names">{name}</span> belongs to team <a href="/teams/other/">Other</a>.' in page
    assert "Ask that team to request the certificate" in page
    script = text_of(alice.get("/new/automatic/", {"team": "web", "name": "pay.other.test"}))
    assert 'belongs to team <a href="/teams/other/">Other</a>' in script


def test_name_that_no_team_has_belongs_to_nobody(portal: Portal) -> None:
    Group.objects.get(name="auditor").user_set.add(portal.alice)
    alice = signed_in("alice")
    page = text_of(alice.get(drafted(alice, names="pay.nobody.test")))
    assert "belongs to team" not in page
    assert "ask that team to request the certificate" in page


def test_security_team_is_named_by_who_can_grant_a_domain(portal: Portal) -> None:
    person("decider", "approver")
    alice = signed_in("alice")
    assert "decider" not in text_of(alice.get(drafted(alice, names="pay.other.test")))


def test_living_certificate_of_the_same_names_is_offered_for_renewal(portal: Portal) -> None:
    """B23"""
    twin = issued(brought("shop.example.com"), portal.requester())
    alice = signed_in("alice")
    page = text_of(alice.get(drafted(alice, names="shop.example.com")))
    assert f'href="/certificates/{twin.cert_id}/renew/">Renew that one' in page
    assert "Renew that one" not in text_of(alice.get(drafted(alice, names="www.example.com")))


def test_client_certificate_is_offered_only_where_the_policy_has_one(portal: Portal) -> None:
    """B9, B27"""
    alice = signed_in("alice")
    assert "Policy v2.3 has no client certificates" in text_of(alice.get("/new/"))
    sentence = {"text": "mTLS client certificate for billing"}
    refused = text_of(alice.get(alice.post("/new/", sentence)["Location"]))
    assert "Profile tls-client is not allowed" in refused
    assert "tls-server</button>" not in refused
    assert 'value="apply"' not in refused
    new_policy("v2.4", allowed_profiles={"tls-server": ["serverAuth"], "tls-client": ["clientAuth"]})
    assert "has no client certificates" not in text_of(alice.get("/new/"))
    page = text_of(alice.get(drafted(alice, place="client", names="billing.example.com")))
    assert "programs and devices that log in (TLS client)" in page
    assert "OID = 1.3.6.1.5.5.7.3.2" in page


def test_keys_that_the_policy_refuses_are_grey_with_the_reason(portal: Portal) -> None:
    """B27: the label says which policy, as it is now."""
    new_policy("v2.5", allowed_keys={"rsa": {"min_bits": 3072}, "ec": [256, 384]})
    page = text_of(signed_in("alice").get(drafted(signed_in("alice"))))
    assert '<option value="rsa-2048" disabled>RSA 2048: policy v2.5 does not allow it</option>' in page
    assert '<option value="ec-p256">ECDSA P-256</option>' in page


def test_csr_with_a_short_key_gets_the_command_that_makes_a_longer_one(portal: Portal) -> None:
    """C4: "This key is too short. Run this, then send the new file"."""
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415

    alice = signed_in("alice")
    key = rsa.generate_private_key(65537, 2048)
    plan = alice.post("/new/", {"place": "csr", "csr": pem_csr("shop.example.com", key=key)})["Location"]
    draft = plan.removesuffix("plan/")
    page = text_of(alice.get(draft))
    assert "Key size 2048 below minimum 3072" in page
    assert "-newkey rsa:3072 -nodes" in page
    assert alice.post(f"{draft}csr/", {"csr": pem_csr("shop.example.com")})["Location"] == f"{draft}plan/"


def test_wildcard_asks_why_and_the_approver_reads_it(portal: Portal) -> None:
    """B26"""
    alice = signed_in("alice")
    draft = drafted(alice, names="*.apps.example.com", place="vault")
    shown = alice.get(f"{draft}plan/").context["shown"]
    missing = alice.post(f"{draft}submit/", {"shown": shown, "why": " "})
    assert (missing.status_code, "need to know what the certificate is for" in text_of(missing)) == (422, True)
    alice.post(f"{draft}submit/", {"shown": shown, "why": "One for all review apps"})
    row = CertificateRequest.objects.get()
    walk([row.pk])
    mail = OutgoingMail.objects.get(topic=Topic.APPROVAL)
    assert "Why:          One for all review apps" in mail.body
    assert "One for all review apps" in mail.html
    page = text_of(signed_in("carol").get(f"/requests/{row.public_id}/"))
    assert "One for all review apps" in page
    assert "<dt>Who</dt><dd>you; asked: carol</dd>" in page


def test_a_reason_is_asked_for_only_where_somebody_has_to_approve(portal: Portal) -> None:
    """The use case asks, so that no channel can leave it out."""
    requester = portal.requester()
    wildcard = begin(DraftFields(place="vault", names="*.apps.example.com"), requester=requester)
    shown = plan_digest(plan_of(wildcard, requester=requester).specs)
    with pytest.raises(InputRefused, match="need to know what the certificate is for") as refused:
        submit_draft(wildcard, shown=shown, why=" ", requester=requester)
    assert (refused.value.field, CertificateRequest.objects.count()) == ("why", 0)
    plain = begin(DraftFields(place="vault", names="shop.example.com"), requester=requester)
    row = submit_draft(plain, shown=plan_digest(plan_of(plain, requester=requester).specs), why="", requester=requester)
    assert (row.names, row.state) == (["shop.example.com"], "submitted")


def test_validity_typed_into_a_draft_is_days_or_an_end_date(portal: Portal) -> None:
    requester = portal.requester()
    end = (database_now() + timedelta(days=30)).date()
    expected = {"": (90, None), "  ": (90, None), "30": (30, None), "2 weeks": (14, None), end.isoformat(): (None, end)}
    for typed, validity in expected.items():
        draft = begin(DraftFields(place="vault", names="shop.example.com", validity=typed), requester=requester)
        (spec,) = plan_of(draft, requester=requester).specs
        assert spec.validity == validity
    strange = begin(DraftFields(place="vault", names="shop.example.com", validity="some time"), requester=requester)
    with pytest.raises(InputRefused) as refused:
        plan_of(strange, requester=requester)
    assert refused.value.field == "validity_days"
    assert refused.value.next_step


def test_old_drafts_go_and_those_of_open_requests_stay(portal: Portal) -> None:
    alice = signed_in("alice")
    kept = drafted(alice, names="a.example.com", place="vault")
    alice.post(f"{kept}submit/", {"shown": alice.get(f"{kept}plan/").context["shown"]})
    drafted(alice, names="b.example.com")
    new = drafted(alice, names="c.example.com")
    old = RequestDraft.objects.exclude(names="c.example.com")
    old.update(expires_at=database_now() - timedelta(seconds=1))
    tasks.clean_up()
    assert {f"/new/{row.public_id}/" for row in RequestDraft.objects.all()} == {kept, new}
    CertificateRequest.objects.update(state="completed")
    tasks.clean_up()
    assert [f"/new/{row.public_id}/" for row in RequestDraft.objects.all()] == [new]


def test_every_place_of_a_draft_has_a_page(portal: Portal) -> None:
    alice = signed_in("alice")
    for place in Place:
        if place is Place.AUTOMATIC:
            continue
        draft = begin(DraftFields(place=place, names="a.example.com"), requester=portal.requester())
        assert alice.get(f"/new/{draft.public_id}/").status_code == 200
    assert teams_of(portal.alice) == [portal.team]


def test_unfinished_drafts_are_offered_on_the_first_page(portal: Portal) -> None:
    alice = signed_in("alice")
    drafted(alice)  # a click on a tile and nothing more
    draft = drafted(alice, names="shop.example.com www.example.com")
    page = text_of(alice.get("/new/"))
    assert f'<a href="{draft}">shop.example.com</a>' in page
    assert page.count('href="/new/draft-') == 1
    portal.team.members.add(portal.carol)
    assert "Go on with a draft" not in text_of(signed_in("carol").get("/new/"))
