"""Duplicates: the same names and the same profile, of the same team, alive or under way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from certs.models import Certificate, CertificateRequest
from certs.requests.facts.duplicates import content_of, living_duplicates, requests_under_way
from certs.requests.states import TRANSITIONS, UNFINISHED
from certs.requests.submit import Requester, submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.cast import Cast
from tests.certs.life import issued

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


def spec(*names: str, profile: str = "tls-server", addresses: tuple[str, ...] = ()) -> CertificateSpec:
    return CertificateSpec(names[0], names, addresses, "ec-p256", 90, profile)


def test_content_is_team_profile_and_names_in_any_order(cast: Cast) -> None:
    content = content_of(spec("a.example.com", "b.example.com"), cast.web)
    assert content == content_of(spec("b.example.com", "a.example.com"), cast.web)
    others = (
        content_of(spec("a.example.com"), cast.web),
        content_of(spec("a.example.com", "b.example.com"), cast.other),
        content_of(spec("a.example.com", "b.example.com", profile="tls-client"), cast.web),
        content_of(spec("a.example.com", "b.example.com", addresses=("192.0.2.1",)), cast.web),
    )
    assert content not in others
    assert len(set(others)) == 4


def test_a_living_duplicate_has_exactly_the_names(cast: Cast) -> None:
    one = issued(spec("a.example.com"), cast.requester("requester"))
    two = issued(spec("a.example.com", "b.example.com"), cast.requester("requester"))
    contents = [
        content_of(found, cast.web)
        for found in (
            spec("a.example.com"),
            spec("b.example.com", "a.example.com"),
            spec("b.example.com"),
            spec("a.example.com", "c.example.com"),
        )
    ]
    assert living_duplicates(contents, at=database_now()) == {contents[0]: one.cert_id, contents[1]: two.cert_id}
    assert living_duplicates([content_of(spec("a.example.com"), cast.other)], at=database_now()) == {}
    assert living_duplicates([content_of(spec("a.example.com", profile="tls-client"), cast.web)], at=database_now()) == {}


@pytest.mark.parametrize("how", ["revoked", "expired", "not valid yet"])
def test_a_certificate_that_serves_nobody_is_no_duplicate(twin_portal: Requester, how: str) -> None:
    certificate = issued(spec("a.example.com"), twin_portal)
    content, now = content_of(spec("a.example.com"), twin_portal.team), database_now()
    assert living_duplicates([content], at=now) == {content: certificate.cert_id}
    changes: dict[str, dict[str, Any]] = {
        "revoked": {"status": Certificate.Status.REVOKED},
        "expired": {"not_after": now},
        "not valid yet": {"not_before": now + timedelta(seconds=1)},
    }
    Certificate.objects.filter(pk=certificate.pk).update(**changes[how])
    assert living_duplicates([content], at=now) == {}


@pytest.mark.parametrize("state", sorted(TRANSITIONS))
def test_a_request_is_under_way_until_it_has_ended(twin_portal: Requester, state: str) -> None:
    (row,) = submit_many([spec("a.example.com")], requester=twin_portal)
    CertificateRequest.objects.filter(pk=row.pk).update(state=state)
    content = content_of(spec("a.example.com"), twin_portal.team)
    found, passed = requests_under_way([content], judged=[])
    expected = {content: (row.pk, row.public_id)}
    assert found == (expected if state in UNFINISHED else {})
    assert passed == (expected if state in UNFINISHED and state != "submitted" else {})


def test_the_oldest_request_is_the_one_and_those_judged_now_do_not_count(twin_portal: Requester) -> None:
    rows = submit_many([spec("a.example.com")] * 3, requester=twin_portal)
    content = content_of(spec("a.example.com"), twin_portal.team)
    first, second, third = (row.pk for row in rows)
    assert requests_under_way([content], judged=[])[0][content][0] == first
    assert requests_under_way([content], judged=[first])[0][content][0] == second
    assert requests_under_way([content], judged=[first, second, third]) == ({}, {})


def test_requests_of_others_and_for_other_names_do_not_count(cast: Cast) -> None:
    submit_many([spec("a.example.com"), spec("a.example.com", "b.example.com")], requester=cast.requester("requester"))
    contents = [
        content_of(spec("a.example.com"), cast.other),
        content_of(spec("b.example.com"), cast.web),
        content_of(spec("a.example.com", profile="tls-client"), cast.web),
    ]
    assert requests_under_way(contents, judged=[]) == ({}, {})
