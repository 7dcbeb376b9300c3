"""Whether the person in whose name a request was made still belongs to its team."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pytest_django import DjangoAssertNumQueries

from certs.models import CertificateRequest
from certs.requests.approvals.requesters import requesters_who_left
from certs.requests.submit import submit_many
from certs.spec import CertificateSpec
from tests.cast import Cast
from tests.certs.life import issued

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


def test_who_left_the_team_or_was_deactivated_is_named(cast: Cast, make_spec: MakeSpec) -> None:
    rows = [submit_many([make_spec()], requester=cast.requester(name))[0] for name in ("requester", "leaver", "colleague")]
    assert requesters_who_left(rows) == {}
    cast.web.members.remove(cast["leaver"])
    cast["colleague"].is_active = False
    cast["colleague"].save()
    left = requesters_who_left(list(CertificateRequest.objects.order_by("pk")))
    assert left == {
        row.pk: f"{name}, who requested it, has left team Web or was deactivated"
        for row, name in zip(rows[1:], ("leaver", "colleague"), strict=True)
    }


def test_membership_of_another_team_does_not_count(cast: Cast, make_spec: MakeSpec) -> None:
    (row,) = submit_many([make_spec()], requester=cast.requester("leaver"))
    cast.other.members.add(cast["leaver"])
    cast.web.members.remove(cast["leaver"])
    assert set(requesters_who_left([row])) == {row.pk}


@pytest.mark.parametrize("door", ["command", "schedule"])
def test_a_renewal_that_no_person_made_is_the_teams(cast: Cast, make_spec: MakeSpec, door: str) -> None:
    certificate = issued(make_spec(), cast.requester("leaver"))
    cast.web.members.remove(cast["leaver"])
    row = certificate.request
    row.requester, row.door = cast["leaver"], door
    assert set(requesters_who_left([row])) == {row.pk}
    row.renewed_from = certificate
    assert requesters_who_left([row]) == {}
    row.door = "portal"
    assert set(requesters_who_left([row])) == {row.pk}


def test_an_officer_acts_for_every_team_in_renewals_and_in_no_token(cast: Cast, make_spec: MakeSpec) -> None:
    certificate = issued(make_spec(), cast.requester("requester"))
    row = certificate.request
    row.requester, row.renewed_from, row.door = cast["officer"], certificate, "portal"
    assert requesters_who_left([row]) == {}
    row.door = "api"  # a token is of one team, and no role of its user counts
    assert set(requesters_who_left([row])) == {row.pk}
    row.door, row.renewed_from = "portal", None  # nobody requests for a team without belonging to it
    assert set(requesters_who_left([row])) == {row.pk}
    row.renewed_from, row.requester = certificate, cast["approver"]
    assert set(requesters_who_left([row])) == {row.pk}


def test_a_request_of_nobody_has_nobody_who_could_leave(cast: Cast, make_spec: MakeSpec) -> None:
    (row,) = submit_many([make_spec()], requester=cast.requester("requester"))
    row.requester = None
    assert requesters_who_left([row]) == {}


def test_many_requests_cost_one_query(cast: Cast, make_spec: MakeSpec, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for name in ("requester", "colleague"):
        submit_many([make_spec()] * 5, requester=cast.requester(name))
    rows = list(CertificateRequest.objects.select_related("requester", "team"))
    with django_assert_num_queries(1):
        assert requesters_who_left(rows) == {}
