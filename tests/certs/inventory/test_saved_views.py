"""Views that are kept under a name: what changes for a team, and after people leave."""

from __future__ import annotations

import pytest
from django.test import Client

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.errors import NotFound
from certs.inventory.listing.saved import delete_view, save_view
from certs.models import SavedView, Team
from certs.requests.submit import Requester
from tests.cast import person

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def test_what_changes_for_a_team_in_its_shared_views_is_recorded(twin_portal: Requester) -> None:
    alice = person("alice", team=twin_portal.team)
    other = Team.objects.create(slug="other", name="Other")
    other.members.add(alice)
    web = twin_portal.team.slug

    def events() -> list[tuple[str, str, str]]:
        rows = AuditEvent.objects.filter(event__startswith="view:").order_by("pk")
        return [(row.event, row.data["team"], row.data["query"]) for row in rows]

    save_view(alice, name="mine", query={"key": "rsa"})
    view = save_view(alice, name="mine", query={"key": "ec"})
    assert events() == []  # private: nobody else sees it
    expected = []
    for query, team, more in (
        ("ec", web, [("view:shared", web, "key=ec")]),
        ("ec", web, []),  # a double click
        ("rsa", web, [("view:shared", web, "key=rsa")]),
        ("rsa", "other", [("view:withdrawn", web, "key=rsa"), ("view:shared", "other", "key=rsa")]),
        ("rsa", "", [("view:withdrawn", "other", "key=rsa")]),
        ("rsa", web, [("view:shared", web, "key=rsa")]),
    ):
        assert save_view(alice, name="mine", query={"key": query}, team=team).pk == view.pk
        expected += more
        assert events() == expected
    delete_view(view.pk, authority=Authority(Actor("user", "alice"), alice))
    assert events()[-1] == ("view:withdrawn", web, "key=rsa")
    delete_view(save_view(alice, name="mine", query={"key": "rsa"}).pk, authority=Authority(Actor("user", "alice"), alice))
    assert len(events()) == len(expected) + 1


def test_view_that_a_leaver_shared_is_deleted_by_a_lead(twin_portal: Requester) -> None:
    alice, lead, mate = (person(name, team=twin_portal.team) for name in ("alice", "lead", "mate"))
    twin_portal.team.leads.add(lead)
    shared = save_view(alice, name="shared", query={"key": "rsa"}, team=twin_portal.team.slug)
    private = save_view(alice, name="private", query={"key": "rsa"})
    twin_portal.team.members.remove(alice)
    alice.is_active = False
    alice.save()
    for user, view in ((mate, shared), (mate, private), (lead, private)):
        with pytest.raises(NotFound):
            delete_view(view.pk, authority=Authority(Actor("user", user.username), user))
    client = Client()
    client.force_login(lead)
    assert "Delete this view" in client.get("/certificates/?key=rsa").content.decode()
    assert client.post(f"/certificates/views/{shared.pk}/delete/").status_code == 302
    assert AuditEvent.objects.get(event="view:withdrawn").actor_name == "lead"
    assert not SavedView.objects.filter(pk=shared.pk).exists()
