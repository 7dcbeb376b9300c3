"""The list of certificates: every order, page by page in both directions, counted, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from audit.log import Actor
from certs.access.permissions import Authority
from certs.bulk.submit import submit_order
from certs.errors import InputRefused
from certs.inventory import CertificateFilter, filters
from certs.inventory.figures import count_states
from certs.inventory.listing import listed as lists
from certs.inventory.listing import paging
from certs.inventory.listing import strip as strips
from certs.inventory.listing.listed import View, listed, view_of
from certs.inventory.listing.paging import Position, Window
from certs.inventory.listing.sorts import Sort
from certs.inventory.listing.strip import strip
from certs.models import Certificate, CertificateName, InstalledPlace, Issuer, PolicyVerdict, SavedView, Team
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.counting import Count, count
from tests.cast import person
from tests.certs.api.test_issue import Api
from tests.certs.bulk.orders import drafted, work_off_all
from tests.certs.inventory.estate import Estate
from tests.certs.inventory.test_filters import api_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
PORTAL = Authority(Actor("system", "test"))
SORTS = ("", *(f"{sign}{one}" for one in Sort.values for sign in ("", "-")))


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def template(twin_portal: Requester, make_spec: Callable[..., CertificateSpec], now: datetime) -> Certificate:
    """A certificate without anything of its own, last in every order by name."""
    submit_order(drafted([make_spec("zz.example.com")], twin_portal), authority=twin_portal.authority)
    work_off_all()
    row = Certificate.objects.select_related("request").get()
    row.not_after, row.alert_at = now + 300 * DAY, now + 270 * DAY
    row.save()
    return row


@pytest.fixture
def estate(template: Certificate, now: datetime) -> list[Certificate]:
    """Forty certificates that differ in every column that sorts."""
    other, elsewhere = (
        Team.objects.create(slug="other", name="A team"),
        Issuer.objects.create(name="A CA", slug="a-ca", created_at=now),
    )
    made = Estate(template)
    for number in range(40):
        values: dict[str, Any] = {"not_after": now + (number % 7 - 2) * 20 * DAY + HOUR, "alert_at": now + (number % 5 - 2) * DAY + HOUR}
        if number % 3 == 0:
            values["team"] = other
        if number % 4 == 0:
            values["issuer"] = elsewhere
        values["key_type"] = ("ec-p256", "rsa-2048", "rsa-3072")[number % 3]
        values["renewal_blocked"] = ("", "policy", "needs_csr", "")[number % 4]
        if number % 6 == 5:
            values["status"] = "revoked"
        made.add(name=f"n{number * 7 % 40:02}.example.com", **values)
    made.save()
    for row in made.certificates[:8:2]:
        InstalledPlace.objects.create(certificate=row, host=row.common_name, port=443, asked_at=now, served=row, outcome="served")
    return made.certificates


def walk(view: View, size: int) -> tuple[list[list[int]], list[list[int]]]:
    """Return the pages of a view forwards, and again from the last one backwards."""
    there, back = [], []
    found = view.window(size=size)
    there.append(found.ids)
    while found.older is not None:
        found = view.window(after=found.older, size=size)
        there.append(found.ids)
    back.append(found.ids)
    while found.newer is not None:
        found = view.window(before=found.newer, size=size)
        back.append(found.ids)
    return there, back[::-1]


def test_every_order_has_every_certificate_once_in_both_directions(
    estate: list[Certificate], now: datetime, subtests: pytest.Subtests
) -> None:
    for sort in SORTS:
        with subtests.test(sort):
            view = view_of(None, CertificateFilter(), sort, now=now)
            there, back = walk(view, 7)
            flat = [pk for page in there for pk in page]
            assert sorted(flat) == sorted(Certificate.objects.values_list("pk", flat=True))
            assert [len(page) for page in there[:-1]] == [7] * (len(there) - 1)
            assert [pk for page in back for pk in page] == flat
            assert view.count() == count(Certificate.objects.all())


def test_every_order_of_nothing_is_an_empty_page(estate: list[Certificate], now: datetime, subtests: pytest.Subtests) -> None:
    """An order by team of somebody who is in none, or of a team that is not there, has no group."""
    nothing = CertificateFilter(team="not-there")
    for sort, (teams, sought) in product(SORTS, [(frozenset[int](), CertificateFilter()), (frozenset[int](), nothing), (None, nothing)]):
        with subtests.test(f"{sort} {sought.url()} {teams}"):
            assert view_of(teams, sought, sort, now=now).page() == (Window([]), Count(0, exact=True))


def test_page_and_count_of_one_pass_are_those_of_two(estate: list[Certificate], now: datetime, subtests: pytest.Subtests) -> None:
    queries = ("team=other", "key=rsa", "state=valid", "state=needs_you", "expiring=30", "owner=none", "status=revoked")
    for query, sort in product(queries, ("", "-ends", "-newest", "name")):
        with subtests.test(f"{query} {sort}"):
            sought = CertificateFilter.from_query(dict([query.split("=")]))
            view = view_of(None, sought, sort, now=now)
            page, total = view.page()
            again = view_of(None, sought, sort, now=now)
            assert (page, total) == (again.window(), again.count())
            assert total.number > 0
            if page.older is not None:
                assert view.page(after=page.older) == (again.window(after=page.older), total)


def test_few_certificates_are_sorted_and_counted_in_one_statement_whatever_their_groups(
    estate: list[Certificate], now: datetime, subtests: pytest.Subtests
) -> None:
    """Each group by a statement of its own had the whole table read three times."""
    for sort in ("", "-ends", "renewal", "-key", "issuer", "team"):
        with subtests.test(sort):
            view = view_of(None, CertificateFilter(issuer="a-ca"), sort, now=now)
            with CaptureQueriesContext(connection) as sent:
                page, total = view.page()
            assert [one for one in sent.captured_queries if "certs_certificate" in one["sql"]] == sent.captured_queries[:1]
            apart = view.window(size=100)
            assert (page.ids, total.number) == (apart.ids, len(apart.ids))
            assert total.number == 10


def test_an_order_by_many_teams_is_one_statement(estate: list[Certificate], now: datetime, subtests: pytest.Subtests) -> None:
    """A statement a team took seconds where the first hundred teams have nothing that meets the filter."""
    many = [Team.objects.create(slug=f"t{number}", name=f"Team {number:02}") for number in range(30)]
    for number, row in enumerate(estate):
        Certificate.objects.filter(pk=row.pk).update(team=many[number * 7 % 30])
    for sort in ("team", "-team"):
        with subtests.test(sort):
            view = view_of(None, CertificateFilter(issuer="a-ca"), sort, now=now)
            with CaptureQueriesContext(connection) as sent:
                page, total = view.page()
            assert [one for one in sent.captured_queries if "certs_certificate" in one["sql"]] == sent.captured_queries[:1]
            assert (page.ids, total) == (view.window(size=100).ids, Count(10, exact=True))
            names = [one.row.team.name for one in listed(page.ids, now=now)]
            assert names == sorted(names, reverse=sort.startswith("-"))


def test_only_states_that_can_be_are_asked_for(estate: list[Certificate], now: datetime, subtests: pytest.Subtests) -> None:
    """By state downwards, a list of what is valid first looked for what is revoked, expired or renewed among all."""
    for query, states in (
        ("state=valid", 1),
        ("status=revoked", 3),
        ("state=active", 5),
        ("policy=fails", 5),
        ("revoked_after=2020-01-01", 3),
    ):
        for sort in ("state", "-state"):
            with subtests.test(f"{query} {sort}"):
                sought = CertificateFilter.from_query(dict([query.split("=")]))
                view = view_of(None, sought, sort, now=now)
                assert len(view.groups) == states
                everything = view_of(None, sought, "newest", now=now).window(size=100)
                assert sorted(view.window(size=100).ids) == sorted(everything.ids)


def test_an_order_and_a_filter_of_one_column_ask_for_what_can_be_only(
    estate: list[Certificate], now: datetime, subtests: pytest.Subtests
) -> None:
    """By key, a list of EC keys first read all with RSA keys, to find that none of them has an EC key."""
    filters = ("key=ec", "key=rsa<3072", "issuer=a-ca", "renewal=blocked", "renewal=person", "renewal=nobody", "renewal=itself")
    for query, sort in product((*filters, "renewal=refused", "served=yes", "served=no"), ("key", "issuer", "renewal", "served")):
        with subtests.test(f"{query} {sort}"):
            sought = CertificateFilter.from_query(dict([query.split("=", 1)]))
            view = view_of(None, sought, sort, now=now)
            assert sorted(view.window(size=100).ids) == sorted(view_of(None, sought, "newest", now=now).window(size=100).ids)
            if query.startswith(sort):
                assert len(view.groups) < len(view_of(None, CertificateFilter(), sort, now=now).groups)


def test_a_page_that_the_index_of_the_order_does_not_find_in_time_is_sorted(
    estate: list[Certificate], now: datetime, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    """What is met at the end of an order only, behind a million others."""
    monkeypatch.setattr(lists, "_FEW_AGAIN", 3)
    for sort in SORTS:
        view = view_of(None, CertificateFilter(issuer="a-ca"), sort, now=now)
        found = walk(view, 4)
        with subtests.test(sort), monkeypatch.context() as patched:
            patched.setattr(paging, "in_time", lambda read, plan, milliseconds: None)
            assert walk(view, 4) == found


def test_a_list_that_is_not_read_in_time_is_not_read_again_to_be_counted(
    estate: list[Certificate], now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "counted_window", lambda rows, groups, plan: None)
    view = view_of(None, CertificateFilter(issuer="a-ca"), now=now)
    with CaptureQueriesContext(connection) as sent:
        page, total = view.page()
    assert not [one for one in sent.captured_queries if "count(" in one["sql"].lower()]
    assert (len(page.ids), total) == (10, Count(10, exact=True))  # the page has them all
    assert view.count() == Count(view.plan.rows, exact=False)


def test_a_long_list_is_counted_up_to_a_bound(estate: list[Certificate], monkeypatch: pytest.MonkeyPatch, now: datetime) -> None:
    monkeypatch.setattr(lists, "_FEW_AGAIN", 3)
    monkeypatch.setattr(lists, "MOST_EXACT", 9)
    total = view_of(None, CertificateFilter(issuer="a-ca"), "served", now=now).count()
    assert (total.number >= 9, total.exact) == (True, False)
    monkeypatch.setattr(lists, "MOST_EXACT", 10)
    assert view_of(None, CertificateFilter(issuer="a-ca"), "served", now=now).count() == Count(10, exact=True)


@pytest.mark.parametrize("few", [0, 5_000])
def test_the_policy_filter_lists_the_same_however_many_pass(
    estate: list[Certificate], few: int, monkeypatch: pytest.MonkeyPatch, now: datetime
) -> None:
    """From the ids of those that are refused, or pass, while they are few; else from their table."""
    in_force = [row.pk for row in estate if row.status == "good" and row.not_after >= now]
    refused, passing = in_force[:-3], in_force[-3:]
    rules = (" allowed_keys ", " validity ")
    PolicyVerdict.objects.bulk_create(PolicyVerdict(certificate_id=pk, rules=rules[pk % 2]) for pk in refused)
    Certificate.objects.exclude(pk__in=in_force).update(status="revoked")
    monkeypatch.setattr(filters, "_FEW", few)

    def found(policy: str) -> list[int]:
        return sorted(view_of(None, CertificateFilter(policy=policy), now=now).window(size=100).ids)

    assert found("passes") == passing
    assert found("fails") == refused
    assert found("allowed_keys") == [pk for pk in refused if pk % 2 == 0]


def test_a_list_of_many_of_which_a_figure_is_kept_is_not_counted_again(
    estate: list[Certificate], monkeypatch: pytest.MonkeyPatch, now: datetime
) -> None:
    """Counting certificates without owner read every row for each page."""
    count_states()
    assert view_of(None, CertificateFilter(owner="none"), now=now).count() == Count(41, exact=True)  # sooner than the page is read
    monkeypatch.setattr(lists, "_MOST_COUNTED", 5)
    monkeypatch.setattr(lists, "FEW", 5)
    monkeypatch.setattr(lists, "_DEAR", 0)
    page, total = view_of(None, CertificateFilter(owner="none"), now=now).page()
    assert len(page.ids) == 25
    if connection.vendor == "postgresql":  # SQLite has no planner, whose place the figure takes
        assert (total.number, total.exact) == (41, False)


@pytest.mark.parametrize(
    ("sort", "column"),
    [
        ("name", lambda row: row.common_name),
        ("key", lambda row: ["rsa-2048", "rsa-3072", "ec-p256"].index(row.key_type)),
        ("issuer", lambda row: row.issuer.name),
        ("team", lambda row: row.team.name),
        ("newest", lambda row: -row.pk),
    ],
)
def test_an_order_follows_its_column(estate: list[Certificate], sort: str, column: Callable[[Certificate], Any], now: datetime) -> None:
    for sign in ("", "-"):
        view = view_of(None, CertificateFilter(), f"{sign}{sort}", now=now)
        values = [column(one.row) for one in listed(view.window(size=100).ids, now=now)]
        assert values == sorted(values, reverse=bool(sign))


def test_without_an_order_the_next_end_is_first_and_the_past_is_last(estate: list[Certificate], now: datetime) -> None:
    rows = [one.row for one in listed(view_of(None, CertificateFilter(), now=now).window(size=100).ids, now=now)]
    ahead = [row for row in rows if row.status == "good" and row.not_after >= now]
    past = [row for row in rows if row.not_after < now]
    assert rows[: len(ahead)] == sorted(ahead, key=lambda row: (row.not_after, row.pk))
    assert rows[len(rows) - len(past) :] == sorted(past, key=lambda row: (row.not_after, row.pk), reverse=True)


def test_a_search_shows_the_whole_name_first_then_beginnings_then_the_rest(template: Certificate, now: datetime) -> None:
    """B12: with a thousand hosts beneath it, shop.example.com was on page 43."""
    made = Estate(template)
    for number in range(30):
        made.add(name=f"a{number}.shop.example.com", not_after=now + DAY)
    made.add(name="shop.example.com.internal", not_after=now + 200 * DAY)
    made.add(name="shop.example.com", not_after=now + 250 * DAY)
    made.add(name="shop.example.com", not_after=now - DAY)
    made.save()
    view = view_of(None, CertificateFilter(q="Shop.example.com"), now=now)
    found = [one.row.common_name for one in listed(view.window(size=5).ids, now=now)]
    assert found[:3] == ["shop.example.com", "shop.example.com", "shop.example.com.internal"]
    assert set(found[3:]) < {f"a{number}.shop.example.com" for number in range(30)}
    assert view.count().number == 33
    there, back = walk(view, 4)
    assert sum(map(len, there)) == 33 == sum(map(len, back))


def test_a_certificate_with_several_matching_names_is_listed_once(template: Certificate, now: datetime) -> None:
    for name in ("zz.example.com.a", "a.zz.example.com"):
        CertificateName.objects.create(certificate=template, kind="dns", name=name)
    view = view_of(None, CertificateFilter(q="zz.example.com"), now=now)
    assert (view.window().ids, view.count().number) == ([template.pk], 1)


def test_a_place_that_the_order_does_not_have_is_refused(estate: list[Certificate], now: datetime, subtests: pytest.Subtests) -> None:
    view = view_of(None, CertificateFilter(), now=now)
    for place in ("x", "in~", "in~x~1", "nope~2026-01-01T00:00:00+00:00~1", "in~2026-01-01~1", "in~\x00~1", "~" * 500):
        with subtests.test(place[:30]):
            with pytest.raises(InputRefused) as refused:
                view.window(after=Position.read(place, "after"))
            assert refused.value.field == "after"


def test_counts_are_exact_up_to_a_bound_and_estimates_above(estate: list[Certificate]) -> None:
    rows = Certificate.objects.all()
    assert (count(rows, most=41).number, count(rows, most=41).exact) == (41, True)
    above = count(rows, most=10)
    assert (above.exact, above.number >= 10) == (False, True)


def test_a_page_costs_the_same_number_of_queries_whatever_it_shows(estate: list[Certificate], client: Client) -> None:
    carol = person("carol", "auditor")
    client.force_login(carol)
    seen = []
    for address in ("/certificates/?sort=name", "/certificates/?sort=name&q=n0"):
        with CaptureQueriesContext(connection) as queries:
            page = client.get(address)
        seen.append((len(page.context["rows"]), len(queries)))
    (many, first), (few, second) = seen
    assert (many, few) == (25, 10)
    assert abs(first - second) <= 6  # the search looks in the index of each kind of id


def test_the_page_says_how_many_there_are_and_leads_there_and_back(estate: list[Certificate], client: Client) -> None:
    client.force_login(person("carol", "auditor"))
    first = client.get("/certificates/?key=rsa-2048,rsa-3072,ec-p256&sort=-name")
    assert "41 certificates, 25 shown" in " ".join(first.content.decode().split())
    assert first.context["newer"] == ""
    second = client.get("/certificates/" + first.context["older"])
    assert (len(second.context["rows"]), second.context["older"]) == (16, "")
    again = client.get("/certificates/" + second.context["newer"])
    assert [one.row.pk for one in again.context["rows"]] == [one.row.pk for one in first.context["rows"]]
    assert client.get("/certificates/?sort=size").status_code == 400
    assert client.get("/certificates/?after=nonsense").status_code == 400


def test_every_figure_leads_to_as_many_certificates(
    estate: list[Certificate], client: Client, monkeypatch: pytest.MonkeyPatch, now: datetime
) -> None:
    carol = person("carol", "auditor")
    client.force_login(carol)
    for few in (strips.FEW, 5):  # counted now, and kept
        monkeypatch.setattr(strips, "FEW", few)
        count_states()
        figures = strip(None, now=now)
        assert (figures.counted_at is None) == (few > 5)
        for figure in figures.figures:
            page = client.get(figure.sought.url())
            assert (page.context["total"], figure.label) == (figure.count, figure.label)


def test_figures_count_only_what_the_person_may_see(estate: list[Certificate], client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "FEW", 3)
    count_states()
    client.force_login(person("olga", team=Team.objects.get(slug="other")))
    for figure in client.get("/certificates/").context["figures"]:
        assert figure["count"] == client.get(figure["url"]).context["total"], figure["label"]


def test_typed_filters_become_the_address(estate: list[Certificate], client: Client) -> None:
    client.force_login(person("carol", "auditor"))
    page = client.get("/certificates/", {"q": "key:rsa<3072 n0", "state": "valid"}, follow=True)
    assert page.redirect_chain[0][0].partition("?")[2] == "q=n0&state=valid&key=rsa%3C3072"
    assert {one.row.key_type for one in page.context["rows"]} <= {"rsa-2048"}
    assert "Key: RSA below 3072" in page.content.decode()


def test_a_filter_that_names_nothing_says_so(estate: list[Certificate], client: Client) -> None:
    """The example `team:web` of the page found nothing, and nothing said that there is no such team."""
    client.force_login(person("carol", "auditor"))
    page = client.get("/certificates/", {"q": "team:nobody"}, follow=True)
    assert "You see no team called nobody." in page.content.decode()
    slug = Team.objects.order_by("pk")[0].slug
    assert client.get("/certificates/", {"q": f"team:{slug[:-1]}"}, follow=True).redirect_chain[0][0].endswith(f"team={slug}")


def test_the_view_as_csv_is_in_its_order_and_harms_no_spreadsheet(estate: list[Certificate], client: Client) -> None:
    Certificate.objects.filter(pk=estate[1].pk).update(purpose="=1+1")
    client.force_login(person("carol", "auditor"))
    answer = client.get("/certificates.csv?key=rsa<3072&sort=-name")
    assert answer.streaming
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode())))
    assert [row["name"] for row in rows] == sorted(
        Certificate.objects.filter(key_type="rsa-2048").values_list("common_name", flat=True), reverse=True
    )
    assert {row["purpose"] for row in rows} == {"", "'=1+1"}
    assert client.get("/certificates.csv?state=fine").status_code == 422
    client.force_login(person("olga"))
    assert len(client.get("/certificates.csv").getvalue().splitlines()) == 1


def test_rest_has_the_same_orders_with_a_cursor(estate: list[Certificate], twin_portal: Requester) -> None:
    api: Api = api_of(person("alice", team=twin_portal.team))
    path = "/certificates?key=rsa&sort=-name&limit=5"
    told = api.get(path)[1]
    pages = [[one["common_name"] for one in told["certificates"]]]
    while told["next"]:
        told = api.get(f"{path}&cursor={told['next']}")[1]
        pages.append([one["common_name"] for one in told["certificates"]])
    own = Certificate.objects.filter(team=twin_portal.team, key_type__startswith="rsa").order_by("-common_name")
    assert [name for page in pages for name in page] == list(own.values_list("common_name", flat=True))
    _, told = api.get("/certificates?limit=1")
    assert api.get(f"/certificates?sort=name&limit=1&cursor={told['next']}")[1]["field"] == "cursor"
    assert api.get("/certificates?sort=size")[1]["field"] == "sort"


def test_a_view_is_kept_under_a_name_and_shared_with_a_team(estate: list[Certificate], twin_portal: Requester, client: Client) -> None:
    alice, anna = person("alice", team=twin_portal.team), person("anna", team=twin_portal.team)
    client.force_login(alice)
    given = {"name": " Weak  keys ", "query": "key=rsa%3C3072&sort=name&after=in~x~1", "team": twin_portal.team.slug}
    for _ in range(2):  # a double click keeps one
        assert client.post("/certificates/views/", given)["Location"] == "/certificates/?key=rsa%3C3072&sort=name"
    view = SavedView.objects.get()
    client.force_login(anna)
    (link,) = client.get("/certificates/").context["views"]
    assert (link.name, link.deletable, client.get(link.url).status_code) == ("Weak keys", False, 200)
    assert client.post(f"/certificates/views/{view.pk}/delete/").status_code == 404
    client.force_login(person("olga"))
    assert client.get("/certificates/").context["views"] == []
    assert client.post("/certificates/views/", given).status_code == 404
    for wrong in ({"name": " ", "query": ""}, {"name": "x", "query": "state=fine"}, {"name": "x", "query": "sort=size"}):
        assert client.post("/certificates/views/", wrong).status_code == 422
    client.force_login(alice)
    assert client.post(f"/certificates/views/{view.pk}/delete/").status_code == 302
    assert not SavedView.objects.exists()
