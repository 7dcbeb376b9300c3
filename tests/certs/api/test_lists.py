"""REST lists: what the token's team may see, found as in the portal, in pages by cursor."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from certs.models import Certificate, CertificateRequest, Team
from db.clock import database_now
from tests.certs.api.test_issue import Api, pem_csr
from tests.certs.inventory.estate import Estate, analyzed
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
Listed = Callable[..., list[str]]


@pytest.fixture
def api(portal: Portal) -> Api:
    """Five certificates of the team `web`; the last one was asked for first."""
    api = Api(portal.token())
    for name in ("e", "d", "c", "b", "a"):
        status, told = api.post("/certificates/issue", {"csr": pem_csr(f"{name}.example.com")})
        assert status == 200, told
    return api


def page(api: Api, kind: str, query: str = "") -> dict[str, Any]:
    status, found = api.get(f"/{kind}?{query}")
    assert status == 200, found
    assert isinstance(found, dict)
    return found


def names(found: dict[str, Any]) -> str:
    (rows,) = [value for key, value in found.items() if key != "next"]
    return "".join(row["common_name"].partition(".")[0] for row in rows)


@pytest.mark.parametrize("kind", ["certificates", "requests"])
def test_pages_by_cursor_hold_each_row_once(api: Api, kind: str) -> None:
    first = page(api, kind, "limit=2")
    second = page(api, kind, f"limit=2&cursor={first['next']}")
    third = page(api, kind, f"limit=2&cursor={second['next']}")
    assert [names(one) for one in (first, second, third)] == ["ab", "cd", "e"]
    assert third["next"] is None
    with CaptureQueriesContext(connection) as seen:
        page(api, kind, f"limit=2&cursor={second['next']}")
    lists = [one["sql"] for one in seen.captured_queries]
    assert not [sql for sql in lists if "COUNT(" in sql or "OFFSET" in sql]


def test_a_certificate_is_found_as_in_the_portal(api: Api) -> None:
    wanted = page(api, "certificates", "q=B.Example.com.")["certificates"]
    assert [row["names"] for row in wanted] == [["b.example.com"]]
    (row,) = wanted
    for text in (row["serial_number"], row["cert_id"], row["sha256_fingerprint"], row["audit_reference"]):
        assert names(page(api, "certificates", f"q={text}")) == "b"
    assert names(page(api, "requests", f"q={row['audit_reference']}")) == "b"
    assert api.get(f"/certificates/{row['cert_id']}")[1]["serial_number"] == row["serial_number"]


def test_states_filter_as_in_the_portal(api: Api) -> None:
    Certificate.objects.filter(common_name__startswith="c").update(status="revoked")
    assert names(page(api, "certificates", "status=active")) == "abde"
    assert names(page(api, "certificates", "status=revoked")) == "c"
    assert names(page(api, "certificates", "expiring=7")) == ""
    assert names(page(api, "requests", "state=completed")) == "abcde"
    assert names(page(api, "requests", "state=failed")) == ""
    CertificateRequest.objects.filter(common_name__startswith="c").update(state_changed_at=database_now() - timedelta(days=8))
    assert [names(page(api, "requests", f"state=completed&unchanged={days}")) for days in (1, 7, 8, 9)] == ["c", "c", "c", ""]
    assert [api.get(f"/requests?unchanged={wrong}")[0] for wrong in ("-1", "x", "99999999999")] == [422, 422, 422]


def test_other_teams_and_scopes_see_nothing(api: Api, portal: Portal) -> None:
    other = Api(portal.token(user=portal.bob, team=Team.objects.get(slug="other")))
    row = page(api, "certificates")["certificates"][0]
    for kind in ("certificates", "requests"):
        assert names(page(other, kind)) == ""
        assert names(page(other, kind, f"q={row['cert_id']}")) == ""
        assert Api(portal.token("certificates:issue")).get(f"/{kind}")[0] == 403
        assert Client().get(f"/api/v1/{kind}").status_code == 401
    assert other.get(f"/certificates/{row['cert_id']}")[0] == 404


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=nice", "status"),
        ("limit=0", "limit"),
        ("limit=100000", "limit"),
        ("expiring=-1", "expiring"),
        ("cursor=x", "cursor"),
        ("q=" + "x" * 300, "q"),
    ],
)
def test_a_wrong_filter_is_named(portal: Portal, query: str, field: str) -> None:
    status, told = Api(portal.token()).get(f"/certificates?{query}")
    assert (status, told["field"]) == (422, field)


def test_a_cursor_goes_with_its_filters(api: Api) -> None:
    cursor = page(api, "certificates", "limit=2")["next"]
    status, told = api.get(f"/certificates?limit=2&status=revoked&cursor={cursor}")
    assert (status, told["field"]) == (422, "cursor")


@pytest.mark.parametrize("model", [Certificate, CertificateRequest])
def test_a_page_is_read_by_the_index_of_its_team(api: Api, portal: Portal, model: Any) -> None:
    """A sort or a sequential scan would make the last page of a million rows the dearest."""
    inventory = Estate(Certificate.objects.select_related("request", "body").earliest("pk"))
    other = Team.objects.get(slug="other")
    for _ in range(1000):
        inventory.add(team=other).request.team = other
    inventory.save()
    with analyzed(Certificate, CertificateRequest):
        plan = model.objects.filter(team=portal.team, pk__lt=10**9).order_by("-pk")[:51].explain()
    assert "team_recent" in plan, plan
    assert "Sort" not in plan, plan
