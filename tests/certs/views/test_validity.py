"""A validity typed into the portal's form: the plan shows it, the confirmation keeps it, a suggestion replaces it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from certs.models import CertificateRequest
from db.clock import database_now
from tests.certs.api.test_issue import pem_csr
from tests.journeys.test_doors import signed_in
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
FORM = {"via": "form", "team": "web", "common_name": "a.example.com", "key": "ec-p256"}


def token_of(page: str, action: str) -> str:
    form = re.search(rf'action="{action}".*?name="plan" value="([^"]+)"', page, re.DOTALL)
    assert form is not None
    return form[1]


def planned(client: Client, **fields: Any) -> str:
    response = client.post("/plan/", FORM | fields)
    assert response.status_code == 200
    return response.content.decode()


def test_end_date_is_shown_confirmed_and_kept(portal: Portal) -> None:
    """D1, D4: in any of the ways in which a table may write it."""
    alice, end = signed_in("alice"), database_now().date() + timedelta(days=60)
    for typed in (end.isoformat(), f"{end:%d.%m.%Y}", f"until {end:%d %B %Y}"):
        page = planned(alice, validity_days=typed)
        assert f"until {end.day} {end:%b %Y}" in page
    assert alice.post("/confirm/", {"plan": token_of(page, "/confirm/")}).status_code == 302
    row = CertificateRequest.objects.get()
    assert (row.validity_days, row.not_after) == (None, end)
    assert f"until {end.day} {end:%b %Y}" in alice.get(f"/requests/{row.public_id}/").content.decode()


@pytest.mark.parametrize("way", ["form", "csr"])
def test_suggestion_replaces_an_end_date_that_is_too_late(portal: Portal, way: str) -> None:
    alice, end = signed_in("alice"), database_now().date() + timedelta(days=500)
    page = planned(alice, via=way, csr=pem_csr("a.example.com"), validity_days=end.isoformat(), profile="tls-server")
    assert "Use validity ≤ 397 days" in page
    changed = alice.post("/plan/", {"plan": token_of(page, "/plan/")})
    assert changed.status_code == 200
    alice.post("/confirm/", {"plan": token_of(changed.content.decode(), "/confirm/")})
    row = CertificateRequest.objects.get()
    assert (row.validity_days, row.not_after) == (397, None)


@pytest.mark.parametrize("typed", ["01/02/2027", "soon", "-1", "a.example.com", "hvs." + "A1b2" * 10])
def test_what_is_no_validity_is_refused_on_the_form(portal: Portal, typed: str) -> None:
    """D4: with the field's message, and without a secret that was typed into it."""
    response = signed_in("alice").post("/plan/", FORM | {"validity_days": typed})
    assert (response.status_code, CertificateRequest.objects.count()) == (422, 0)
    assert ("hvs." in response.content.decode()) is False
