"""The page of a request: the way to the padlock, and for each wait who, since when, until when and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Group
from django.template import Context, Template
from django.test import Client

from certs.access.time_zones import choose_zone
from certs.enums import RequestState as S
from certs.models import Certificate, CertificateRequest, InstalledPlace, PlaceOutcome, RequestDraft
from certs.notifications.installing import installation_of
from certs.requests.approvals.approval import approve
from certs.requests.drafts import DraftFields, begin, plan_of, submit_draft
from certs.requests.plan import plan_digest, plan_words
from certs.requests.submit import submit, submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from policy.drafting import draft_version
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from tests.cast import Cast
from tests.certs.life import SYSTEM, brought, issued, new_policy, renewed, walk
from tests.journeys.test_channels import signed_in
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def page_of(request: CertificateRequest, name: str = "alice") -> Any:
    return signed_in(name).get(f"/requests/{request.public_id}/")


def text_of(response: Any) -> str:
    return " ".join(response.content.decode().split())


def steps_of(response: Any) -> dict[str, str]:
    return {step.title: step.state for step in response.context["steps"]}


def waiting(portal: Portal, state: str, **values: Any) -> CertificateRequest:
    plan: Any = plan_words("Certificate for a.example.com, P-256", requester=portal.requester())
    request = submit(plan.specs[0], requester=portal.requester())
    CertificateRequest.objects.filter(pk=request.pk).update(state=state, **values)
    request.refresh_from_db()
    return request


def test_certificate_of_a_server_waits_for_its_installation_until_it_is_seen_live(portal: Portal) -> None:
    certificate = issued(brought("shop.example.com"), portal.requester())
    request, alice = certificate.request, signed_in("alice")
    page = page_of(request)
    assert steps_of(page) == dict.fromkeys(("Asked", "Policy", "Key", "Signed"), "done") | {"Installed": "now", "Seen live": "ahead"}
    assert "Signed. Now put it on your server: two files and one reload." in text_of(page)
    assert "Download shop.example.com-fullchain.pem" in text_of(page)
    assert "ssl_certificate /etc/nginx/tls/shop.example.com-fullchain.pem;" in text_of(page)
    alice.get(f"/certificates/{certificate.cert_id}/fullchain.pem")
    page = page_of(request)
    assert (steps_of(page)["Installed"], "the files were downloaded" in text_of(page)) == ("now", True)
    now = database_now()
    InstalledPlace.objects.create(
        certificate=certificate, host="shop.example.com", port=443, asked_at=now, seen_at=now, outcome=PlaceOutcome.SERVED
    )
    known = page.context["version"]
    page = page_of(request)
    assert steps_of(page) == dict.fromkeys(("Asked", "Policy", "Key", "Signed", "Installed", "Seen live"), "done")
    assert "Live: shop.example.com:443 serves this certificate." in text_of(page)
    assert "Nothing is left to do." in text_of(page)
    assert "Now put it on your server" not in text_of(page)
    # The page asks for its steps after a check, and gets them although nothing happened to the request itself.
    moved = alice.get(f"/requests/{request.public_id}/steps/?seen={known}")
    assert (moved.status_code, "Live: shop.example.com:443" in text_of(moved)) == (200, True)
    assert alice.get(f"/requests/{request.public_id}/steps/?seen={moved.context['version']}").status_code == 204
    InstalledPlace.objects.create(
        certificate=certificate, host="b.example.com", port=443, asked_at=now, seen_at=now, outcome=PlaceOutcome.UNREACHABLE
    )
    assert "Other servers do not, or could not be looked at" in text_of(page_of(request))


def test_steps_are_in_the_readers_zone_with_utc_in_their_titles_and_the_day_where_it_is_another(portal: Portal) -> None:
    request, at = waiting(portal, S.AWAITING_APPROVAL), datetime(2026, 11, 30, 20, 15, 7, tzinfo=UTC)
    choose_zone(portal.requester().user, "Asia/Tokyo")
    context = Context({"first": at, "later": at + timedelta(days=3), "reader_zone": lambda: ZoneInfo("Asia/Tokyo")})
    shown = Template("{% load when %}{% clock first first %} {% clock later first %}").render(context)
    assert ">05:15:07 JST<" in shown
    assert ">4 Dec 05:15 JST<" in shown
    assert 'title="2026-11-30 20:15:07 UTC"' in shown
    page = page_of(request)
    assert f">{page.context['steps'][0].at.astimezone(ZoneInfo('Asia/Tokyo')):%H:%M:%S} JST<" in text_of(page)


def test_key_in_the_vault_says_so_and_offers_another_way(portal: Portal) -> None:
    """B1: before, in the draft, and after."""
    fields = DraftFields(place="vault", names="signer.example.com", key="ec-p256")
    draft = begin(fields, requester=portal.requester())
    before = text_of(signed_in("alice").get(f"/new/{draft.public_id}/"))
    assert "The key is made in the vault and cannot be downloaded." in before
    shown = plan_digest(plan_of(draft, requester=portal.requester()).specs)
    request = submit_draft(draft, shown=shown, why="", requester=portal.requester())
    walk([request.pk])
    certificate = Certificate.objects.get(request=request)
    page = page_of(request)
    assert "Signed. The key is in the vault and cannot be downloaded." in text_of(page)
    assert f'href="/certificates/{certificate.cert_id}/renew/?key=csr">Make the key on my server instead' in text_of(page)
    assert "two files" not in text_of(page)
    assert steps_of(page)["Installed"] == "done"


def test_approval_names_who_may_give_it_and_since_when(portal: Portal) -> None:
    """B33, B2: whom, since when, what you need to do."""
    request = waiting(portal, S.AWAITING_APPROVAL)
    page = text_of(page_of(request))
    assert "Waiting for the security team." in page
    assert "<dt>Who</dt><dd>carol</dd>" in page
    assert "Nothing. You can close this page: we mail you." in page
    portal.carol.groups.clear()
    page = text_of(page_of(request))
    assert "nobody else can approve at present" in page
    assert "Ask an administrator to give somebody the role of an approver." in page
    Group.objects.get(name="security-team").user_set.add(portal.alice)
    assert "nobody else can approve" in text_of(page_of(request))  # nobody approves a request of their own


def test_page_says_how_many_must_approve_and_names_all_who_did(cast: Cast, make_spec: Callable[..., CertificateSpec]) -> None:
    now = database_now()
    content = DEFAULT_V2_3 | {"version": "v3", "approval": {"approvers": 2}}
    publish_version(draft_version("default", content, actor=SYSTEM, now=now), actor=SYSTEM, now=now)
    (request,) = submit_many([make_spec("*.apps.example.com")], requester=cast.requester("requester"))
    walk([request.pk])
    request.refresh_from_db()

    def page_for(name: str) -> Any:
        client = Client()
        client.force_login(cast[name])
        return client.get(f"/requests/{request.public_id}/")

    page = page_for("requester")
    assert "2 of them approve it, or one rejects it, " in text_of(page)
    approve(request, user=cast["approver"], digest=request.digest)
    for reader in ("requester", "veteran"):
        page = page_for(reader)
        assert "2 of them approve it (1 of 2 so far: approver), or one rejects it, " in text_of(page)
        assert {step.title: step.detail for step in page.context["steps"]}["Approval"] == "1 of 2: approver"
    approve(request, user=cast["veteran"], digest=request.digest)
    page = page_for("requester")
    assert {step.title: step.detail for step in page.context["steps"]}["Approval"] == "approved by approver and veteran"


def test_who_may_decide_reads_that_it_waits_for_them_and_reminds_nobody(portal: Portal) -> None:
    request = waiting(portal, S.AWAITING_APPROVAL)

    carol = text_of(page_of(request, "carol"))
    assert '<a href="#decision">Decide it</a>' in carol
    assert "Nothing. You can close this page" not in carol
    assert "Remind the approvers" not in carol
    alice = text_of(page_of(request))
    assert "Nothing. You can close this page: we mail you." in alice
    assert "Remind the approvers" in alice
    assert "Decide it" not in alice
    # An approver who asked cannot decide it, and reminds the others.
    Group.objects.get(name="security-team").user_set.add(portal.alice)
    assert "Remind the approvers" in text_of(page_of(request))


@pytest.mark.parametrize(
    ("state", "cause"), [(S.APPROVED, "Our key store does not answer"), (S.CSR_CREATED, "The CA Internal-CA-Prod does not answer")]
)
def test_outage_says_that_nothing_is_lost_and_nothing_need_be_done(portal: Portal, state: S, cause: str) -> None:
    since = database_now() - timedelta(hours=1)
    request = waiting(portal, state, held_since=since, resume_id="resume-1", error="Connection refused by vault:8200")
    page = text_of(page_of(request))
    assert f"{cause} since {since:%H:%M} UTC. Nothing is lost." in page
    assert "The request then goes on automatically" in page
    assert "Nothing. You can close this page: we mail you." in page
    # For operators, folded.
    assert "Connection refused by vault:8200 Resume id: <code>resume-1</code>" in page


def test_refusal_and_its_place_on_the_way(portal: Portal) -> None:
    request = waiting(portal, S.REJECTED, error="Key size 2048 below minimum 3072", suggestion="Use RSA key size ≥ 3072 bits")
    page = page_of(request)
    assert steps_of(page)["Policy"] == "stopped"
    assert "Key size 2048 below minimum 3072" in text_of(page)


@pytest.mark.parametrize("state", [S.REJECTED, S.CANCELLED])
def test_request_without_a_certificate_can_be_changed_and_requested_again(portal: Portal, state: S) -> None:
    fields = DraftFields(place="vault", names="*.apps.example.com", key="ec-p256")
    draft = begin(fields, requester=portal.requester())
    shown = plan_digest(plan_of(draft, requester=portal.requester()).specs)
    request = submit_draft(draft, shown=shown, why="Preview", requester=portal.requester())
    CertificateRequest.objects.filter(pk=request.pk).update(state=state, error="Name the hosts.")
    text = text_of(page_of(request))
    assert "Change it and request it again" in text
    inside = text.split('action="/new/"')[1].split("</form>")[0]
    form = dict(re.findall(r'name="(place|team|names)" value="([^"]*)"', inside))
    assert form == {"place": "vault", "team": "web", "names": "*.apps.example.com"}
    page = signed_in("alice").post("/new/", form, follow=True)
    assert "*.apps.example.com</textarea>" in text_of(page)
    portal.bob.groups.add(Group.objects.get(name="auditor"))
    assert "Change it and request it again" not in text_of(page_of(request, "bob"))
    CertificateRequest.objects.filter(pk=request.pk).update(state=S.AWAITING_APPROVAL)
    assert "Change it and request it again" not in text_of(page_of(request))


def test_renewal_of_an_expired_certificate_does_not_call_it_valid(portal: Portal) -> None:
    certificate = issued(brought("shop.example.com"), portal.requester())
    Certificate.objects.filter(pk=certificate.pk).update(not_after=database_now() - timedelta(days=3, hours=1))
    text = text_of(signed_in("alice").get(f"/certificates/{certificate.cert_id}/renew/"))
    assert "This one stays valid" not in text
    assert "3 days ago" in text


def client_certificate(portal: Portal) -> Certificate:
    new_policy("v2.4", allowed_profiles={"tls-server": ["serverAuth"], "tls-client": ["clientAuth"]})
    return issued(replace(brought("billing.example.com"), profile="tls-client"), portal.requester())


def test_client_certificate_has_nothing_to_reload_and_no_server_to_look_at(portal: Portal) -> None:
    """The page said "one reload" above "Nothing to reload", and waited for a look at a server that there is not."""
    certificate = client_certificate(portal)
    page = page_of(certificate.request)
    assert steps_of(page) == dict.fromkeys(("Asked", "Policy", "Key", "Signed"), "done") | {"Installed": "now"}
    assert "Signed. Now put it where your program finds it: two files and nothing to reload." in text_of(page)
    install = text_of(signed_in("alice").get(f"/certificates/{certificate.cert_id}/install/"))
    for text in (text_of(page), install):
        assert ("one reload" in text, "Check that it is live" in text, "curl --cert" in text) == (False, False, True)
    assert installation_of(certificate.cert_id).title == "Client program: two files and nothing to reload"  # type: ignore[union-attr]
    signed_in("alice").get(f"/certificates/{certificate.cert_id}/fullchain.pem")
    assert steps_of(page_of(certificate.request))["Installed"] == "done"


@pytest.mark.parametrize(
    ("server", "files", "not_there"),
    [
        ("tomcat", ["Download shop.example.com-root.pem", "the key store with your private key"], "<code>shop.example.com.key</code> your"),
        ("iis", ["Download shop.example.com-chain.p7b", "where certreq made it"], "<code>shop.example.com.key</code> your"),
        ("nginx", ["Download shop.example.com-fullchain.pem", "<code>shop.example.com.key</code> your private key"], "certreq made it"),
    ],
)
def test_renewals_name_the_files_of_the_server_that_was_chosen_at_first(
    portal: Portal, server: str, files: list[str], not_there: str
) -> None:
    """The Install tab named a key file for key stores too, and the second renewal had forgotten the server."""
    first = issued(brought("shop.example.com"), portal.requester())
    begin(DraftFields(place="server", server=server), requester=portal.requester())
    RequestDraft.objects.update(request=first.request)
    second = renewed(first)
    third = renewed(second)
    assert installation_of(third.cert_id).server.slug == server  # type: ignore[union-attr] # of the mail
    tab = signed_in("alice").get(f"/certificates/{third.cert_id}/install/").content.decode()
    for text in (tab, page_of(third.request).content.decode()):
        assert [part for part in files if part not in text] == []
        assert not_there not in text


def test_request_of_a_certificate_that_is_over_has_nothing_left_to_install(portal: Portal) -> None:
    """The page of a revoked one still said "two files and one reload, see below"; of a renewed one, "Nothing is left to do"."""
    old = issued(brought("shop.example.com"), portal.requester())
    now = database_now()
    new = renewed(old)
    place = InstalledPlace(certificate=new, host="shop.example.com", port=443, asked_at=now, seen_at=now)
    place.outcome, place.served = PlaceOutcome.OLD, old
    place.save()
    page = page_of(old.request)
    assert "The certificate of this request is renewed." in text_of(page)
    assert "Nothing is left to do" not in text_of(page)
    assert "now" not in steps_of(page).values()
    assert steps_of(page_of(new.request))["Installed"] == "now"
    Certificate.objects.filter(pk=new.pk).update(not_after=now - timedelta(days=1))
    assert set(steps_of(page_of(new.request)).values()) == {"done"}
