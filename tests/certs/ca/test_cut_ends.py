"""A certificate never outlives its CA, and people are told so before and after."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from certs.bulk.drafting.draft import draft, lines_of
from certs.ca.lifetime import end_of
from certs.models import Certificate
from certs.renewal.plan import RELATED, plan_renewals
from certs.requests.plan import Fields, describe, plan_fields, plan_words
from certs.requests.representation import answer
from certs.requests.submit import submit
from certs.spec import CertificateSpec, IssuePlan
from db.clock import database_now
from policy.models import PolicyVersion
from tests.certs.status.test_maintenance import days_ago
from tests.portal.authority import issue, issuing_ca
from tests.portal.commands import run
from tests.portal.fixtures import PASSWORD, Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def _ends_in_177_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requested before `portal`, which makes the CA."""
    days_ago(monkeypatch, 3650 - 177.5)


@pytest.fixture
def ending(request: pytest.FixtureRequest, _ends_in_177_days: None) -> Portal:
    portal: Portal = request.getfixturevalue("portal")
    return portal


def assert_tells(text: str) -> None:
    """D3: the end, how long that is, what was requested, and why."""
    end = end_of(issuing_ca())
    for words in (f"{end.day} {end:%b %Y}", "177 days", "390 days", "Internal-CA-Prod ends then"):
        assert words in text, text


def test_plan_shows_the_end_and_why(ending: Portal) -> None:
    requester = ending.requester()
    end = end_of(issuing_ca())
    for plan in (
        plan_fields(Fields("a.example.com", validity_days=390), requester=requester),
        plan_words("Issue TLS certificate for a.example.com with 390-day validity", requester=requester),
    ):
        assert isinstance(plan, IssuePlan)
        told = describe(plan, requester=requester)
        (planned,) = told["plan"]
        assert (planned["validity_days"], planned["not_after"]) == (390, end.date().isoformat())
        assert planned["expires_at"] == end.strftime("%Y-%m-%dT%H:%M:%SZ")
        assert_tells(" ".join(told["notes"]))
        assert told["decision"] == "allow"
    shorter = describe(plan_fields(Fields("a.example.com", validity_days=90), requester=requester), requester=requester)
    assert shorter["plan"][0]["not_after"] is None
    assert "ends then" not in " ".join(shorter["notes"])


def test_dry_run_and_plan_page_show_it(ending: Portal) -> None:
    code, told = run("issue", "--cn", "a.example.com", "--validity-days", "390", "--dry-run", "--as", "alice")
    assert code == 0
    assert_tells(" ".join(told["notes"]))
    client = Client()
    assert client.login(username="alice", password=PASSWORD)
    draft = client.post("/new/", {"text": "Certificate for a.example.com in the vault, 390 days", "team": "web"})
    page = client.get(f"{draft['Location']}plan/")
    assert page.status_code == 200, page
    assert_tells(page.content.decode())


def test_answer_and_approval_page_show_it(ending: Portal) -> None:
    (certificate,) = issue(ending, 1, days=390)
    assert certificate.not_after == end_of(certificate.issuer)
    assert_tells(" ".join(answer(certificate.request)["notes"]))
    (short,) = issue(ending, 1, prefix="s", days=90)
    assert "notes" not in answer(short.request)
    spec = CertificateSpec("*.example.com", ("*.example.com",), (), "ec-p256", 390, "tls-server")
    request = submit(spec, requester=ending.requester())
    client = Client()
    assert client.login(username="alice", password=PASSWORD)
    assert_tells(client.get(f"/requests/{request.public_id}/").content.decode())


def test_lines_of_a_bulk_order_show_it(ending: Portal) -> None:
    requester = ending.requester()
    plan = plan_fields(Fields("a.example.com", validity_days=390), requester=requester)
    order = draft(lines_of(plan), requester=requester, title="cut")
    assert_tells(" ".join(order.items.get().notes))


def test_renewal_that_gains_nothing_is_refused(ending: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """D3, T7: it would be renewed every night, always until the same end."""
    (certificate,) = issue(ending, 1, days=390)
    (row,) = Certificate.objects.select_related(*RELATED).filter(pk=certificate.pk)
    (plan,) = plan_renewals([row], at=database_now())
    assert plan.verdict == "refused"
    assert "ends then" in plan.reason
    assert "roll_over_ca" in plan.advice
    days_ago(monkeypatch, 0)
    assert run("roll_over_ca")[0] == 0
    (row,) = Certificate.objects.select_related(*RELATED).filter(pk=certificate.pk)
    (plan,) = plan_renewals([row], at=database_now() + timedelta(seconds=1))
    assert plan.verdict == "go"


@pytest.mark.parametrize(("key", "warned"), [("ec-p521", True), ("ed25519", True), ("ec-p256", False), ("rsa-3072", False)])
def test_plan_warns_of_keys_that_browsers_do_not_take(portal: Portal, key: str, warned: bool) -> None:
    """T11: Chromium makes no TLS connection with them."""
    assert PolicyVersion.objects.exists()
    requester = portal.requester()
    told = describe(plan_fields(Fields("a.example.com", key=key), requester=requester), requester=requester)
    assert ("Chromium" in " ".join(told["notes"])) is warned
