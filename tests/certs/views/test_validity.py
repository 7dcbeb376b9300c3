"""A validity typed into the portal's form: the plan shows it, the confirmation keeps it, a suggestion replaces it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from certs.models import CertificateRequest
from db.clock import database_now
from tests.certs.api.test_issue import pem_csr
from tests.journeys.test_channels import signed_in
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
FORM = {"place": "vault", "team": "web", "names": "a.example.com"}


def drafted(client: Client, **fields: Any) -> str:
    """The address of a draft with these fields."""
    return str(client.post("/new/", FORM | fields)["Location"]).removesuffix("plan/")


def test_end_date_is_shown_confirmed_and_kept(portal: Portal) -> None:
    """D1, D4: in any of the ways in which a table may write it."""
    alice, end = signed_in("alice"), database_now().date() + timedelta(days=60)
    draft = drafted(alice)
    for typed in (end.isoformat(), f"{end:%d.%m.%Y}", f"until {end:%d %B %Y}"):
        assert alice.post(draft, {"validity": typed, "go": "plan"})["Location"] == f"{draft}plan/"
        page = alice.get(f"{draft}plan/")
        assert f"until {end.day} {end:%b %Y}" in page.content.decode()
    assert alice.post(f"{draft}submit/", {"shown": page.context["shown"]}).status_code == 302
    row = CertificateRequest.objects.get()
    assert (row.validity_days, row.not_after) == (None, end)
    assert f"until {end.day} {end:%b %Y}" in alice.get(f"/requests/{row.public_id}/").content.decode()


@pytest.mark.parametrize("place", ["vault", "csr"])
def test_suggestion_replaces_an_end_date_that_is_too_late(portal: Portal, place: str) -> None:
    alice, end = signed_in("alice"), database_now().date() + timedelta(days=500)
    draft = drafted(alice, place=place, csr=pem_csr("a.example.com"))
    alice.post(draft, {"validity": end.isoformat(), "go": "plan"})
    assert "Use validity ≤ 397 days</button>" in alice.get(draft).content.decode()
    alice.post(draft, {"go": "apply"})
    alice.post(f"{draft}submit/", {"shown": alice.get(f"{draft}plan/").context["shown"]})
    row = CertificateRequest.objects.get()
    assert (row.validity_days, row.not_after) == (397, None)


@pytest.mark.parametrize("typed", ["01/02/2027", "soon", "-1", "a.example.com", "hvs." + "A1b2" * 10])
def test_what_is_no_validity_is_refused_on_the_form(portal: Portal, typed: str) -> None:
    """D4: with the field's message, and without a secret that was typed into it."""
    alice = signed_in("alice")
    response = alice.post(drafted(alice), {"validity": typed, "go": "plan"})
    assert (response.status_code, CertificateRequest.objects.count()) == (422, 0)
    assert ("hvs." in response.content.decode()) is False
