"""The weekly mail as a mail program reads it: what does not comply, the worst twenty, and the full list as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from django.db import transaction

from certs.bulk.submit import submit_order
from certs.models import Certificate
from certs.notifications.delivery.mail import send_due
from certs.reports import facts
from certs.reports.facts import LIST_HEADER, WORST
from certs.reports.keeping import keep_report, write_mails
from certs.reports.weeks import Week
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.cast import person
from tests.certs.bulk.orders import drafted, work_off_all
from tests.certs.inventory.estate import Estate
from tests.certs.life import new_policy
from tests.certs.notifications.conftest import MailServer
from tests.certs.notifications.conftest import mail_server as _mail_server

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
mail_server = _mail_server
DAY = timedelta(days=1)
MANY = WORST + 3


@pytest.fixture
def estate(twin_portal: Requester, make_spec: Callable[..., CertificateSpec]) -> Estate:
    submit_order(drafted([make_spec("a.example.com")], twin_portal), authority=twin_portal.authority)
    work_off_all()
    person("sec", "security officer", email="sec@example.com")
    return Estate(Certificate.objects.get())


@pytest.fixture
def weak(estate: Estate) -> list[str]:
    """Names of certificates on a key that is too short, the one that ends last first."""
    now = database_now()
    names = [f"weak-{number:02}.example.com" for number in range(MANY)]
    for number, name in enumerate(names):
        dates: dict[str, Any] = {"not_before": now - DAY, "not_after": now + (300 - number) * DAY, "alert_at": now + 200 * DAY}
        estate.add(name=name, key_type="rsa-2048", **dates)
    estate.save()
    return names


def received(server: MailServer) -> EmailMessage:
    row = keep_report(Week.of(database_now()))
    with transaction.atomic():
        write_mails(row, key=f"a test {len(server.messages)}", now=database_now())
    send_due()
    return next(one for one in reversed(server.messages) if one["To"] == "sec@example.com")


def rows_of(message: EmailMessage) -> list[dict[str, str]]:
    (file,) = [part for part in message.iter_attachments() if part.get_content_type() == "text/csv"]
    assert file.get_filename() == f"not-compliant-{Week.of(database_now())}.csv"
    content = file.get_content()
    text = content.decode() if isinstance(content, bytes) else content
    return list(csv.DictReader(io.StringIO(text, newline="")))


def text_of(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    content: str = part.get_content()
    return content


def test_mail_shows_the_worst_twenty_of_a_rule_and_brings_all_of_them_as_a_file(mail_server: MailServer, weak: list[str]) -> None:
    message = received(mail_server)
    for kind in ("plain", "html"):
        _, _, text = text_of(message, kind).partition("does not comply" if kind == "html" else "DOES NOT COMPLY")
        assert f": {MANY}" in text
        assert [name for name in weak if name in text] == weak[:WORST]  # those that stay longest as they are
        assert "Key size 2048 below minimum 3072" in text
    rows = rows_of(message)
    assert tuple(rows[0]) == LIST_HEADER
    assert sorted(row["common_name"] for row in rows) == sorted(weak)
    assert {row["reasons"] for row in rows} == {"Key size 2048 below minimum 3072"}


def test_mail_says_where_the_rest_is_when_the_list_is_too_long(
    mail_server: MailServer, weak: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "LIST_MOST", 5)
    message = received(mail_server)
    assert len(rows_of(message)) == 5
    assert "The first 5 are attached as CSV" in text_of(message, "plain")
    assert "/reports/not-compliant.csv" in text_of(message, "plain")


def test_what_complied_is_judged_by_the_policy_of_today(mail_server: MailServer, estate: Estate) -> None:
    before = received(mail_server)
    assert not [part for part in before.iter_attachments() if part.get_content_type() == "text/csv"]
    assert "0 would be refused today" in text_of(before, "plain")
    new_policy("v9.9", max_names={"maximum": 1}, allowed_keys={"rsa": {"min_bits": 3072}, "ec": [521]})
    after = received(mail_server)
    assert "judged by policy v9.9; 1 would be refused today" in text_of(after, "plain")
    assert [row["common_name"] for row in rows_of(after)] == ["a.example.com"]
