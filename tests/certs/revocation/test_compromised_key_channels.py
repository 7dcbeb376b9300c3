"""A key that was reported as compromised is refused for ever after, at every channel."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.management import call_command
from django.test import Client

from certs.access.permissions import Authority
from certs.enums import RequestState as S
from certs.enums import RevocationReason as R
from certs.models import Certificate, CertificateRequest
from certs.revocation.revoke import revoke
from tests.certs.api.test_issue import Api, pem_csr
from tests.certs.life import PORTAL, walk
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(params=["officer", "owner"])
def compromised(request: pytest.FixtureRequest, portal: Portal) -> str:
    """A CSR whose key was reported, by a security officer or by its owner alone."""
    csr = pem_csr("a.example.com", key=ec.generate_private_key(ec.SECP256R1()))
    assert Api(portal.token()).post("/certificates/issue", {"csr": csr})[0] == 200
    authority = PORTAL if request.param == "officer" else Authority(SYSTEM, portal.alice)
    revoke(Certificate.objects.get(), reason=R.KEY_COMPROMISE, authority=authority, begin=False)
    return csr


def by_form(portal: Portal, csr: str, _folder: Path) -> None:
    client = Client()
    client.force_login(portal.alice)
    plan = client.post("/new/", {"place": "csr", "team": "web", "csr": csr})["Location"]
    shown = client.get(plan).context["shown"]
    client.post(plan.replace("/plan/", "/submit/"), {"shown": shown})


def by_rest(portal: Portal, csr: str, _folder: Path) -> None:
    assert Api(portal.token()).post("/requests", {"csr": csr})[0] == 202


def by_ca_endpoint(portal: Portal, csr: str, _folder: Path) -> None:
    status, told = Api(portal.token()).post("/certificates/issue", {"csr": csr})
    assert (status, "compromised" in told["detail"]) == (403, True)


def by_command(_portal: Portal, csr: str, folder: Path) -> None:
    (folder / "a.csr").write_text(csr)
    call_command("issue", csr=str(folder / "a.csr"), json=True, wait=0, team="web", stdout=io.StringIO())


@pytest.mark.parametrize("door", [by_form, by_rest, by_ca_endpoint, by_command], ids=lambda door: door.__name__)
def test_door_refuses_a_compromised_key(
    portal: Portal, compromised: str, door: Callable[[Portal, str, Path], None], tmp_path: Path
) -> None:
    with contextlib.suppress(SystemExit):  # a command leaves with 1: its request is not finished yet
        door(portal, compromised, tmp_path)
    asked = CertificateRequest.objects.order_by("-pk").first()
    assert asked is not None
    walk([asked.pk])
    asked.refresh_from_db()
    assert (asked.state, "compromised" in asked.error) == (S.REJECTED, True)
    assert Certificate.objects.count() == 1


def answered(*arguments: str, **options: Any) -> tuple[int, dict[str, Any]]:
    out, code = io.StringIO(), 0
    try:
        call_command(*arguments, json=True, stdout=out, **options)
    except SystemExit as exc:
        code = int(exc.code or 0)
    return code, json.loads(out.getvalue())


def test_renewal_refuses_it_too(portal: Portal, compromised: str) -> None:
    code, told = answered("renew", Certificate.objects.get().cert_id, wait=0)
    assert (code, told["type"]) == (1, "conflict")


def test_words_that_revoke_a_stranger_are_refused(portal: Portal, compromised: str) -> None:
    certificate = Certificate.objects.get()
    code, told = answered("ask", f"Revoke {certificate.cert_id} - superseded", as_user="bob", yes=True)
    assert (code, told["type"]) == (1, "notFound")
    code, told = answered("revoke", certificate.cert_id, reason="superseded", as_user="bob")
    assert (code, told["type"]) == (1, "notFound")


def test_officer_without_a_team_revokes_in_words_and_owner_renews(portal: Portal) -> None:
    assert Api(portal.token()).post("/certificates/issue", {"csr": pem_csr("w.example.com")})[0] == 200
    certificate = Certificate.objects.get()
    code, told = answered("ask", f"Renew {certificate.cert_id}", as_user="alice")
    assert (code, told["action"], told["decision"]) == (0, "renew", "allow")
    code, told = answered("ask", f"Revoke {certificate.cert_id} - superseded", as_user="carol", yes=True, wait=0)
    assert (code, told["reason"]) == (0, "superseded")
