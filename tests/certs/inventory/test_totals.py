"""How many certificates a list has: with the page where that is cheap, else in a request of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

import pytest
from django.http import QueryDict
from django.test import Client

from certs.inventory import CertificateFilter
from certs.inventory.figures import count_states
from certs.inventory.listing import listed as lists
from certs.inventory.listing.listed import counted, view_of
from certs.models import Certificate
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.backend import on_postgresql
from db.clock import database_now
from db.counting import Count, Few
from tests.cast import person
from tests.certs.inventory.estate import Estate
from tests.certs.inventory.varied import varied

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
HTMX = {"HX-Request": "true"}
QUERIES = ["", "state=valid", "state=due", "team=other", "team=other&key=rsa", "owner=none", "policy=fails"]
QUERIES += ["q=example", "q=shop&state=valid", "q=cert-copy-3", "q=nobody"]


@pytest.fixture
def estate(twin_portal: Requester, make_spec: Callable[..., CertificateSpec]) -> Estate:
    made = varied(twin_portal, make_spec("shop.example.com"))
    more = Estate(Certificate.objects.select_related("request").get(pk=made.template.pk), begin=1_000)
    for _ in range(30):
        more.add()
    more.save()
    return made


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """No list is read or counted in the time of a page."""
    monkeypatch.setattr(lists, "counted_window", lambda rows, groups, plan: None)
    monkeypatch.setattr(lists, "few_counted", lambda rows, plan, most, counted: Few(None, in_time=False))


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", "", html)).split())


def asked_for(html: str) -> str:
    """Return the query that the page sends for the exact number."""
    found = re.search(r'hx-get="\?([^"]*)" hx-trigger="load"', html)
    return unescape(found[1]) if found else ""


@pytest.mark.parametrize("query", QUERIES)
def test_what_is_counted_alone_is_what_the_list_has(estate: Estate, query: str) -> None:
    now, sought = database_now(), CertificateFilter.from_query(QueryDict(query))
    for teams in (None, frozenset({int(estate.template.team_id)})):
        ids = view_of(teams, sought, now=now).window(size=100).ids
        assert counted(teams, sought, now=now) == Count(len(ids), exact=True), (query, teams)


def test_a_page_that_was_not_counted_in_time_gets_its_number_afterwards(estate: Estate, slow: None, client: Client) -> None:
    client.force_login(person("carol", "auditor"))
    address = "/certificates/?state=active&sort=-name"
    first = client.get(address).content.decode()
    assert int(re.search(r"About ([0-9]+) certificates", text_of(first))[1]) > 25  # type: ignore[index]  # which are shown
    query = asked_for(first)
    assert dict(QueryDict(query).items()) == {"state": "active", "sort": "-name", "total": "exact"}
    part = client.get(f"/certificates/?{query}", headers=HTMX).content.decode()
    number = int(re.match(r"([0-9]+) certificates", text_of(part))[1])  # type: ignore[index]
    assert number > 30
    assert "<html" not in part
    assert f"All {number} of this view" in text_of(part)  # now that they are counted
    # Without JavaScript the same is a link.
    link = unescape(re.search(r'<noscript>, <a href="([^"]*)">count them', first)[1])  # type: ignore[index]
    whole = client.get("/certificates/" + link).content.decode()
    assert f"{number} certificates, 25 shown" in text_of(whole)
    assert not asked_for(whole)


def test_the_second_page_asks_for_the_same_number(estate: Estate, slow: None, client: Client) -> None:
    client.force_login(person("carol", "auditor"))
    first = client.get("/certificates/?state=active")
    second = client.get("/certificates/" + first.context["older"]).content.decode()
    assert asked_for(second) == "state=active&total=exact"


def test_a_list_on_one_page_is_counted_by_it(estate: Estate, slow: None, client: Client) -> None:
    client.force_login(person("carol", "auditor"))
    html = client.get("/certificates/?policy=fails").content.decode()
    assert "1 certificate." in text_of(html)
    assert not asked_for(html)


def test_more_than_the_bound_stays_an_estimate_and_is_asked_for_once(
    estate: Estate, slow: None, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.force_login(person("carol", "auditor"))
    first = client.get("/certificates/?state=active").content.decode()
    monkeypatch.setattr(lists, "MOST_EXACT", 20)
    part = client.get(f"/certificates/?{asked_for(first)}", headers=HTMX).content.decode()
    assert re.fullmatch(r"About [0-9]+ certificates \(estimated\)", text_of(part))
    assert not asked_for(part)


def test_a_count_that_takes_too_long_says_so_and_ends(estate: Estate, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.force_login(person("carol", "auditor"))
    monkeypatch.setattr(lists, "in_time", lambda read, plan, milliseconds: None)
    part = client.get("/certificates/?state=active&total=exact", headers=HTMX).content.decode()
    assert text_of(part).endswith("certificates (estimated)")
    assert not asked_for(part)


def test_a_kept_figure_is_shown_with_its_time(estate: Estate, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    if not on_postgresql():
        pytest.skip("SQLite has no planner, whose place the figure takes")
    client.force_login(person("carol", "auditor"))
    count_states()
    for name in ("_MOST_COUNTED", "FEW", "_DEAR"):
        monkeypatch.setattr(lists, name, 0)
    monkeypatch.setattr("certs.inventory.listing.strip.FEW", 3)
    html = client.get("/certificates/?owner=none").content.decode()
    assert re.search(r"[0-9]+ certificates \(counted [^)]+\), 25 shown", text_of(html))


def test_only_what_the_person_may_see_is_counted(estate: Estate, client: Client) -> None:
    client.force_login(person("olga"))
    part = client.get("/certificates/?total=exact", headers=HTMX).content.decode()
    assert text_of(part).startswith("0 certificates")


@pytest.mark.parametrize("query", ["total=nonsense", "total=exact&total=x", "total="])
def test_another_value_shows_the_page(estate: Estate, client: Client, query: str) -> None:
    client.force_login(person("carol", "auditor"))
    assert "<html" in client.get(f"/certificates/?{query}", headers=HTMX).content.decode()
    assert client.get(f"/certificates/?{query}").status_code == 200


def test_a_filter_that_cannot_be_read_is_refused(estate: Estate, client: Client) -> None:
    client.force_login(person("carol", "auditor"))
    assert client.get("/certificates/?total=exact&ends_after=soon", headers=HTMX).status_code == 400
