"""A certificate that was issued under a waiver says so wherever it is shown, and goes on saying so when the waiver is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from certs.models import Certificate, CertificateRequest
from certs.reports.facts import compute
from certs.reports.weeks import Week
from certs.requests.submit import submit_many
from db.clock import database_now
from policy.models import PolicyWaiver
from policy.waivers.deciding import end_waiver, request_waiver
from tests.cast import Cast
from tests.certs.inventory.test_filters import api_of
from tests.certs.life import issued
from tests.certs.requests.facts.test_decisions import spec, waived
from tests.certs.steps import check_policy

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
REASON = "The appliance <b>cannot</b> do more until its replacement."
WEAK = "old.example.com"


@pytest.fixture
def waiver(cast: Cast) -> PolicyWaiver:
    return waived(cast, reason=REASON)


def weak(cast: Cast) -> Certificate:
    return issued(spec(WEAK, key="rsa-2048"), cast.requester("requester"))


def page_of(cast: Cast, row: Certificate, name: str = "requester") -> str:
    client = Client()
    client.force_login(cast[name])
    return client.get(f"/certificates/{row.cert_id}/").content.decode()


def read(cast: Cast, row: Certificate) -> list[str]:
    return list(api_of(cast["requester"]).get(f"/certificates/{row.cert_id}")[1]["waivers"])


def in_report() -> dict[str, Any]:
    now = database_now()
    return dict(compute(Week.of(now), now=now).facts["waivers"])


def test_certificate_page_api_and_report_name_the_waiver(cast: Cast, waiver: PolicyWaiver) -> None:
    row, usual = weak(cast), issued(spec("new.example.com"), cast.requester("requester"))
    page = page_of(cast, row)
    assert f"{waiver.reference}: The appliance &lt;b&gt;cannot&lt;/b&gt; do more" in page
    assert "<dt>Waivers</dt>" not in page_of(cast, usual)
    assert (read(cast, row), read(cast, usual)) == ([waiver.reference], [])
    found = in_report()
    assert (found["issued"], found["counting"]) == (1, 1)
    assert [one["waiver"] for one in found["ending"]] == [waiver.reference]


def test_mark_stays_and_says_since_when_the_waiver_is_over(cast: Cast, waiver: PolicyWaiver) -> None:
    row = weak(cast)
    assert "(until" in page_of(cast, row).partition("<dt>Waivers</dt>")[2].partition("</dd>")[0]
    past = database_now() - timedelta(seconds=1)
    PolicyWaiver.objects.filter(pk=waiver.pk).update(ends=past)
    mark = page_of(cast, row).partition("<dt>Waivers</dt>")[2].partition("</dd>")[0]
    assert (waiver.reference in mark, "ended" in mark, "(until" in mark) == (True, True, False)
    assert read(cast, row) == [waiver.reference]
    found = in_report()
    assert (found["issued"], found["counting"], found["ending"]) == (1, 0, [])


def test_waiver_that_was_withdrawn_lets_nothing_more_pass_and_its_mark_stays(cast: Cast, waiver: PolicyWaiver) -> None:
    row = weak(cast)
    end_waiver(waiver, reason="Replaced.", user=cast["officer"], now=database_now())
    mark = page_of(cast, row).partition("<dt>Waivers</dt>")[2].partition("</dd>")[0]
    assert ("ended" in mark, "(until" in mark, read(cast, row)) == (True, False, [waiver.reference])
    found = in_report()
    assert (found["issued"], found["counting"]) == (1, 0)
    (again,) = submit_many([spec(WEAK, key="rsa-2048")], requester=cast.requester("requester"))
    check_policy([again.pk])
    again.refresh_from_db()
    assert again.state == "rejected"


def test_waiver_that_nobody_approved_counts_for_nothing_and_marks_nothing(cast: Cast) -> None:
    now = database_now()
    request_waiver(
        "default",
        rule="allowed_keys",
        params={"rsa": {"min_bits": 2048}, "ec": [256]},
        names=[WEAK],
        teams=["web"],
        reason=REASON,
        begins=now - timedelta(minutes=1),
        ends=now + timedelta(days=30),
        user=cast["officer"],
        now=now,
    )
    (row,) = submit_many([spec(WEAK, key="rsa-2048")], requester=cast.requester("requester"))
    check_policy([row.pk])
    assert CertificateRequest.objects.get(pk=row.pk).state == "rejected"
    assert in_report()["counting"] == 0


@pytest.mark.parametrize(
    ("names", "who"),
    [
        ((WEAK, "other.example.com"), "requester"),  # one name more than it names
        (("sub.old.example.com",), "requester"),
        (("*.old.example.com",), "requester"),
        (("old.example.com.other.test",), "outsider"),
        ((WEAK,), "outsider"),  # another team
    ],
)
def test_waiver_reaches_exactly_the_names_and_teams_that_it_names(
    cast: Cast, waiver: PolicyWaiver, names: tuple[str, ...], who: str
) -> None:
    team = cast.other if who == "outsider" else None
    (row,) = submit_many([spec(*names, key="rsa-2048")], requester=cast.requester(who, team))
    check_policy([row.pk])
    row.refresh_from_db()
    assert row.state == "rejected"
    assert not row.waiver_uses.exists()
