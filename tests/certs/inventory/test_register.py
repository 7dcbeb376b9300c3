"""The register for auditors: what it lists, for whom, and that it streams."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from audit.log import Actor
from certs.access.permissions import Authority
from certs.inventory import CertificateFilter
from certs.inventory import register as module
from certs.inventory.register import COLUMNS, register_csv, register_filter
from certs.models import Certificate, Issuer, Team
from db.clock import database_now
from tests.cast import person
from tests.certs.inventory.estate import Estate
from tests.certs.inventory.test_filters import NOW, estate
from tests.portal.fixtures import Portal

__all__ = ["estate"]  # a fixture

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def register(user: Any = None, *, past: bool = False, **query: str) -> list[dict[str, str]]:
    authority = Authority(Actor("command", "register") if user is None else Actor("user", user.username), user)
    sought = register_filter(CertificateFilter.from_query(query), past=past)
    text = "".join(register_csv(authority, sought, now=NOW))
    return list(csv.DictReader(io.StringIO(text, newline="")))


def names(rows: list[dict[str, str]]) -> str:
    return "".join(sorted(row["name"] for row in rows if row["kind"] == "certificate"))


def test_each_certificate_in_force_is_a_row_with_owner_and_key(estate: Estate) -> None:
    """DORA RTS 2024/1774 Art. 7 and PCI DSS 4.2.1.1: who owns it, what for, and where its key is."""
    Certificate.objects.filter(common_name="f").update(
        owner=get_user_model().objects.get(username="alice"), last_review=date(2026, 11, 2), purpose='=cmd("x")'
    )
    Certificate.objects.filter(common_name="e").update(key=None)
    rows = {row["name"]: row for row in register()}
    assert "".join(sorted(rows)) == "abcdefgjz"
    found = rows["f"]
    expected = {
        "owner": "alice",
        "owner_is_current": "yes",
        "critical_function": "yes",
        "last_review": "2026-11-02",
        "renewal": "by_hand",
        "key_kept_in": "TwinKeyBackend, twin",
        "purpose": '\'=cmd("x")',  # no formula in a spreadsheet
        "team": "web",
    }
    assert {name: found[name] for name in expected} == expected
    assert (rows["b"]["owner"], rows["b"]["owner_is_current"]) == ("left", "no")
    assert (rows["e"]["key_kept_in"], rows["e"]["renewal_off_reason"]) == ("the requester's own server", "moved")
    assert tuple(found) == COLUMNS


def test_ended_and_revoked_ones_are_included_on_request(estate: Estate) -> None:
    assert names(register(past=True)) == "abcdefghijz"
    assert names(register(state="expired")) == "i"
    assert names(register(critical="yes")) == "f"


def test_who_sees_a_team_reads_its_register(estate: Estate) -> None:
    outsider, auditor = person("outsider", team=Team.objects.get(slug="other")), person("auditor", "auditor")
    assert names(register(outsider)) == "c"
    assert names(register(auditor)) == "abcdefgjz"


def test_the_register_is_read_in_parts(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    with CaptureQueriesContext(connection) as whole:
        expected = register()
    monkeypatch.setattr(module, "PART", 3)
    with CaptureQueriesContext(connection) as parts:
        assert register() == expected
    assert len(parts) > len(whole)
    assert any("LIMIT 3" in one["sql"] for one in parts)


def test_page_file_and_command_have_the_same_rows(estate: Estate, client: Client, tmp_path: Path) -> None:
    alice = get_user_model().objects.get(username="alice")
    client.force_login(alice)
    page = client.get("/register/", {"owner": "none", "past": "yes"})
    shown = {row.common_name for row, _, _ in page.context["rows"]}
    address = page.context["csv"]
    text = b"".join(client.get(f"/register/register.csv{address}").streaming_content).decode()  # type: ignore[attr-defined]
    listed = {row["name"] for row in csv.DictReader(io.StringIO(text, newline=""))}
    assert shown == listed
    assert "b" in shown
    target = tmp_path / "register.csv"
    call_command("register", "--as", "alice", "--past", "--output", str(target), "--json")
    written = {row["name"] for row in csv.DictReader(target.read_text().splitlines())}
    assert listed < written == set("abdefghijz")


def test_a_filter_that_cannot_be_read_gives_no_file(estate: Estate, client: Client) -> None:
    client.force_login(get_user_model().objects.get(username="alice"))
    assert client.get("/register/", {"critical": "perhaps"}).status_code == 400
    assert client.get("/register/register.csv", {"critical": "perhaps"}).status_code == 422


def test_own_cas_are_in_it_with_the_place_of_their_keys(portal: Portal, client: Client) -> None:
    own = Issuer.objects.filter(certificate_der__isnull=False).values_list("name", flat=True)
    rows = [row for row in register_of(portal) if row["kind"] == "CA"]
    assert {row["name"] for row in rows} == set(own)
    assert all("the portal, encrypted" in row["key_kept_in"] for row in rows)
    client.force_login(portal.alice)
    assert "Internal-CA-Prod" in client.get("/register/").content.decode()


def register_of(portal: Portal) -> list[dict[str, str]]:
    authority = Authority(Actor("user", "alice"), portal.alice)
    sought = register_filter(CertificateFilter(), past=False)
    return list(csv.DictReader(io.StringIO("".join(register_csv(authority, sought, now=database_now())))))
