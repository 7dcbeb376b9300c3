"""What people type into the inventory's search finds what it names, whatever the spelling, and never what is another team's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.clock import database_now
from certs.intake.spec import CertificateSpec
from certs.inventory import search_certificates
from certs.models import Certificate
from certs.workflow.bulk.submission import submit_order
from certs.workflow.issuance import Requester
from certs.x509.serial import format_serial
from tests.certs.workflow.bulk.orders import drafted, work_off_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def inventory(twin_portal: Requester, make_spec: Callable[..., CertificateSpec], django_user_model: type) -> list[object]:
    """A member of the team of three certificates, and somebody else."""
    submit_order(
        drafted([make_spec(f"{name}.example.com") for name in ("api", "api2", "db")], twin_portal), authority=twin_portal.authority
    )
    work_off_all()
    people = [django_user_model.objects.create_user(name) for name in ("alice", "bob")]  # type: ignore[attr-defined]
    twin_portal.team.members.add(people[0])
    return people


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("api.example.com", ["api"]),
        ("API", ["api2", "api"]),
        ("example", ["db", "api2", "api"]),
        ("%", []),
        ("nothing", []),
    ],
)
def test_part_of_a_name(inventory: list[object], typed: str, found: list[str]) -> None:
    rows = search_certificates(inventory[0], text=typed, now=database_now()).order_by("-pk")
    assert [row.common_name.split(".")[0] for row in rows] == found
    assert not search_certificates(inventory[1], text=typed, now=database_now()).exists()


@pytest.mark.parametrize(
    "spell",
    [
        lambda c: c.cert_id,
        lambda c: c.cert_id.upper(),
        lambda c: c.serial_number,
        lambda c: str(int(c.serial_number, 16)),
        lambda c: format_serial(int(c.serial_number, 16)),
        lambda c: c.sha256_fingerprint,
        lambda c: c.request.public_id,
    ],
)
def test_whole_id_in_any_spelling(inventory: list[object], spell: Callable[[Certificate], str]) -> None:
    wanted = Certificate.objects.get(common_name="api2.example.com")
    for user, found in zip(inventory, ([wanted], []), strict=True):
        assert list(search_certificates(user, text=f" {spell(wanted)} ", now=database_now())) == found


def test_nothing_is_joined_with_the_names(inventory: list[object]) -> None:
    """A join with a million names, sorted for distinct rows, took more than ten seconds."""
    with CaptureQueriesContext(connection) as seen:
        assert search_certificates(inventory[0], text="api", now=database_now()).count() == 2
    searched = seen.captured_queries[-1]["sql"]
    assert ("DISTINCT" in searched, 'JOIN "certs_certificatename"' in searched) == (False, False)
