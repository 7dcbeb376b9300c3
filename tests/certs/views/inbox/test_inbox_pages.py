"""The inbox and the pages of domains that teams ask for, as each person sees them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from certs.models import Certificate, Domain, DomainRequest, ScheduledJob
from certs.requests.domains.domain_requests import ask_for_domain
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.cast import Cast
from tests.certs.life import issued

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def client_of(cast: Cast, name: str) -> Client:
    client = Client()
    client.force_login(cast[name])
    return client


def text_of(response: Any) -> str:
    return " ".join(response.content.decode().split())


@pytest.fixture
def row(cast: Cast) -> DomainRequest:
    return ask_for_domain("pay.other.test", why="We run the shop there.", requester=cast.requester("requester"))


def test_an_empty_inbox_says_what_the_last_night_did(cast: Cast) -> None:
    client = client_of(cast, "auditor")
    assert "Nothing waits for you." in text_of(client.get("/inbox/"))
    now = database_now()
    ScheduledJob.objects.create(name="n", task="certs.tasks.check_expiry", rule="", done_until=now, started_at=now, due_at=now)
    assert "Last night: 0 renewed, 0 failed. Next run" in text_of(client.get("/inbox/"))


def test_the_badge_counts_what_waits(cast: Cast, row: DomainRequest) -> None:
    officer = client_of(cast, "officer")
    assert 'Inbox <span class="badge-state is-bad">1<span' in text_of(officer.get("/requests/"))
    assert "Inbox" not in text_of(client_of(cast, "requester").get("/requests/"))


def test_the_page_says_what_the_badge_counts(cast: Cast, row: DomainRequest, make_spec: Callable[..., CertificateSpec]) -> None:
    officer = client_of(cast, "officer")
    assert "1 decision or alert, the number beside Inbox." in text_of(officer.get("/inbox/"))
    now = database_now()
    for name in ("a.example.com", "b.example.com"):
        certificate = issued(make_spec(name), cast.requester("requester"))
        ends = {"not_after": now + timedelta(days=9), "alert_at": now - timedelta(days=1)}
        Certificate.objects.filter(pk=certificate.pk).update(renewal_blocked="needs_csr", **ends)
    page = text_of(officer.get("/inbox/"))
    assert "1 decision or alert, the number beside Inbox; and 2 lines about certificates. Urgent first" in page
    assert 'Inbox <span class="badge-state is-bad">1<span' in page


def test_a_member_asks_from_the_page_of_a_foreign_name(cast: Cast) -> None:
    client = client_of(cast, "requester")
    page = text_of(client.get("/teams/web/ask-for-domain/?domain=pay.example.net"))
    assert 'value="pay.example.net"' in page
    answer = client.post("/teams/web/ask-for-domain/", {"domain": "com", "why": "Ours."})
    assert answer.status_code == 422
    assert "public suffix" in text_of(answer)
    assert "Ours.</textarea>" in text_of(answer)  # what was typed is kept
    asked = client.post("/teams/web/ask-for-domain/", {"domain": "pay.example.net", "why": "Ours."}, follow=True)
    assert "A security officer decides." in text_of(asked)


def test_the_owner_of_a_domain_is_shown_to_who_decides_and_to_nobody_else(cast: Cast, row: DomainRequest) -> None:
    address = f"/domain-requests/{row.public_id}/"
    assert "takes pay.other.test away from team Other" in text_of(client_of(cast, "officer").get(address))
    for name in ("requester", "auditor", "approver"):
        page = text_of(client_of(cast, name).get(address))
        assert "We run the shop there." in page
        assert "Other" not in page


def test_a_refusal_without_a_reason_stays_on_its_page(cast: Cast, row: DomainRequest) -> None:
    officer, address = client_of(cast, "officer"), f"/domain-requests/{row.public_id}/decide/"
    answer = officer.post(address, {"decision": "refuse", "comment": "", "owner": "other"})
    assert (answer.status_code, "A refusal needs a reason." in text_of(answer)) == (422, True)
    assert officer.post(address, {"decision": "grant", "owner": "other"}).status_code == 302
    assert Domain.objects.get(name="pay.other.test").team == cast.web
    assert officer.post(address, {"decision": "grant", "owner": "other"}).status_code == 409  # a second tab
