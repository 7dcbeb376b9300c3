"""An end date named by a person is kept as a date through every wait, shown, and never passed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.bulk.drafting.draft import apply_suggestions, draft, lines_of
from certs.bulk.lines import spec_of
from certs.enums import RequestState as S
from certs.errors import Conflict
from certs.models import Certificate, CertificateRequest
from certs.renewal.renew import renew
from certs.requests.approvals import approval
from certs.requests.plan import Fields, describe, plan_fields, plan_words
from certs.requests.submit import Requester, request_digest, submit_many
from certs.requests.waiting import hold_for_ca, resume
from certs.spec import CertificateSpec, IssuePlan, end_of_day
from db.clock import database_now
from tests.cast import person
from tests.certs.life import PORTAL, finished, issued, new_policy, walk
from tests.twins.ca import TwinCAClient

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


def until(days: int) -> date:
    return database_now().date() + timedelta(days=days)


def ask(requester: Requester, spec: CertificateSpec) -> CertificateRequest:
    return submit_many([spec], requester=requester)[0]


def officer() -> Any:
    return person("officer", "security-team", email="officer@example.org")


def test_end_date_survives_an_approval(twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec) -> None:
    """D1: the certificate ends with the named day, however late the approval came."""
    end = until(32)
    request = ask(twin_portal, make_spec("*.apps.example.com", until=end))
    walk([request.pk])
    request.refresh_from_db()
    assert (request.state, request.validity_days, request.not_after) == (S.AWAITING_APPROVAL, None, end)
    approval.approve(request, user=officer(), digest=request.digest)
    walk([request.pk])
    certificate = Certificate.objects.get(request=request)
    assert certificate.not_after == end_of_day(end)
    submitted = AuditEvent.objects.get(subject=request.subject, event="request:submitted")
    assert submitted.data["not_after"] == end.isoformat()


def test_end_date_survives_a_ca_outage(twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec) -> None:
    """D1."""
    end = until(40)
    request = ask(twin_portal, make_spec(until=end))
    twin_ca.reachable = False
    walk([request.pk])
    hold_for_ca([request.pk], "503")
    request.refresh_from_db()
    twin_ca.reachable = True
    resume(str(request.resume_id), authority=Authority(twin_portal.actor))
    walk([request.pk])
    assert Certificate.objects.get(request=request).not_after == end_of_day(end)


def test_end_date_that_passes_during_a_wait_is_refused_with_a_next_step(
    twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    """D1: nothing is signed for a date that is over."""
    request = ask(twin_portal, make_spec(until=until(5)))
    yesterday = until(-1)
    CertificateRequest.objects.filter(pk=request.pk).update(not_after=yesterday)
    walk([request.pk])
    request.refresh_from_db()
    assert request.state == S.REJECTED
    assert request.error == f"Policy violation: The end date {yesterday} is over, or almost over"
    assert request.suggestion == "Request the certificate again with a later end date."


def test_end_date_that_passes_before_signing_is_refused(twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec) -> None:
    """D1: the policy counts the days that are left when the CA is about to be asked."""
    request = ask(twin_portal, make_spec(until=until(5)))
    twin_ca.reachable = False
    walk([request.pk])
    CertificateRequest.objects.filter(pk=request.pk).update(not_after=until(-1))
    twin_ca.reachable = True
    walk([request.pk])
    request.refresh_from_db()
    assert request.state == S.REJECTED
    assert "is over" in request.error
    assert not twin_ca.book.signed


def test_policy_judges_the_days_that_are_left(twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec) -> None:
    """30 days ahead fit a maximum of 30, and the whole period does too."""
    new_policy("v2.4", max_validity={"days": 30})
    end = until(30)
    certificate = issued(make_spec(until=end), twin_portal)
    life = certificate.not_after - certificate.not_before + timedelta(seconds=1)
    assert certificate.not_after <= end_of_day(end)
    assert life <= timedelta(days=30)
    refused = ask(twin_portal, make_spec("b.example.com", until=until(31)))
    walk([refused.pk])
    refused.refresh_from_db()
    assert (refused.state, refused.suggestion) == (S.REJECTED, "Use validity ≤ 30 days")


def test_digest_covers_days_or_end_date(twin_portal: Requester, make_spec: MakeSpec) -> None:
    """D1: an approval of a date is no approval of a number of days."""
    request = ask(twin_portal, make_spec(until=until(30)))
    specs = [
        make_spec(until=until(30)),
        make_spec(until=until(31)),
        make_spec(days=30),
    ]
    digests = [request_digest(spec, team=twin_portal.team, issuer=request.issuer, requester="x") for spec in specs]
    assert len(set(digests)) == len(specs)


def test_plan_shows_the_end_date(twin_portal: Requester) -> None:
    """D1: `--dry-run` and `plan_only` print what is kept."""
    end = until(60)
    by_words = plan_words(f"Issue certificate for api.example.com until {end}", requester=twin_portal)
    by_fields = plan_fields(Fields("api.example.com", not_after=end), requester=twin_portal)
    assert isinstance(by_words, IssuePlan)
    assert [(spec.validity_days, spec.not_after) for spec in (*by_words.specs, *by_fields.specs)] == [(None, end)] * 2
    (planned,) = describe(by_words, requester=twin_portal)["plan"]
    assert (planned["validity_days"], planned["not_after"]) == (None, end.isoformat())
    (in_days,) = describe(plan_fields(Fields("api.example.com", validity_days=9), requester=twin_portal), requester=twin_portal)["plan"]
    assert (in_days["validity_days"], in_days["not_after"]) == (9, None)


def test_lines_of_an_order_keep_the_end_date_until_a_suggestion_replaces_it(twin_portal: Requester) -> None:
    """D1, for bulk orders."""
    plan = plan_words(f"Issue certificates for a and b until {until(500)}", requester=twin_portal)
    assert isinstance(plan, IssuePlan)
    order = draft(lines_of(plan), requester=twin_portal, title="dates")
    items = list(order.items.order_by("number"))
    assert [(spec_of(item).not_after, item.outcome) for item in items] == [(until(500), "deny")] * 2
    assert apply_suggestions(order, authority=Authority(twin_portal.actor)) == 2
    assert {(spec_of(item).validity_days, spec_of(item).not_after) for item in order.items.all()} == {(397, None)}


def test_renewal_of_an_end_date_is_as_long_as_the_request_was(twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec) -> None:
    """D1: the date itself cannot be asked for again; the length can, and the plan says so."""
    certificate = issued(make_spec(until=until(32)), twin_portal)
    renewal = renew(certificate, authority=PORTAL, channel="command", begin=False)
    assert (renewal.request.validity_days, renewal.request.not_after) == (32, None)
    assert any(f"was requested until {until(32)}" in note for note in renewal.plan.notes)
    assert renewal.request.digest != certificate.request.digest
    follower = Certificate.objects.get(request=finished(renewal))
    assert follower.not_after - follower.issued_at > timedelta(days=31, hours=23)


def test_an_end_date_that_is_over_cannot_be_approved(twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec) -> None:
    """D1: no key is made for a certificate that cannot be issued any more."""
    request = ask(twin_portal, make_spec("*.apps.example.com", until=until(5)))
    walk([request.pk])
    CertificateRequest.objects.filter(pk=request.pk).update(not_after=until(-1))
    with pytest.raises(Conflict, match="is over, or almost over"):
        approval.approve(request, user=officer(), digest=request.digest)
    request.refresh_from_db()
    assert request.state == S.AWAITING_APPROVAL
