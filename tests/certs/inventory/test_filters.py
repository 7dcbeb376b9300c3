"""The one filter of the inventory: its address, what each parameter selects, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.http import QueryDict
from django.test import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.log import Actor
from certs.access.api_tokens import SCOPES, create_token
from certs.api.schemas import CertificateQuery
from certs.bulk.submit import submit_order
from certs.enums import RequestState, RevocationReason
from certs.errors import InputRefused
from certs.inventory import (
    CertificateFilter,
    CertificateState,
    Renewal,
    RenewalGroup,
    StateGroup,
    filter_certificates,
    in_state,
    renewal_of,
)
from certs.inventory.listing import served
from certs.inventory.listing.typed import named, read_typed
from certs.models import ApiToken, Certificate, InstalledPlace, Issuer, PolicyVerdict, Team
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from keys.models import PublicKey
from tests.cast import person
from tests.certs.api.test_issue import Api
from tests.certs.bulk.orders import drafted, work_off_all
from tests.certs.inventory.estate import Estate

database = pytest.mark.django_db(transaction=True)
pytestmark = pytest.mark.both_databases

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)
FAR = datetime(2199, 1, 1, tzinfo=UTC)
words = st.text(st.characters(categories=("L", "N", "P", "S")), max_size=30)
days = st.none() | st.dates()
choices = {
    "state": ["", *CertificateState.values, *StateGroup.values],
    "status": ["", "revoked", "revocation_pending"],
    "renewal": ["", *Renewal.values, *RenewalGroup.values],
    "critical": ["", "yes", "no"],
    "replaced": ["", "yes", "no"],
    "is_renewal": ["", "yes", "no"],
    "blocked_key": ["", "yes", "no"],
    "policy": ["", "passes", "fails"],
    "served": ["", "yes", "old", "no"],
    "source": ["", "portal", "bulk"],
    "key": ["", "rsa-2048", "rsa<3072,ec", "ed25519", "rsa-2056, nonsense"],
}
filters = st.builds(
    CertificateFilter,
    **{name: st.sampled_from(values) for name, values in choices.items()},
    **{field.name: days for field in fields(CertificateFilter) if "date" in str(field.type)},
    **dict.fromkeys(("q", "team", "owner", "issuer", "profile", "spki"), words),
    expiring=st.integers(0, 9999),
    longer_than=st.integers(0, 9999),
)


@settings(deadline=None)  # the first address loads all views
@given(filters)
def test_an_address_is_read_as_the_filter_that_wrote_it(sought: CertificateFilter) -> None:
    query = QueryDict(sought.url().partition("?")[2])
    assert CertificateFilter.from_query(query) == sought
    assert bool(sought) == bool(query)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("state", "fine"),
        ("status", "fine"),
        ("renewal", "maybe"),
        ("critical", "1"),
        ("ends_before", "tomorrow"),
        ("ends_before", "2026-02-30"),
        ("key", "rsa<"),
        ("key", "rsa<3072x"),
        ("key", "dsa>=1"),
        ("policy", "maybe"),
        ("served", "here"),
        ("source", "fax"),
        ("expiring", "²"),
        ("expiring", "-1"),
        ("longer_than", "all"),
        ("q", "x" * 254),
        ("owner", "a\x00b"),
    ],
)
def test_a_value_that_no_filter_has_is_refused_by_name(parameter: str, value: str) -> None:
    with pytest.raises(InputRefused) as refused:
        CertificateFilter.from_query({parameter: value})
    assert refused.value.field == parameter
    assert refused.value.next_step


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("good", {"state": "active"}),
        ("active", {"state": "active"}),
        ("needs_action", {"state": "due"}),
        ("replaced", {"state": "renewed"}),
        ("expired", {"state": "expired"}),
        ("revoked", {"status": "revoked"}),
        ("", {}),
    ],
)
def test_addresses_of_earlier_releases_are_understood(old: str, new: dict[str, str]) -> None:
    assert CertificateFilter.from_query({"status": old}).to_query() == new


@pytest.fixture
def estate(twin_portal: Requester, make_spec: Callable[..., CertificateSpec]) -> Estate:
    """Certificates a to i, each with something of its own; `z` has nothing."""
    submit_order(drafted([make_spec("template.example.com")], twin_portal), authority=twin_portal.authority)
    work_off_all()
    template = Certificate.objects.select_related("request").get()
    template.common_name = "z"
    template.not_after, template.alert_at, template.issued_at = NOW + 90 * DAY, NOW + 60 * DAY, NOW - 9 * DAY
    template.save()
    alice, left = person("alice", team=twin_portal.team), person("left")
    other = Team.objects.create(slug="other", name="Other")
    elsewhere = Issuer.objects.create(name="Elsewhere", slug="elsewhere", created_at=NOW)
    PublicKey.objects.create(spki_sha256="b" * 64, team="web", recorded_at=NOW, blocked_at=NOW)
    made = Estate(template)
    made.add(name="a", owner=alice, purpose="x", not_after=NOW + 5 * DAY, alert_at=NOW - 5 * DAY)
    made.add(name="b", owner=left, spki_sha256="b" * 64, issued_at=NOW - 2 * DAY)
    made.add(name="c", team=other, owner=alice, tags=" shop web ")  # who is not in that team
    made.add(name="d", issuer=elsewhere, key_type="rsa-2048", profile="tls-client")
    made.add(name="e", renewal_off_reason="moved", renewal_blocked="off", last_review=date(2026, 11, 1))
    made.add(name="f", renewal_blocked="needs_csr", critical_function=True)
    made.add(name="g", renewal_blocked="policy")
    made.add(name="h", status="revoked", reason=RevocationReason.CERTIFICATE_HOLD)
    made.add(name="i", not_after=NOW - DAY, alert_at=NOW - 31 * DAY)
    made.add(name="j", renewed_from=made.certificates[0])
    made.save()
    by_name = {row.common_name: row for row in made.certificates}
    d, e, g = (by_name[name] for name in "deg")
    PolicyVerdict.objects.create(certificate=d, rules=" key ")
    for row, seen, outcome in ((e, e, "served"), (g, g, "old"), (d, None, "no_tls")):
        InstalledPlace.objects.create(certificate=row, host=row.common_name, port=443, asked_at=NOW, served=seen, outcome=outcome)
    return made


def found(**query: str) -> str:
    sought = CertificateFilter.from_query(query)
    rows = filter_certificates(Certificate.objects.all(), sought, now=NOW)
    return "".join(sorted(rows.values_list("common_name", flat=True)))


@database
@pytest.mark.parametrize("few", [0, 1, 5_000])
def test_what_places_serve_is_the_same_however_many_they_are(estate: Estate, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "_FEW", few)
    assert [found(served=one) for one in ("yes", "old", "no")] == ["e", "g", "abcdfhijz"]


SELECTED: list[tuple[dict[str, str], str]] = [
    ({"owner": "alice"}, "ac"),
    ({"owner": "none"}, "bcdefghijz"),
    ({"owner": "none", "team": "other"}, "c"),
    ({"team": "other"}, "c"),
    ({"issuer": "elsewhere"}, "d"),
    ({"profile": "tls-client"}, "d"),
    ({"key": "rsa-2048"}, "d"),
    ({"key": "rsa-2048, rsa-3072"}, "d"),
    ({"key": "rsa<3072"}, "d"),
    ({"key": "RSA < 3072, ed25519"}, "d"),
    ({"key": "rsa>=3072"}, ""),
    ({"key": "rsa"}, "d"),
    ({"key": "ec>=256", "team": "other"}, "c"),
    ({"policy": "fails"}, "d"),
    ({"policy": "passes", "owner": "alice"}, "ac"),
    ({"policy": "passes", "state": "expired"}, ""),
    ({"served": "old"}, "g"),
    ({"served": "yes"}, "e"),
    ({"served": "no", "renewal": "blocked"}, ""),
    ({"source": "bulk"}, "z"),
    ({"source": "api", "team": "other"}, ""),
    ({"source": "portal", "team": "other"}, "c"),
    ({"tag": "Shop"}, "c"),
    ({"spki": ":".join(["BB"] * 32)}, "b"),
    ({"spki": "SHA2-256(stdin)= " + "b" * 64}, "b"),
    ({"spki": "u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7s="}, "b"),
    ({"spki": "B" * 64}, "b"),
    ({"q": "b" * 64}, "b"),
    ({"blocked_key": "yes"}, "b"),
    ({"renewal": "off"}, "e"),
    ({"renewal": "by_hand"}, "f"),
    ({"renewal": "blocked"}, "g"),
    ({"renewal": "itself", "team": "other"}, "c"),
    ({"renewal": "person"}, "efg"),
    ({"renewal": "refused"}, "g"),
    ({"renewal": "approval"}, ""),
    ({"renewal": "failed"}, ""),
    ({"is_renewal": "yes"}, "j"),
    ({"is_renewal": "no", "team": "other"}, "c"),
    ({"longer_than": "9000"}, ""),
    ({"longer_than": "1", "team": "other"}, "c"),
    ({"critical": "yes"}, "f"),
    ({"reviewed_before": "2026-11-01", "critical": "yes"}, "f"),
    ({"reviewed_before": "2026-11-02", "renewal": "off"}, "e"),
    ({"reviewed_before": "2026-11-01", "renewal": "off"}, ""),
    ({"status": "revoked"}, "h"),
    ({"state": "on_hold"}, "h"),
    ({"state": "revoked"}, ""),
    ({"state": "expired"}, "i"),
    ({"state": "expired", "replaced": "no"}, "i"),
    ({"replaced": "yes"}, "a"),
    ({"state": "renewed"}, "a"),
    ({"state": "active"}, "bcdefgjz"),
    ({"state": "due"}, ""),
    ({"ends_before": "2026-11-28"}, "i"),
    ({"ends_after": "2026-12-03", "ends_before": "2026-12-04"}, "a"),
    ({"issued_after": "2026-11-26"}, "b"),
    ({"revoked_after": "2026-11-19", "revoked_before": "2026-11-20"}, "h"),
    ({"revoked_after": "2026-11-20"}, ""),
    ({"team": "nobody"}, ""),
]


@database
def test_each_parameter_selects(estate: Estate, subtests: pytest.Subtests) -> None:
    for query, expected in SELECTED:
        with subtests.test(str(query)):
            assert found(**query) == expected


@database
def test_how_it_is_renewed_is_the_same_in_python(estate: Estate) -> None:
    for row in Certificate.objects.all():
        renewal = renewal_of(row)
        assert row.common_name in found(renewal=renewal.value)


@database
def test_who_leaves_is_no_owner_any_more(estate: Estate) -> None:
    assert "a" not in found(owner="none")
    get_user_model().objects.filter(username="alice").update(is_active=False)
    assert "a" in found(owner="none")
    get_user_model().objects.filter(username="alice").update(is_active=True, is_superuser=True)
    assert "c" not in found(owner="none")  # superusers belong to every team


@database
def test_rest_takes_every_filter_of_the_page(estate: Estate) -> None:
    """One that REST does not know is left out without a word: with another team's name it listed the own certificates."""
    of_pages = {one.name for one in fields(CertificateFilter)}
    assert of_pages - set(CertificateQuery.model_fields) == set()
    api = api_of(get_user_model().objects.get(username="alice"))
    own, others, every = (len(api.get(f"/certificates?team={team}")[1]["certificates"]) for team in ("web", "other", ""))
    assert (own, others) == (every, 0)
    assert every


@database
def test_the_list_and_its_next_page_keep_the_filter(estate: Estate, client: Client) -> None:
    alice = get_user_model().objects.get(username="alice")
    api = api_of(alice)
    more = Estate(estate.certificates[0], begin=100)
    for number in range(30):
        more.add(name=f"n{number:02}.example.com", owner=alice, critical_function=True, not_after=FAR, alert_at=FAR)
    more.save()
    client.force_login(alice)
    first = client.get("/certificates/", {"critical": "yes", "owner": "alice", "state": "valid"})
    assert len(first.context["rows"]) == 25
    second = client.get("/certificates/" + first.context["older"])
    assert len(second.context["rows"]) == 5
    assert {one.row.common_name for one in second.context["rows"]} == {f"n{n}.example.com" for n in range(25, 30)}
    assert "critical function: yes" in first.content.decode()
    status, told = api.get("/certificates?critical=yes&limit=20")
    assert (status, len(told["certificates"])) == (200, 20)
    assert {one["state"] for one in told["certificates"]} == {"valid"}
    status, told = api.get(f"/certificates?critical=yes&limit=20&cursor={told['next']}")
    assert (status, len(told["certificates"]), told["next"]) == (200, 11, None)
    assert told["certificates"][0]["owner"] == "alice"


@database
def test_a_filter_that_cannot_be_read_shows_no_list(estate: Estate, client: Client) -> None:
    """A list without the filter would look like the answer."""
    alice = get_user_model().objects.get(username="alice")
    client.force_login(alice)
    page = client.get("/certificates/", {"ends_before": "soon"})
    assert (page.status_code, page.context["rows"]) == (400, [])
    assert "The filter ends_before" in page.content.decode()
    for query, field in (("renewal=maybe", "renewal"), ("ends_before=soon", "ends_before"), ("state=x", "state")):
        status, told = api_of(alice).get(f"/certificates?{query}")
        assert (status, told["field"]) == (422, field)


@database
def test_the_badge_is_the_state_on_list_and_page(estate: Estate, client: Client) -> None:
    """B6: an expired certificate wore a green badge `good` on its page."""
    alice = get_user_model().objects.get(username="alice")
    made, now = Estate(estate.certificates[0], begin=100), datetime.now(UTC)
    expired = made.add(name="old.example.com", not_after=now - DAY, alert_at=now - 31 * DAY)
    renewing = made.add(name="new.example.com", not_after=now + 9 * DAY, alert_at=now - DAY)
    made.add_request(renewed_from=renewing, state=RequestState.APPROVED)
    made.save()
    client.force_login(alice)
    for row, state in ((expired, "expired"), (renewing, "renewing")):
        badge = f"</span> {state}</span>"
        assert badge in client.get("/certificates/", {"q": row.common_name}).content.decode()
        page = client.get(f"/certificates/{row.cert_id}/")
        assert badge in page.content.decode()
        assert row in in_state(Certificate.objects.all(), CertificateState(state), now)
        request = client.get(f"/requests/{row.request.public_id}/").content.decode()
        assert ("Signed. " in request) == (state == "renewing")  # B7
        assert api_of(alice).get(f"/certificates/{row.cert_id}")[1]["state"] == state


def api_of(user: Any) -> Api:
    team = Team.objects.get(slug="web")
    return Api(create_token(user=user, team=team, name=f"t{ApiToken.objects.count()}", scopes=SCOPES, actor=Actor("system", "test"))[1])


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("key:rsa<3072", {"key": "rsa<3072", "q": ""}),
        ("CA:internal shop policy:fails", {"issuer": "internal", "policy": "fails", "q": "shop"}),
        ("dns:shop.example.com", {}),
        ("ends:30 team:web", {"expiring": "30", "team": "web", "q": ""}),
        ("4A:3F:2B", {}),
        ("CA:3F:2B", {}),
        ("ca:59:43:d1 key:ec", {"key": "ec", "q": "ca:59:43:d1"}),
        ("https://key:8443/", {}),
    ],
)
def test_filters_can_be_typed(typed: str, read: dict[str, str]) -> None:
    """A fingerprint that began with CA was read as a filter for a CA, and found nothing."""
    assert read_typed(typed) == read


@pytest.mark.parametrize(
    ("typed", "team"),
    [
        ("web", "web-shop"),
        ("Web-Shop", "web-shop"),
        ("data", "data"),  # exactly, although another begins with it
        ("webshop", "web-shop"),
        ("dat", "dat"),  # of two none
        ("no", "no"),
        ("-", "-"),
    ],
)
def test_a_typed_team_is_found_by_its_name_or_its_beginning(typed: str, team: str) -> None:
    choices = [("web-shop", "Web shop"), ("data", "Data"), ("data-lake", "Data lake")]
    assert named(typed, choices) == team
