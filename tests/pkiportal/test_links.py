"""Links lead to the portal, addresses in certificates to the status service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import transaction

from certs.ca.urls import crl_url
from certs.enums import AlertKind
from certs.models import OutgoingMail
from certs.notifications.alerts import raise_alert
from db.clock import database_now
from policy.models import Policy

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
CERTS = Path(__file__).resolve().parents[2] / "certs"


def test_links_in_mails_lead_to_the_portal_and_not_to_the_address_in_certificates(settings: Any) -> None:
    """M6"""
    settings.PKI_BASE_URL, settings.PKI_PORTAL_URL = "http://crl.example.com", "https://pki.example.com:8443"
    with transaction.atomic():
        raise_alert(kind=AlertKind.MAIL_LATE, cause="x", message="x", next_step="x", now=database_now())
    body = OutgoingMail.objects.get().body
    assert "https://pki.example.com:8443/" in body
    assert "crl.example.com" not in body
    assert crl_url("own").startswith("http://crl.example.com/pki/crl/")


def test_address_in_certificates_is_used_for_nothing_else() -> None:
    """M6: whoever adds a mail or an API link takes the portal's address."""
    users = {str(path.relative_to(CERTS)) for path in CERTS.rglob("*.py") if "PKI_BASE_URL" in path.read_text()}
    assert users == {"ca/urls.py"}


def test_bootstrap_names_a_key_backend_that_is_not_there_before_it_makes_anything(settings: Any) -> None:
    """M3: the CA could not be made, after everything else was."""
    settings.PKI_ROOT_KEY_BACKEND = "valut-root"
    with pytest.raises(ImproperlyConfigured, match="PKI_ROOT_KEY_BACKEND"):
        call_command("bootstrap", "--json")
    assert not Policy.objects.exists()
