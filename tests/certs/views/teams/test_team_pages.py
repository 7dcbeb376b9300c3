"""Pages of teams: what each reader finds, what a refused form keeps, and what it costs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from certs.models import Domain, Team
from tests.cast import Cast, person

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


@pytest.fixture
def officer(cast: Cast) -> Client:
    client = Client()
    client.force_login(cast["officer"])
    return client


def test_names_are_shown_then_given(cast: Cast, officer: Client) -> None:
    page = officer.post("/teams/other/names/", {"names": "Shop.Example.com\n*.bad.org", "to": "other"})
    text = page.content.decode()
    assert "as a part of example.com" in text
    assert "has a star" in text
    found = page.context["found"]
    sent = {"names": "shop.example.com", "to": "other", "shown": found.sealed}
    assert officer.post("/teams/other/names/", sent).status_code == 302
    assert Domain.objects.get(name="shop.example.com").team == cast.other


def test_other_effect_than_shown_is_shown_anew(cast: Cast, officer: Client) -> None:
    shown = officer.post("/teams/other/names/", {"names": "shop.example.com", "to": "other"}).context["found"].sealed
    third = Team.objects.create(slug="third", name="Third")
    Domain.objects.create(name="shop.example.com", team=third)
    answer = officer.post("/teams/other/names/", {"names": "shop.example.com", "to": "other", "shown": shown})
    text = answer.content.decode()
    assert answer.status_code == 409
    assert "Something has changed" in text
    assert "gone is shop.example.com from web to other" in text
    assert Domain.objects.get(name="shop.example.com").team == third


@pytest.mark.parametrize("names", ["", " \n ", "\n".join(f"d{n}.example.org" for n in range(101))])
def test_form_that_cannot_be_read_keeps_what_was_typed(officer: Client, names: str) -> None:
    answer = officer.post("/teams/other/names/", {"names": names, "to": "other"})
    assert answer.status_code == 422
    assert 'id="names-error"' in answer.content.decode()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"slug": "Not a slug", "name": "A"}, "slug"),
        ({"slug": "web", "name": "A"}, "slug"),
        ({"slug": "a" * 65, "name": "A"}, "slug"),
        ({"slug": "ok", "name": ""}, "name"),
        ({"slug": "ok", "name": "a\x07b"}, "name"),
        ({"slug": "ok", "name": "Log in again at https://evil.example"}, "name"),
        ({"slug": "ok", "name": "A", "email": "no"}, "email"),
    ],
)
def test_team_that_cannot_be_is_refused_beside_its_field(officer: Client, given: dict[str, str], field: str) -> None:
    before = Team.objects.count()
    answer = officer.post("/new-team/", {"email": ""} | given)
    assert answer.status_code in (409, 422)
    assert answer.context["error"].field == field
    assert 'id="team-error"' in answer.content.decode()
    assert Team.objects.count() == before


def test_lead_changes_the_address_and_not_the_organization(cast: Cast) -> None:
    cast.web.leads.add(cast["requester"])
    lead = Client()
    lead.force_login(cast["requester"])
    assert lead.post("/teams/web/mails/", {"email": "web@example.org"}).status_code == 302
    assert lead.post("/teams/web/", {"organization": "Evil Ltd"}).status_code == 403
    team = Team.objects.get(slug="web")
    assert (team.email, team.organization) == ("web@example.org", cast.web.organization)


def test_default_domain_outside_the_team_is_refused_beside_its_field(officer: Client) -> None:
    answer = officer.post("/teams/web/", {"default_domain": "other.test"})
    assert (answer.status_code, answer.context["error"].field) == (422, "default_domain")


def test_refusal_names_the_role_and_who_gives_it(cast: Cast) -> None:
    """B17: a refusal names the role that is needed, and the people who can give it."""
    cast.web.leads.add(cast["requester"])
    member = Client()
    member.force_login(cast["colleague"])
    text = " ".join(member.get("/teams/web/names/").content.decode().split())
    assert "This needs the role security officer." in text
    assert "In the team it can be done by requester." in text
    assert "The role is given by officer, root, veteran." in text
    member.force_login(cast["auditor"])
    row = person("someone")
    text = " ".join(member.post(f"/people/{row.pk}/end-sessions/").content.decode().split())
    assert "This needs the role security officer." in text


def test_forms_offer_no_role_twice(cast: Cast) -> None:
    """The groups of earlier releases stay in force, and are not offered beside the roles that took their place."""
    root = Client()
    root.force_login(cast["root"])
    for address in (reverse("invite"), reverse("person", args=[cast["requester"].pk])):
        page = root.get(address).content.decode()
        values = {*re.findall(r'value="([^"]*)"', page), *re.findall(r"<option[^>]*>([^<]*)<", page)}
        assert {"auditor", "security officer"} <= values, address
        assert not values & {"auditors", "requesters", "security-team"}, address


def test_list_of_teams_costs_the_same_for_many(cast: Cast, officer: Client, django_assert_max_num_queries: Any) -> None:
    Team.objects.bulk_create([Team(slug=f"t{n}", name=f"T{n}") for n in range(20)])
    with django_assert_max_num_queries(35):
        assert officer.get("/teams/").status_code == 200
    with django_assert_max_num_queries(35):
        assert "T7" in officer.get("/teams/?q=t7").content.decode()


def test_every_tab_is_there_for_a_member_and_for_nobody_else(cast: Cast) -> None:
    member = Client()
    member.force_login(cast["requester"])
    for tab in ("", "people/", "certificates/", "tokens/", "mails/"):
        assert member.get(f"/teams/web/{tab}").status_code == 200
        assert member.get(f"/teams/other/{tab}").status_code == 404
