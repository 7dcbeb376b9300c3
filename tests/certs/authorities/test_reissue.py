"""Re-issuing the certificates of a CA from another: forecast, start, pause, resume, once each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from django.urls import reverse

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.api_tokens import create_token
from certs.access.permissions import Authority
from certs.authorities.forecast import forecast_reissue
from certs.authorities.reissue import (
    cancel_reissue,
    count_reissues,
    pause_reissue,
    plan_reissue,
    resume_reissue,
    start_reissue,
    targets_for,
)
from certs.ca.local.setup import ensure_own_ca
from certs.ca.registry import forget_clients
from certs.enums import RevocationReason
from certs.errors import Conflict, InputRefused, NotPermitted, PortalError
from certs.models import Certificate, CertificateRequest, Issuer, Reissue
from certs.renewal.expiry import renew_due
from certs.revocation.distrust import distrust
from db.clock import database_now
from keys.spec import KeySpec
from tests.cast import person
from tests.certs.life import walk
from tests.portal.authority import issue, issuing_ca, publish_everything
from tests.portal.fixtures import SYSTEM, Portal
from tests.portal.threads import in_thread, until_it_waits_for_a_lock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def other(portal: Portal, settings: Any) -> Iterator[Issuer]:
    """Another own CA, with a root of its own."""
    publish_everything()
    issuer, _ = ensure_own_ca(name="Other-CA", spec=KeySpec.EC_P256, actor=SYSTEM, tell=lambda _line: None)
    settings.CA_CLIENTS = {**settings.CA_CLIENTS, "Other-CA": settings.CA_CLIENTS["Internal-CA-Prod"]}
    forget_clients()
    yield issuer
    forget_clients()


def officer(portal: Portal) -> Authority:
    return Authority(Actor("user", "carol"), portal.carol)


def planned(portal: Portal, other: Issuer) -> Reissue:
    reissue = plan_reissue(issuing_ca(), other.slug, reason="lost in an outage", authority=officer(portal))
    forecast_reissue(reissue.pk)
    reissue.refresh_from_db()
    return reissue


def started(portal: Portal, other: Issuer) -> Reissue:
    return start_reissue(planned(portal, other), confirmation="Internal-CA-Prod", authority=officer(portal))


def finish_renewals() -> None:
    walk(list(CertificateRequest.objects.filter(renewed_from__isnull=False, state="submitted").values_list("pk", flat=True)))


def test_forecast_says_who_is_affected_and_makes_nothing(portal: Portal, other: Issuer) -> None:
    first, second, _third = issue(portal, 3)
    Certificate.objects.filter(pk=first.pk).update(renewal_off_reason="given up")
    Certificate.objects.filter(pk=second.pk).update(not_after=database_now() + timedelta(days=3))
    requests, events = CertificateRequest.objects.count(), AuditEvent.objects.count()
    reissue = planned(portal, other)
    forecast = reissue.forecast
    assert (forecast["total"], forecast["verdicts"]["go"], forecast["verdicts"]["off"]) == (3, 2, 1)
    assert [(team["slug"], team["total"], team["renewed"]) for team in forecast["teams"]] == [("web", 3, 2)]
    assert [reason["count"] for reason in forecast["reasons"]] == [1]
    assert forecast["minutes"] >= 1
    assert CertificateRequest.objects.count() == requests
    assert AuditEvent.objects.count() == events + 1  # that it was planned


def test_forecast_counts_what_the_policy_in_force_refuses(portal: Portal, other: Issuer) -> None:
    """A name that belongs to nobody any more is refused as a renewal of it is, with the same words and advice."""
    issue(portal, 2)
    portal.team.domains.filter(name="example.com").delete()
    reissue = planned(portal, other)
    forecast = reissue.forecast
    assert forecast["verdicts"]["refused"] == 2
    (reason,) = forecast["reasons"]
    assert "Policy violation" in reason["reason"]
    assert len(reason["examples"]) == 2
    client = Client()
    client.force_login(portal.carol)
    page = client.get(f"/cas/reissues/{reissue.public_id}/").content.decode()
    for row in Certificate.objects.filter(cert_id__in=reason["examples"]):
        assert f'href="/certificates/{row.cert_id}/">{row.common_name}</a>' in page


def test_every_certificate_is_renewed_once_by_the_other_ca_nearest_end_first(portal: Portal, other: Issuer) -> None:
    certificates = issue(portal, 4)
    for number, certificate in enumerate(reversed(certificates)):
        Certificate.objects.filter(pk=certificate.pk).update(not_after=database_now() + timedelta(days=60 + number))
    reissue = started(portal, other)
    renew_due(begin=False)
    renew_due(begin=False)
    renewals = CertificateRequest.objects.filter(renewed_from__isnull=False).order_by("pk")
    assert [row.renewed_from_id for row in renewals] == [one.pk for one in reversed(certificates)]
    assert {row.issuer_id for row in renewals} == {other.pk}
    finish_renewals()
    count_reissues()
    reissue.refresh_from_db()
    assert (reissue.state, reissue.issued, reissue.left) == ("done", 4, 0)
    assert set(Certificate.objects.filter(renewed_from__isnull=False).values_list("issuer", flat=True)) == {other.pk}
    assert AuditEvent.objects.filter(event="issuer:reissue_done").count() == 1


def test_page_of_a_certificate_says_that_its_ca_is_given_up_before_its_renewal_begins(portal: Portal, other: Issuer) -> None:
    (certificate,) = issue(portal, 1)
    client = Client()
    client.force_login(portal.alice)

    def page() -> str:
        return client.get(reverse("certificate", args=[certificate.cert_id])).content.decode()

    assert "is being replaced" not in page()
    reissue = started(portal, other)
    assert "The CA Internal-CA-Prod is being replaced.</strong> Other-CA renews this certificate, nearest end first" in page()
    assert "Renews automatically on" not in page()
    pause_reissue(reissue, authority=officer(portal))
    assert "it is paused now" in page()
    distrust(issuing_ca(), reason=RevocationReason.CA_COMPROMISE, actor=SYSTEM)
    assert "Clients refuse this certificate: its CA Internal-CA-Prod is distrusted." in page()


def test_page_list_and_rest_say_the_same_of_a_certificate_whose_ca_is_given_up(portal: Portal, other: Issuer) -> None:
    (certificate,) = issue(portal, 1)
    client = Client()
    client.force_login(portal.alice)
    _, secret = create_token(user=portal.alice, team=portal.team, name="t", scopes=["certificates:read"], actor=Actor("user", "alice"))
    api = Client(headers={"authorization": f"Bearer {secret}"})

    def said() -> list[str]:
        pages = [client.get(reverse("certificate", args=[certificate.cert_id])), client.get(reverse("certificates"))]
        badges = [re.findall(r'badge-state [\w-]+"><span aria-hidden="true">.</span> ([^<]+)<', page.content.decode()) for page in pages]
        rest = [api.get(f"/api/v1/certificates/{certificate.cert_id}").json()["state"]]
        rest += [one["state"] for one in api.get("/api/v1/certificates").json()["certificates"]]
        return [*(badge for page in badges for badge in page), *rest]

    assert said() == ["valid", "valid", "valid", "valid"]
    started(portal, other)
    assert said() == ["renew soon", "renew soon", "renew_soon", "renew_soon"]


def test_a_pause_begins_nothing_and_a_resume_goes_on(portal: Portal, other: Issuer, settings: Any) -> None:
    settings.PKI_RENEW_BUDGET = 1  # of a minute, so 15 in a run
    issue(portal, 20)
    reissue = started(portal, other)
    renew_due(begin=False)
    assert CertificateRequest.objects.filter(renewed_from__isnull=False).count() == 15
    finish_renewals()
    pause_reissue(reissue, authority=officer(portal))
    renew_due(begin=False)
    assert CertificateRequest.objects.filter(renewed_from__isnull=False).count() == 15
    with pytest.raises(Conflict):
        pause_reissue(reissue, authority=officer(portal))
    resume_reissue(reissue, authority=officer(portal))
    renew_due(begin=False)
    finish_renewals()
    assert CertificateRequest.objects.filter(renewed_from__isnull=False, state="completed").count() == 20
    count_reissues()
    reissue.refresh_from_db()
    assert reissue.state == "done"


def test_a_paused_re_issue_of_a_distrusted_ca_begins_nothing(portal: Portal, other: Issuer) -> None:
    issue(portal, 2)
    reissue = started(portal, other)
    Issuer.objects.filter(pk=reissue.issuer_id).update(state="distrusted")
    pause_reissue(reissue, authority=officer(portal))
    renew_due(begin=False)
    assert not CertificateRequest.objects.filter(renewed_from__isnull=False).exists()


def test_cancelled_leaves_the_rest_to_its_usual_time(portal: Portal, other: Issuer) -> None:
    issue(portal, 2)
    reissue = started(portal, other)
    cancel_reissue(reissue, authority=officer(portal))
    renew_due(begin=False)
    assert not CertificateRequest.objects.filter(renewed_from__isnull=False).exists()
    with pytest.raises(Conflict):
        resume_reissue(reissue, authority=officer(portal))


def test_it_starts_with_the_typed_name_after_its_forecast_and_once(portal: Portal, other: Issuer) -> None:
    issue(portal, 1)
    bare = plan_reissue(issuing_ca(), other.slug, reason="lost", authority=officer(portal))
    with pytest.raises(Conflict, match="forecast"):
        start_reissue(bare, confirmation="Internal-CA-Prod", authority=officer(portal))
    first, second = planned(portal, other), planned(portal, other)
    with pytest.raises(InputRefused) as refused:
        start_reissue(first, confirmation="internal-ca-prod", authority=officer(portal))
    assert refused.value.field == "confirmation"
    start_reissue(first, confirmation="Internal-CA-Prod", authority=officer(portal))
    for again in (first, second):
        with pytest.raises(Conflict):
            start_reissue(again, confirmation="Internal-CA-Prod", authority=officer(portal))


def test_two_re_issues_never_feed_each_other(portal: Portal, other: Issuer) -> None:
    """A to B while B goes to A would renew the same names without end."""
    issue(portal, 1)
    started(portal, other)
    back = plan_reissue(other, "internal-ca-prod", reason="lost too", authority=officer(portal))
    forecast_reissue(back.pk)
    back.refresh_from_db()
    with pytest.raises(Conflict, match="are being re-issued from"):
        start_reissue(back, confirmation="Other-CA", authority=officer(portal))


def test_two_re_issues_that_begin_at_once_do_not_feed_each_other_either(portal: Portal, other: Issuer) -> None:
    issue(portal, 1)
    there, back = planned(portal, other), plan_reissue(other, "internal-ca-prod", reason="lost too", authority=officer(portal))
    forecast_reissue(back.pk)
    found: list[str] = []

    def begin() -> None:
        try:
            start_reissue(back, confirmation="Other-CA", authority=officer(portal))
        except PortalError as exc:
            found.append(type(exc).__name__)

    with transaction.atomic():
        start_reissue(there, confirmation="Internal-CA-Prod", authority=officer(portal))
        thread = in_thread(begin)
        until_it_waits_for_a_lock()
    thread.join(30)
    assert found == ["Conflict"]
    assert list(Reissue.objects.filter(state__in=Reissue.UNDER_WAY)) == [there]


def test_only_a_ca_that_issues_can_take_over(portal: Portal, other: Issuer) -> None:
    lost = issuing_ca()
    assert targets_for(lost) == [other]
    for target in ("", lost.slug, "internal-ca-prod-root", "nowhere"):
        with pytest.raises(InputRefused) as refused:
            plan_reissue(lost, target, reason="lost", authority=officer(portal))
        assert refused.value.field == "target"
    with pytest.raises(InputRefused, match="why"):
        plan_reissue(lost, other.slug, reason=" ", authority=officer(portal))
    assert not Reissue.objects.exists()


def test_officers_manage_operators_pause_and_nobody_else(portal: Portal, other: Issuer) -> None:
    """Facts of now: the use case asks, whatever the channel did."""
    issue(portal, 1)
    reissue = started(portal, other)
    operator = Authority(Actor("user", "olga"), person("olga", "operator"))
    auditor = Authority(Actor("user", "aud"), person("aud", "auditor"))
    member = Authority(Actor("user", "alice"), portal.alice)
    for authority in (operator, auditor, member):
        with pytest.raises(NotPermitted):
            plan_reissue(issuing_ca(), other.slug, reason="x", authority=authority)
        with pytest.raises(NotPermitted):
            cancel_reissue(reissue, authority=authority)
    for authority in (auditor, member):
        with pytest.raises(NotPermitted):
            pause_reissue(reissue, authority=authority)
    pause_reissue(reissue, authority=operator)
    resume_reissue(reissue, authority=operator)


def test_the_command_forecasts_by_default_and_starts_with_yes(portal: Portal, other: Issuer) -> None:
    issue(portal, 2)

    def run(*args: str) -> dict[str, Any]:
        out = StringIO()
        call_command("reissue_ca", "Internal-CA-Prod", *args, "--json", stdout=out)
        found: dict[str, Any] = json.loads(out.getvalue())
        return found

    dry = run("--to", "Other-CA", "--dry-run")
    assert (dry["dry_run"], dry["forecast"]["total"]) == (True, 2)
    assert not Reissue.objects.exists()
    assert run("--to", "other-ca", "--yes")["state"] == "running"
    assert run("--pause")["state"] == "paused"
    assert run("--resume")["state"] == "running"
    assert run("--status")["progress"]["left"] == 2
    with pytest.raises(SystemExit) as ended:
        run("--to", "nowhere")
    assert ended.value.code == 2


def test_pages_lead_from_the_plan_to_the_end(portal: Portal, other: Issuer) -> None:
    """Each step has an address; what was typed wrongly is kept beside its field."""
    issue(portal, 2)
    client = Client()
    client.force_login(portal.carol)
    plan = reverse("ca-reissue-plan", args=["internal-ca-prod"])
    refused = client.post(plan, {"target": other.slug, "reason": ""})
    assert refused.status_code == 422
    assert "Say in some words why" in refused.content.decode()
    page = client.post(plan, {"target": other.slug, "reason": "lost"})
    reissue = Reissue.objects.get()
    assert page["Location"] == reverse("ca-reissue", args=[reissue.public_id])
    computed = client.get(page["Location"]).content.decode()
    assert "Looking at each certificate" in computed
    # Nobody computes it anew by itself when its worker was killed: the page names the button, and has it.
    assert "its worker was lost" in computed
    assert computed.count("Compute the forecast again") == 2
    forecast_reissue(reissue.pk)
    shown = client.get(page["Location"]).content.decode()
    assert "Who is affected" in shown
    assert "Start re-issue" in shown
    start = reverse("ca-reissue-act", args=[reissue.public_id, "start"])
    wrong = client.post(start, {"confirmation": "internal"})
    assert wrong.status_code == 422
    assert 'value="internal"' in wrong.content.decode()
    assert client.post(start, {"confirmation": "Internal-CA-Prod"}).status_code == 302
    assert "Pause re-issue" in client.get(page["Location"]).content.decode()
    assert client.get(reverse("ca-reissue-live", args=[reissue.public_id])).status_code == 200
    assert client.post(start, {"confirmation": "Internal-CA-Prod"}).status_code == 409
    assert "started to re-issue 2 certificates" in client.get(reverse("ca", args=["internal-ca-prod"])).content.decode()
    assert client.post(reverse("ca-reissue-act", args=[reissue.public_id, "nonsense"])).status_code == 404
