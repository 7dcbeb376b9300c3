"""What people type into the inventory's search finds what it names, whatever the spelling, and never what is another team's."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from certs.bulk.submit import submit_order
from certs.errors import Conflict, NotFound
from certs.inventory import CertificateFilter, find_certificate, search_certificates, search_requests
from certs.inventory.search import name_sought
from certs.models import Certificate, CertificateName, CertificateRequest
from certs.requests.submit import Requester, submit
from certs.spec import CertificateSpec
from certs.x509.certificate.serial import format_serial
from db.clock import database_now
from tests.cast import person
from tests.certs.bulk.orders import drafted, work_off_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def inventory(twin_portal: Requester, make_spec: Callable[..., CertificateSpec]) -> list[object]:
    """A member of the team of three certificates, and somebody else."""
    submit_order(
        drafted([make_spec(f"{name}.example.com") for name in ("api", "api2", "db")], twin_portal), authority=twin_portal.authority
    )
    work_off_all()
    return [person("alice", team=twin_portal.team), person("bob")]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("api.example.com", ["api"]),
        ("API", ["api2", "api"]),
        ("example", ["db", "api2", "api"]),
        ("%", []),
        ("_", []),
        ("a_i", []),
        ("nothing", []),
    ],
)
def test_part_of_a_name(inventory: list[object], typed: str, found: list[str]) -> None:
    rows = search_certificates(inventory[0], CertificateFilter(q=typed), now=database_now()).order_by("-pk")
    assert [row.common_name.split(".")[0] for row in rows] == found
    assert not search_certificates(inventory[1], CertificateFilter(q=typed), now=database_now()).exists()


@pytest.mark.parametrize("few", [5_000, 5, 1])  # looked through; by the names of certificates; by both where many have it
def test_part_of_a_name_of_requests_with_and_without_certificate(
    inventory: list[object], twin_portal: Requester, make_spec: Callable[..., CertificateSpec], monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    for bound in ("_FEW", "_NAMED"):
        monkeypatch.setattr(f"certs.inventory.search.{bound}", few)
    for name, state in (("api3", "rejected"), ("api4", "awaiting_approval"), ("api5", "csr_created"), ("other", "failed")):
        names = (f"{name}.example.com", f"www.{name}.example.com")
        spec = replace(make_spec(names[0]), dns_names=names)
        stopped = submit(spec, requester=twin_portal)
        CertificateRequest.objects.filter(pk=stopped.pk).update(state=state)
    member, stranger = inventory
    for typed, found in (
        ("API", ["api5", "api4", "api3", "api2", "api"]),
        ("www.api4", ["api4"]),
        ("www", ["other", "api5", "api4", "api3"]),
        ("nothing", []),
    ):
        assert [row.common_name.split(".")[0] for row in search_requests(member, text=typed).order_by("-pk")] == found
        assert not search_requests(stranger, text=typed).exists()
    assert [row.common_name for row in search_requests(member, text="api", state="rejected")] == ["api3.example.com"]


@pytest.mark.parametrize(
    "spell",
    [
        lambda c: c.cert_id,
        lambda c: c.cert_id.upper(),
        lambda c: c.serial_number,
        lambda c: str(int(c.serial_number, 16)),
        lambda c: format_serial(int(c.serial_number, 16)),
        lambda c: f"serial={int(c.serial_number, 16):X}",
        lambda c: f"Serial Number: {format_serial(int(c.serial_number, 16)).lower()}",
        lambda c: "00:" + format_serial(int(c.serial_number, 16)),
        lambda c: f"0x00{c.serial_number.upper()}",
        lambda c: format_serial(int(c.serial_number, 16)).replace(":", " "),
        lambda c: c.sha256_fingerprint,
        lambda c: bytes.fromhex(c.sha256_fingerprint).hex(":").upper(),
        lambda c: "sha256 Fingerprint=" + bytes.fromhex(c.sha256_fingerprint).hex(":").upper(),
        lambda c: c.request.public_id,
    ],
)
def test_whole_id_in_any_spelling(inventory: list[object], spell: Callable[[Certificate], str]) -> None:
    wanted = Certificate.objects.get(common_name="api2.example.com")
    for user, found in zip(inventory, ([wanted], []), strict=True):
        assert list(search_certificates(user, CertificateFilter.from_query({"q": f" {spell(wanted)} "}), now=database_now())) == found


@pytest.mark.parametrize(
    "spell", [lambda c: c.serial_number, lambda c: format_serial(int(c.serial_number, 16)), lambda c: "API2.example.com."]
)
def test_the_admin_finds_what_the_portal_finds(inventory: list[object], admin_client: Client, spell: Callable[[Certificate], str]) -> None:
    """O7: the admin did not find a serial number as the portal prints it."""
    wanted = Certificate.objects.get(common_name="api2.example.com")
    for model in ("certificate", "certificaterequest"):
        if model == "certificate" or "example" in spell(wanted):
            page = admin_client.get(f"/admin/certs/{model}/", {"q": spell(wanted)})
            assert [row.common_name for row in page.context["cl"].result_list] == ["api2.example.com"]


def test_the_admin_filters_by_the_same_states(inventory: list[object], admin_client: Client) -> None:
    Certificate.objects.filter(common_name__startswith="db").update(not_after=database_now() - timedelta(days=1))
    for state, count in (("active", 2), ("expired", 1), ("nonsense", 3)):
        page = admin_client.get("/admin/certs/certificate/", {"state": state})
        assert len(page.context["cl"].result_list) == count, state
    html = admin_client.get("/admin/certs/certificate/").content.decode()
    assert [html.count(f'<td class="field-state">{word}</td>') for word in ("valid", "expired")] == [2, 1]


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("bücher.example.com", "xn--bcher-kva.example.com"),
        ("BÜCHER", "xn--bcher-kva"),
        ("a.Example.COM.", "a.example.com"),
        ("https://a.example.com/login", "a.example.com"),
        ("DNS:a.example.com", "a.example.com"),
        ("CN = a.example.com", "a.example.com"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("*.Apps.example.com", "*.apps.example.com"),
        ("bücher。example。com", "xn--bcher-kva.example.com"),
        (".", "."),
        ("\U0001f600x\u200d", "\U0001f600x\u200d"),
    ],
)
def test_a_name_is_sought_as_certificates_hold_it(typed: str, stored: str) -> None:
    assert name_sought(typed) == stored


def test_states_mean_what_they_say(inventory: list[object]) -> None:
    """O7: `good` listed expired and superseded certificates, `expiring=7` those that are renewed already."""
    now = database_now()
    api, api2, db = Certificate.objects.order_by("pk")
    ending = now + timedelta(days=3)
    Certificate.objects.filter(pk=api.pk).update(not_after=ending, alert_at=now - timedelta(days=1))
    Certificate.objects.filter(pk=api2.pk).update(renewed_from=api)
    Certificate.objects.filter(pk=db.pk).update(not_after=now - timedelta(days=1))

    def found(status: str = "", *, expiring_days: int = 0) -> list[str]:
        rows = search_certificates(
            inventory[0], CertificateFilter.from_query({"status": status, "expiring": expiring_days}), now=now
        ).order_by("pk")
        return [row.common_name.partition(".")[0] for row in rows]

    assert (found("active"), found("good")) == (["api2"], ["api2"])
    assert (found("replaced"), found("expired")) == (["api"], ["db"])
    assert (found(expiring_days=7), found("needs_action")) == ([], [])
    Certificate.objects.filter(pk=api2.pk).update(status="revoked")  # the renewal counts no more
    assert (found("active"), found(expiring_days=7), found("needs_action")) == (["api"],) * 3
    request = CertificateRequest.objects.get(pk=db.request_id)
    request.renewed_from, request.state = api, "submitted"
    request.save(update_fields=["renewed_from", "state"])  # under way
    assert (found("needs_action"), found("active")) == ([], ["api"])


def test_a_name_stands_for_its_active_certificate(inventory: list[object]) -> None:
    """O9: `renew a1.example.com` was answered "This is not a serial number"."""
    rows = Certificate.objects.visible_to(inventory[0])
    wanted = Certificate.objects.get(common_name="api2.example.com")
    row, note = find_certificate(rows, "API2.example.com.")
    assert (row, wanted.cert_id in note) == (wanted, True)
    CertificateName.objects.create(certificate=Certificate.objects.get(common_name="db.example.com"), name="api2.example.com")
    with pytest.raises(Conflict) as several:
        find_certificate(rows, "api2.example.com")
    assert several.value.message.count("cert-") == 2
    with pytest.raises(NotFound, match="neither a certificate id nor a serial number"):
        find_certificate(rows, "nothing.example.com")
    with pytest.raises(NotFound):
        find_certificate(Certificate.objects.visible_to(inventory[1]), "api.example.com")


def test_nothing_is_joined_with_the_names(inventory: list[object]) -> None:
    """A join with a million names, sorted for distinct rows, took more than ten seconds."""
    with CaptureQueriesContext(connection) as seen:
        assert search_certificates(inventory[0], CertificateFilter(q="api"), now=database_now()).count() == 2
    searched = seen.captured_queries[-1]["sql"]
    assert ("DISTINCT" in searched, 'JOIN "certs_certificatename"' in searched) == (False, False)


def test_the_index_of_parts_of_names_is_there_or_not_needed(inventory: list[object]) -> None:
    told = io.StringIO()
    call_command("search_index", "--json", stdout=told)
    answer = json.loads(told.getvalue())
    assert (answer["success"], answer["made"]) == (True, False)
    assert answer["state"] == ("ready" if connection.vendor == "postgresql" else "not needed")


@pytest.mark.parametrize("typed", ["*.example.com", "*", "*.EXAMPLE.com."])
def test_a_wildcard_is_found_and_is_no_pattern(inventory: list[object], typed: str) -> None:
    CertificateName.objects.create(certificate=Certificate.objects.get(common_name="db.example.com"), name="*.example.com")
    rows = search_certificates(inventory[0], CertificateFilter(q=typed), now=database_now())
    assert [row.common_name for row in rows] == ["db.example.com"]
