"""Names of a team: added, moved and removed exactly as they were shown."""

from __future__ import annotations

import pytest

from audit.models import AuditEvent
from certs.errors import Conflict, InputRefused, NotPermitted
from certs.models import Domain, OutgoingMail, Team
from certs.people import domains
from certs.people.preview import ChangedSince
from certs.requests.submit import submit_many
from tests.cast import Cast
from tests.certs.access.matrix import spec
from tests.certs.life import issued, walk

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


def give(cast: Cast, text: str, to: Team | None, who: str = "officer") -> domains.Change:
    """Preview and do at once."""
    authority = cast.authority(who)
    shown = domains.preview_change(text, to, authority=authority)
    return domains.do_change([one.name for one in shown.effects], to, shown=shown.sealed, authority=authority)


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("Shop.Example.ORG.", "shop.example.org"),
        ("  shop.example.org  ", "shop.example.org"),
        ("bücher.example.org", "xn--bcher-kva.example.org"),
        ("xn--bcher-kva.example.org", "xn--bcher-kva.example.org"),
    ],
)
def test_domain_is_stored_in_normal_form(cast: Cast, typed: str, stored: str) -> None:
    give(cast, typed, cast.other)
    assert Domain.objects.get(name=stored).team == cast.other


@pytest.mark.parametrize(
    "typed",
    ["com", "co.uk", "CO.UK.", "*.example.org", "192.0.2.1", "[2001:db8::1]", "https://evil.example/", "a..b.org", "-", "a" * 300],
)
def test_line_that_is_no_domain_of_one_owner_is_left_out_with_its_reason(cast: Cast, typed: str) -> None:
    """B4 of the proposal."""
    shown = domains.preview_change(f"{typed}\nfine.example.org", cast.other, authority=cast.authority("officer"))
    assert [one.name for one in shown.effects] == ["fine.example.org"]
    assert len(shown.refused) == 1
    assert len(shown.refused[0].why) > 20


def test_10_000_pasted_domains_are_refused_before_any_is_looked_at(cast: Cast, django_assert_max_num_queries: object) -> None:
    text = "\n".join(f"d{n}.example.org" for n in range(10_000))
    with pytest.raises(InputRefused, match="10,000 lines"):
        domains.preview_change(text, cast.other, authority=cast.authority("officer"))


@pytest.mark.django_db(transaction=True)
def test_preview_names_the_team_that_loses_its_certificates_and_its_open_requests(cast: Cast) -> None:
    mine = cast.requester("requester")
    inside = issued(spec("a.shop.example.com"), mine)
    issued(spec("b.example.com"), mine)
    (waiting,) = submit_many([spec("*.shop.example.com")], requester=mine)
    walk([waiting.pk])
    (effect,) = domains.preview_change("shop.example.com", cast.other, authority=cast.authority("officer")).effects
    assert (effect.before, effect.via, effect.after) == (cast.web, "example.com", cast.other)
    assert [row.cert_id for row in effect.certificates.first] == [inside.cert_id]
    assert [row.public_id for row in effect.requests] == [waiting.public_id]


@pytest.mark.django_db(transaction=True)
def test_part_that_another_row_covers_is_not_counted(cast: Cast) -> None:
    issued(spec("a.deep.shop.example.com"), cast.requester("requester"))
    Domain.objects.create(name="deep.shop.example.com", team=cast.web)
    (effect,) = domains.preview_change("shop.example.com", cast.other, authority=cast.authority("officer")).effects
    assert effect.certificates.count == 0


def test_wildcard_just_above_is_counted(cast: Cast) -> None:
    """A wildcard would cover the other team's domain, so the policy refuses its renewal."""
    (request,) = submit_many([spec("*.example.com")], requester=cast.requester("requester"))
    (effect,) = domains.preview_change("shop.example.com", cast.other, authority=cast.authority("officer")).effects
    assert [row.public_id for row in effect.requests] == [request.public_id]


def test_move_is_recorded_and_both_teams_are_mailed(cast: Cast) -> None:
    Team.objects.filter(pk=cast.other.pk).update(email="other@example.org")
    give(cast, "example.com", cast.other)
    assert Domain.objects.get(name="example.com").team == cast.other
    event = AuditEvent.objects.filter(event="domain:changed").latest("id")
    assert (event.actor_name, event.data["team"]) == ("officer", [f"{cast.web} ({cast.web.pk})", f"{cast.other} ({cast.other.pk})"])
    subjects = set(OutgoingMail.objects.values_list("subject", flat=True))
    assert {f"Team {cast.web.name} no longer owns example.com", "Team Other owns example.com now"} <= subjects


@pytest.mark.django_db(transaction=True)
def test_certificate_that_came_after_the_preview_stops_the_move(cast: Cast) -> None:
    authority = cast.authority("officer")
    shown = domains.preview_change("example.com", cast.other, authority=authority)
    late = issued(spec("late.example.com"), cast.requester("requester"))
    with pytest.raises(ChangedSince) as refused:
        domains.do_change(["example.com"], cast.other, shown=shown.sealed, authority=authority)
    assert any(late.cert_id in line for line in refused.value.differences)
    assert Domain.objects.get(name="example.com").team == cast.web


def test_preview_of_other_names_confirms_nothing(cast: Cast) -> None:
    authority = cast.authority("officer")
    shown = domains.preview_change("fine.example.org", cast.other, authority=authority)
    for names, to in ((["evil.example.org"], cast.other), (["fine.example.org"], cast.web)):
        with pytest.raises(InputRefused):
            domains.do_change(names, to, shown=shown.sealed, authority=authority)
    with pytest.raises(InputRefused):
        domains.do_change(["fine.example.org"], cast.other, shown="forged", authority=authority)
    assert not Domain.objects.filter(name__endswith="example.org").exists()


def test_second_confirmation_of_the_same_preview_changes_nothing(cast: Cast) -> None:
    authority = cast.authority("officer")
    shown = domains.preview_change("fine.example.org", cast.other, authority=authority)
    domains.do_change(["fine.example.org"], cast.other, shown=shown.sealed, authority=authority)
    with pytest.raises(Conflict):
        domains.do_change(["fine.example.org"], cast.other, shown=shown.sealed, authority=authority)


def test_removed_domain_falls_to_the_team_above(cast: Cast) -> None:
    give(cast, "shop.example.com", cast.other)
    (effect,) = give(cast, "shop.example.com", None).effects
    assert (effect.before, effect.after) == (cast.other, cast.web)
    assert not Domain.objects.filter(name="shop.example.com").exists()


def test_lead_gives_names_of_the_own_team_away_and_no_others(cast: Cast) -> None:
    cast.web.leads.add(cast["requester"])
    give(cast, "shop.example.com", cast.other, who="requester")
    assert Domain.objects.get(name="shop.example.com").team == cast.other
    for text in ("fine.example.org", "other.test", "shop.example.com"):
        with pytest.raises(NotPermitted) as refused:
            give(cast, text, cast.web, who="requester")
        assert refused.value.permission == "certs.manage_people"


def test_lead_who_left_the_team_gives_nothing_away(cast: Cast) -> None:
    cast.web.leads.add(cast["requester"])
    cast.web.members.remove(cast["requester"])
    assert not cast.web.leads.exists()
    with pytest.raises(NotPermitted):
        give(cast, "shop.example.com", cast.other, who="requester")


def test_member_gives_nothing_away(cast: Cast) -> None:
    with pytest.raises(NotPermitted):
        give(cast, "shop.example.com", cast.other, who="requester")


def test_right_is_asked_for_again_when_it_is_done(cast: Cast) -> None:
    cast.web.leads.add(cast["requester"])
    authority = cast.authority("requester")
    shown = domains.preview_change("shop.example.com", cast.other, authority=authority)
    cast.web.leads.remove(cast["requester"])
    with pytest.raises(NotPermitted):
        domains.do_change(["shop.example.com"], cast.other, shown=shown.sealed, authority=authority)


def test_a_lead_does_not_learn_which_names_other_teams_have(cast: Cast) -> None:
    """One answer for a name of another team, one inside of such, one above it and one of nobody."""
    give(cast, "deep.other.example.net", cast.other)
    cast.web.leads.add(cast["requester"])
    said = set()
    for name in ("other.test", "finance.other.test", "other.example.net", "deep.other.example.net", "free.example.net"):
        for to in (cast.web, cast.other, None):
            with pytest.raises(NotPermitted) as refused:
                domains.preview_change(name, to, authority=cast.authority("requester"))
            said.add((refused.value.message.replace(name, "X"), refused.value.next_step, refused.value.givers))
    assert len(said) == 1
