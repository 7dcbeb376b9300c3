"""The list of requests: it opens with what people requested one by one, and shows everything on demand."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from certs.bulk import dispatch
from certs.bulk.submit import submit_order
from certs.enums import RequestState as S
from certs.models import BulkChunk, CertificateRequest
from certs.requests.submit import submit
from certs.spec import CertificateSpec
from tests.certs.bulk.orders import begin, drafted
from tests.journeys.test_channels import signed_in
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def alice(portal: Portal, make_spec: Callable[..., CertificateSpec]) -> Client:
    """A requester whose team has one request of each way, named after it."""
    requester = portal.requester()
    for name in ("me", "colleague", "program", "schedule"):
        submit(make_spec(f"{name}.example.com"), requester=requester)
    rows = CertificateRequest.objects
    colleague = get_user_model().objects.create_user("colleague")
    rows.filter(common_name="colleague.example.com").update(requester=colleague)
    rows.filter(common_name="program.example.com").update(door="api")
    rows.filter(common_name="schedule.example.com").update(door="schedule", requester=None)
    submit_order(drafted([make_spec("order.example.com")], requester), authority=requester.authority)
    dispatch.dispatch()
    begin(BulkChunk.objects.get().pk)
    return signed_in("alice")


def listed(client: Client, query: dict[str, str]) -> set[str]:
    page: Any = client.get("/requests/", query).context["page"]
    return {row.common_name.partition(".")[0] for row in page.rows}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, {"me", "colleague"}),
        ({"by": "people"}, {"me", "colleague"}),
        ({"by": "me"}, {"me"}),
        ({"by": "programs"}, {"program"}),
        ({"by": "orders"}, {"order"}),
        ({"by": "schedule"}, {"schedule"}),
        ({"by": ""}, {"me", "colleague", "program", "schedule", "order"}),
        ({"by": "nonsense"}, {"me", "colleague", "program", "schedule", "order"}),
        ({"state": "submitted"}, {"me", "colleague", "program", "schedule"}),  # an address from elsewhere, a mail's: all of them
        ({"by": "people", "q": "program"}, set()),
    ],
)
def test_requests_of_one_way_are_listed(alice: Client, query: dict[str, str], names: set[str]) -> None:
    assert listed(alice, query) == names


def test_what_is_not_found_among_some_is_looked_for_among_all(alice: Client) -> None:
    page = alice.get("/requests/", {"by": "people", "q": "program", "state": "submitted"}).content.decode()
    assert "Nothing matches among these requests." in page
    assert 'href="?q=program&amp;state=submitted&amp;unchanged=&amp;by="' in page


def test_older_requests_are_of_the_same_way(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certs.inventory.search.page_of.__kwdefaults__", {"before": 0, "size": 1})
    first = alice.get("/requests/")
    assert [row.common_name for row in first.context["page"].rows] == ["colleague.example.com"]
    second = alice.get(f"/requests/?{first.context['older']}")
    assert [row.common_name for row in second.context["page"].rows] == ["me.example.com"]
    assert not second.context["page"].older


@pytest.mark.parametrize("state", S)
def test_states_are_shown_in_words_and_the_filter_names_them_alike(alice: Client, state: S) -> None:
    CertificateRequest.objects.filter(common_name="me.example.com").update(state=state)
    row = CertificateRequest.objects.get(common_name="me.example.com")
    listed_page = alice.get("/requests/", {"state": state.value, "by": "me"}).content.decode()
    detail = alice.get(f"/requests/{row.public_id}/").content.decode()
    badges = re.findall(r'<span class="badge-state [^"]*">([^<]*)</span>', listed_page)
    assert badges == [state.words]
    assert f'<option value="{state.value}" selected>{state.words}</option>' in " ".join(listed_page.split())
    for page in (listed_page, detail):
        shown = re.sub(r"<[^>]*>", " ", page)
        for internal in ("csr created", "key ready", "awaiting approval", "csr_created", "key_ready", "awaiting_approval"):
            assert internal not in shown


def test_each_state_has_words_of_its_own() -> None:
    assert len({state.words for state in S}) == len(S)
