"""Words without a place to break, written by somebody else, scroll no page sideways."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from audit.log import Actor
from certs.access.api_tokens import create_token
from certs.bulk.drafting.draft import draft
from certs.inventory.listing.saved import save_view
from certs.models import OperatorAlert, SavedView
from certs.requests.domains.domain_requests import ask_for_domain
from certs.requests.submit import submit_many
from certs.spec import CertificateSpec
from certs.uploads.line import Line
from db.clock import database_now
from tests.journeys.conftest import Visitor
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
NAME = f"{'a' * 60}.{'b' * 60}.{'c' * 60}.example.com"
WORD = "WithoutAnyPlaceToBreak" * 12


@pytest.mark.parametrize("width", [360, 1280])
def test_long_words_of_others_stay_inside_the_page(look: Callable[..., Visitor], portal: Portal, width: int) -> None:
    requester, now = portal.requester(), database_now()
    spec = CertificateSpec("", (NAME,), (), "ec-p256", 90, "tls-server")
    (request,) = submit_many([spec], requester=requester)
    order = draft([Line(1, WORD[:200], spec)], requester=requester, title=WORD[:60])
    asked = ask_for_domain("new.example.net", why=WORD[:240], requester=requester)
    create_token(user=portal.alice, team=portal.team, name=WORD[:60], scopes=["certificates:read"], actor=Actor("user", "alice"))
    view = save_view(portal.carol, name=WORD[:60], query={"q": NAME})
    alert = OperatorAlert.objects.create(kind="x", cause=WORD[:100], message=WORD, next_step=WORD, raised_at=now, last_seen_at=now)
    assert SavedView.objects.get() == view
    widths = {}
    for who, paths in {
        "carol": (
            *("/", "/inbox/", "/alerts/", f"/alerts/{alert.pk}/", f"/domain-requests/{asked.public_id}/", f"/certificates/?{view.query}"),
            *("/requests/", f"/requests/{request.public_id}/", f"/bulk/{order.public_id}/", "/audit/?q=alice"),
        ),
        "alice": ("/", "/tokens/", f"/bulk/{order.public_id}/", f"/requests/{request.public_id}/"),
    }.items():
        visitor = look(who, width=width, height=740)
        for path in paths:
            visitor.open(path)
            widths[who, path] = visitor.width()
    assert {page: found for page, found in widths.items() if found > width} == {}
