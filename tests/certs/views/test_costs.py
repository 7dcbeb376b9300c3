"""How many statements the pages that people open most send: as many with forty certificates as with one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from certs.inventory.figures import count_states
from certs.models import Certificate, OperatorAlert
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from tests.cast import person
from tests.certs.inventory.estate import Estate
from tests.certs.life import issued

pytestmark = [pytest.mark.django_db(transaction=True)]
DAY = timedelta(days=1)


@pytest.fixture
def template(twin_portal: Requester, make_spec: Callable[..., CertificateSpec]) -> Certificate:
    return issued(make_spec("zz.example.com"), twin_portal)


def fill(template: Certificate, many: int) -> None:
    """That many certificates that end soon; every third needs a person. One alert."""
    now, made = datetime.now(UTC), Estate(template)
    for number in range(many):
        blocked = "needs_csr" if number % 3 == 0 else ""
        made.add(name=f"n{number}.example.com", not_after=now + 9 * DAY, alert_at=now - DAY, renewal_blocked=blocked)
    made.save()
    OperatorAlert.objects.create(kind="ca_stopped", cause="ca:x", message="x", next_step="x", raised_at=now, last_seen_at=now)
    count_states()


def statements(user: Any, path: str) -> int:
    """Return how many statements the second call of the page sends."""
    client = Client()
    client.force_login(user)
    client.get(path)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


@pytest.mark.parametrize(
    ("who", "path", "most"),
    [
        ("officer", "/", 23),
        ("officer", "/certificates/", 31),
        ("officer", "/certificates/?state=needs_you", 33),
        ("officer", "/certificates/?expiring=30", 30),
        ("officer", "/certificates/?owner=none", 33),
        ("officer", "/certificates/?q=n1.example.com", 34),
        ("officer", "/people/", 19),
        ("officer", "/requests/", 11),
        ("officer", "/inbox/", 19),
        ("officer", "/reports/", 10),
        ("auditor", "/estate/", 26),
        ("member", "/", 18),
        ("member", "/certificates/", 34),
        ("member", "/certificates/?state=needs_you", 34),
        ("member", "/estate/", 23),
        ("member", "/teams/", 16),
        ("member", "/account/mails/", 7),
    ],
)
def test_a_page_sends_few_statements_whatever_there_is(
    template: Certificate, twin_portal: Requester, who: str, path: str, most: int
) -> None:
    roles = {"officer": ["security-team"], "auditor": ["auditor"], "member": []}[who]
    team = twin_portal.team if who == "member" else None
    user = person(who, *roles, team=team)
    count_states()
    with_one = statements(user, path)
    fill(template, 40)
    assert max(with_one, statements(user, path)) <= most


def test_rights_are_read_once_for_the_frame_of_a_page(template: Certificate) -> None:
    """The badge of the inbox has parts for each role, and asks for no role again."""
    user = person("officer", "security-team")
    client = Client()
    client.force_login(user)
    client.get("/reports/")
    with CaptureQueriesContext(connection) as captured:
        client.get("/reports/")
    asked = [one["sql"] for one in captured.captured_queries if "auth_group_permissions" in one["sql"]]
    assert len(asked) == 2  # the page itself, and its frame
