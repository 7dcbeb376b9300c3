"""A week's report is computed, stored and mailed once, whatever runs twice or fails."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client

from audit.events import EventType
from audit.log import Actor, record
from audit.transparency.sealer import seal
from audit.transparency.signing_key import ensure_sealing_key
from certs.models import ComplianceReport, OperatorAlert, OutgoingMail
from certs.notifications.delivery.mail import send_due
from certs.reports import keeping
from certs.reports.documents import FORMATS
from certs.reports.keeping import ReportInProgress, keep_report, mail_report, weekly_report
from certs.reports.weeks import Week
from db.clock import database_now
from policy.errors import PolicyMissing
from policy.models import Policy
from tests.audit.ledger import forge
from tests.certs.notifications.conftest import MailServer
from tests.certs.notifications.conftest import mail_server as _mail_server
from tests.portal.fixtures import PASSWORD, Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
mail_server = _mail_server


def _last_week() -> Week:
    return Week.of(database_now()).plus(-1)


def test_the_week_that_ended_is_reported_once(portal: Portal) -> None:
    assert weekly_report()
    assert not weekly_report()
    row = ComplianceReport.objects.get()
    assert row.week == str(_last_week())
    assert row.complete
    assert row.mailed_at is not None
    assert OutgoingMail.objects.filter(dedup_key=f"report:{row.week}").count() == 1


def test_a_week_that_another_run_computes_is_left_to_it(portal: Portal) -> None:
    row = ComplianceReport.objects.create(week=str(_last_week()), lease_until=database_now() + timedelta(minutes=5))
    # No success: the schedule would count the week as reported, and no report would come if that run was killed.
    with pytest.raises(ReportInProgress, match=str(_last_week())):
        weekly_report()
    ComplianceReport.objects.update(lease_until=database_now() - timedelta(seconds=1))  # that run was killed
    assert weekly_report()
    row.refresh_from_db()
    assert row.tries == 1


def test_report_of_a_killed_run_is_computed_by_the_run_that_the_schedule_repeats(
    portal: Portal, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    def killed(*_arguments: Any, **_options: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(keeping, "compute", killed)
        with pytest.raises(SystemExit):
            weekly_report()
    # A schedule gives a run up after the time limit of its task: by then the week must be free.
    limit = timedelta(seconds=settings.CELERY_TASK_TIME_LIMIT)
    monkeypatch.setattr(keeping, "database_now", lambda: database_now() + limit)
    assert weekly_report()


def test_a_run_that_lost_its_week_stores_nothing(portal: Portal) -> None:
    lost = database_now() + timedelta(minutes=1)
    ComplianceReport.objects.create(week=str(_last_week()), lease_until=lost + timedelta(minutes=9))
    assert keep_report(_last_week(), lease=lost).as_of is None


def test_a_mailed_report_stays_as_it_was_mailed(portal: Portal) -> None:
    weekly_report()
    before = ComplianceReport.objects.get().facts
    assert keep_report(_last_week()).facts == before
    with transaction.atomic():
        assert mail_report(_last_week()) == 0


def test_a_report_that_fails_is_an_alert_which_closes_with_the_report(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    name = Policy.objects.get().name
    Policy.objects.update(name="elsewhere")
    with pytest.raises(PolicyMissing):
        weekly_report()
    alert = OperatorAlert.objects.get(kind="report_failed")
    assert str(_last_week()) in alert.message
    assert "compliance_report --week" in alert.next_step
    assert ComplianceReport.objects.get().error == "PolicyMissing"
    Policy.objects.update(name=name)
    assert weekly_report()
    alert.refresh_from_db()
    assert alert.closed_at is not None


def test_the_mail_has_text_html_pictures_and_list(portal: Portal, mail_server: MailServer, settings: Any) -> None:
    settings.PKI_REPORT_EMAILS = ["auditor@example.com"]
    weekly_report()
    assert send_due() == 2
    assert sorted(mail_server.recipients) == ["auditor@example.com", "carol@example.com"]
    message = mail_server.messages[0]
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    for part in (text.get_content(), html.get_content()):
        assert "Active certificates" in part
        assert f"/reports/{_last_week()}/" in part
    pictures = {part["Content-ID"].strip("<>"): part for part in message.walk() if part.get_content_type() == "image/png"}
    assert set(pictures) == {"ends", "movements", "compliance"}
    for name, part in pictures.items():
        assert part.get_content().startswith(b"\x89PNG")
        assert f'src="cid:{name}"' in html.get_content()
    assert html.get_content().count("alt=") == 3
    assert message["Auto-Submitted"] == "auto-generated"
    assert len(message.as_bytes()) < 1_000_000


def test_first_screen_says_first_what_matters_most_in_mail_and_page(portal: Portal) -> None:
    """One sentence, the four figures, what needs a person, what does not comply, then the rest."""
    weekly_report()
    mail, officer = OutgoingMail.objects.filter(topic="report")[0], Client()
    assert officer.login(username="carol", password=PASSWORD)
    page = officer.get(f"/reports/{_last_week()}/").content.decode()
    in_order = (
        "Nothing needs a person|This needs a person",
        *("Active certificates", "Expiring this month", "Revoked this week", "Policy compliance"),
        "What needs a person",
        "What does not comply, and why",
        "Over time",
        "The portal itself",
    )
    for content in (mail.body, mail.html.partition("<h1")[2], page.partition("report-first")[2]):
        places = [found.start() if (found := re.search(words, content, re.IGNORECASE)) else -1 for words in in_order]
        assert -1 not in places, places
        assert places == sorted(places)


def test_checkpoint_in_the_mail_proves_that_nothing_before_it_was_changed(
    portal: Portal, tmp_path: Path, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mail is a witness outside the portal: its reader needs the mail and the public key only."""
    settings.AUDIT_HOME = tmp_path
    ensure_sealing_key()
    record_event_of_a_test()
    seal()
    keep_report(_last_week())
    mail_report(_last_week())
    lines = OutgoingMail.objects.get(topic="report").body.splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if line.startswith("Newest checkpoint.")) + 2
    last = next(number for number, line in enumerate(lines) if line.startswith("\u2014 "))
    kept = tmp_path / "from-the-mail.txt"
    kept.write_text("".join(lines[first : last + 1]), encoding="utf-8")
    arguments = ("verify_audit", "--checkpoint", str(kept), "--key", str(tmp_path / "audit.pub"))
    call_command(*arguments)
    forge("UPDATE audit_event SET actor_name = 'eve' WHERE event = 'team:created'")
    with pytest.raises(SystemExit):
        call_command(*arguments)
    assert "First bad" in capsys.readouterr().out


def record_event_of_a_test() -> None:
    with transaction.atomic():
        record(EventType.TEAM_CREATED, subject="certs.team:0", actor=Actor("system", "test"), at=database_now(), data={"name": "x"})


def _command(*arguments: str) -> dict[str, Any]:
    out = StringIO()
    call_command("compliance_report", *arguments, "--json", stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def test_the_command_answers_the_four_figures_of_this_week(portal: Portal, tmp_path: Path) -> None:
    answer = _command("--output", str(tmp_path / "report.json"))
    assert answer["week"] == str(Week.of(database_now()))
    assert {answer[key] for key in ("active", "expiring", "revoked")} == {0}
    assert answer["compliance"] is None
    assert json.loads((tmp_path / "report.json").read_text())["week"] == answer["week"]


@pytest.mark.parametrize(("suffix", "begins"), [(".html", b"<!doctype html>"), (".json", b"{"), (".pdf", b"%PDF-")])
def test_each_format_is_written_and_loads_nothing(portal: Portal, tmp_path: Path, suffix: str, begins: bytes) -> None:
    file = tmp_path / f"report{suffix}"
    _command("--output", str(file))
    content = file.read_bytes()
    assert content.lstrip().startswith(begins)
    if suffix == ".html":
        assert b"src=" not in content
        assert b"@import" not in content


def test_the_command_mails_this_week_beside_the_weekly_mail(portal: Portal) -> None:
    assert _command("--email")["mails"] == 1
    assert _command("--email", "--week", str(_last_week()))["mails"] == 1
    assert not weekly_report()  # done by hand
    assert OutgoingMail.objects.count() == 2


def test_nonsense_is_refused_with_what_would_pass(portal: Portal, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandError, match=r"\.html, \.json, \.pdf"):
        call_command("compliance_report", "--output", "report.docx")
    (tmp_path / "folder.html").mkdir()
    outputs = [tmp_path / "no" / "report.json", tmp_path / "folder.html"]
    weeks = ("W48", "2999-W01", "9999-W52", "0001-W01", "2025-W53", "; rm -rf /")
    for arguments in [*(["--week", week] for week in weeks), *(["--output", str(one)] for one in outputs)]:
        out = StringIO()
        with pytest.raises(SystemExit) as ended:
            call_command("compliance_report", *arguments, "--json", stdout=out)
        assert ended.value.code == 1
        assert json.loads(out.getvalue())["next_step"]


def test_pages_are_for_those_who_see_every_team(portal: Portal) -> None:
    keep_report(_last_week())
    week = str(_last_week())
    paths = ["/reports/", f"/reports/{week}/", "/reports/not-compliant.csv", *(f"/reports/{week}/compliance{suffix}" for suffix in FORMATS)]
    requester, officer = Client(), Client()
    assert requester.login(username="alice", password=PASSWORD)
    assert officer.login(username="carol", password=PASSWORD)
    portal.bob.groups.add(Group.objects.get(name="auditor"))
    auditor = Client()
    assert auditor.login(username="bob", password=PASSWORD)
    assert [requester.get(path).status_code for path in paths] == [404] * len(paths)
    assert [officer.get(path).status_code for path in paths] == [200] * len(paths)
    assert [auditor.get(path).status_code for path in paths] == [200] * len(paths)
    assert officer.get("/reports/2026-W99/").status_code == 404
    assert officer.get(f"/reports/{week}/compliance.docx").status_code == 404


def test_the_page_says_what_the_mail_says(portal: Portal) -> None:
    weekly_report()
    officer = Client()
    assert officer.login(username="carol", password=PASSWORD)
    page = officer.get(f"/reports/{_last_week()}/").content.decode()
    mail = OutgoingMail.objects.get(topic="report").html
    row = ComplianceReport.objects.get()
    for figure in row.facts["figures"]:
        assert figure["label"] in page
        assert figure["label"] in mail
    assert page.count("<svg") >= 3
    assert 'style="' not in page
