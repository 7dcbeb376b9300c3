"""While a request waits: time limit and reminders, questions, several approvers, deputies; and races between them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from audit.models import AuditEvent
from certs.enums import RequestState as S
from certs.errors import Conflict, CSRRefused, InputRefused, NotFound, NotPermitted, PortalError, TooMany
from certs.models import Approval, ApprovalLimit, ApprovalQuestion, Certificate, CertificateRequest, Deputy, OutgoingMail
from certs.notifications.audience import approvers_of
from certs.notifications.topics import Topic
from certs.reconciliation.records.comparison import Comparison
from certs.reconciliation.records.decisions import approvals
from certs.requests.approvals.approval import approve, cancel, reject
from certs.requests.approvals.deputies import deputy_of, end_deputy, name_deputy
from certs.requests.approvals.questions import answer, ask_back
from certs.requests.approvals.time_limit import let_lapse, remind, remind_due
from certs.requests.submit import submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from policy.drafting import draft_version
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from tests.cast import Cast, person
from tests.certs.life import SYSTEM, walk

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def policy_with(**approval: Any) -> None:
    now = database_now()
    content = DEFAULT_V2_3 | {"version": "v3", "approval": approval}
    publish_version(draft_version("default", content, actor=SYSTEM, now=now), actor=SYSTEM, now=now)


@pytest.fixture
def submit(cast: Cast, make_spec: MakeSpec) -> Callable[[], CertificateRequest]:
    def submitted() -> CertificateRequest:
        (row,) = submit_many([make_spec("*.apps.example.com")], requester=cast.requester("requester"))
        walk([row.pk])
        row.refresh_from_db()
        return row

    return submitted


@pytest.fixture
def row(submit: Callable[[], CertificateRequest]) -> CertificateRequest:
    return submit()


def overdue(row: CertificateRequest) -> None:
    ApprovalLimit.objects.filter(pk=row.pk).update(lapses_at=database_now() - HOUR)


def events(row: CertificateRequest) -> list[str]:
    rows = AuditEvent.objects.filter(subject=row.subject, event__startswith="request:").order_by("subject_seq")
    return [event.removeprefix("request:") for event in rows.values_list("event", flat=True)]


def subjects_to(name: str) -> list[str]:
    return list(OutgoingMail.objects.filter(recipient=f"{name}@example.org").order_by("pk").values_list("subject", flat=True))


# Time limit


def test_a_request_waits_as_long_as_setting_or_policy_says(submit: Callable[[], CertificateRequest], settings: Any) -> None:
    settings.PKI_APPROVAL_DAYS = 9
    first = submit()
    assert ApprovalLimit.objects.get(pk=first.pk).lapses_at == first.state_changed_at + 9 * DAY
    policy_with(time_limit_days=2)
    second = submit()
    assert ApprovalLimit.objects.get(pk=second.pk).lapses_at == second.state_changed_at + 2 * DAY
    assert ApprovalLimit.objects.get(pk=first.pk).lapses_at == first.state_changed_at + 9 * DAY  # as it was told


def test_nobody_decides_and_it_lapses_once_and_everybody_is_told(cast: Cast, row: CertificateRequest) -> None:
    assert let_lapse() == 0
    overdue(row)
    assert (let_lapse(), let_lapse()) == (1, 0)
    row.refresh_from_db()
    assert (row.state, "so the request lapsed" in row.error, bool(row.suggestion)) == (S.REJECTED, True, True)
    assert events(row) == ["submitted", "lapsed"]
    assert subjects_to("requester")[-1] == "Lapsed: *.apps.example.com"
    assert subjects_to("approver")[-1] == "Lapsed without a decision: *.apps.example.com for team Web"
    assert not Approval.objects.exists()
    assert not ApprovalLimit.objects.exists()


def test_what_was_decided_in_time_does_not_lapse(cast: Cast, row: CertificateRequest) -> None:
    approve(row, user=cast["approver"], digest=row.digest)
    overdue(row)
    assert let_lapse() == 0
    row.refresh_from_db()
    assert row.state == S.APPROVED


def test_a_decision_after_the_limit_is_refused_also_before_the_sweeper_was_there(cast: Cast, row: CertificateRequest) -> None:
    overdue(row)
    with pytest.raises(Conflict, match="lapsed on"):
        approve(row, user=cast["approver"], digest=row.digest)
    assert not Approval.objects.exists()


def test_approvers_are_reminded_at_half_time_and_a_day_before_the_end(row: CertificateRequest) -> None:
    assert remind_due() == 0
    for _ in range(2):
        ApprovalLimit.objects.filter(remind_at__isnull=False).update(remind_at=database_now() - HOUR)
        assert remind_due() == 1
        OutgoingMail.objects.filter(subject__startswith="Still waiting").delete()
    assert remind_due() == 0  # no third one
    ApprovalLimit.objects.update(remind_at=database_now() - HOUR, lapses_at=database_now() + HOUR)
    assert remind_due() == 1
    assert ApprovalLimit.objects.get().remind_at is None  # the end is nearer than a day


def test_the_team_reminds_the_approvers_and_not_too_often(cast: Cast, row: CertificateRequest) -> None:
    remind(row, authority=cast.authority("colleague"))
    assert subjects_to("approver")[-1].startswith("Still waiting by ")
    assert events(row) == ["submitted", "reminded"]
    with pytest.raises(TooMany):
        remind(row, authority=cast.authority("requester"))
    with pytest.raises(NotFound):
        remind(row, authority=cast.authority("outsider"))
    with pytest.raises(NotPermitted):
        remind(row, authority=cast.authority("auditor"))
    cancel(row, authority=cast.authority("requester"))
    with pytest.raises(Conflict):
        remind(row, authority=cast.authority("requester"))


# Questions


def test_question_and_answer_are_mailed_and_kept(cast: Cast, row: CertificateRequest) -> None:
    ask_back(row, user=cast["approver"], question="Which hosts?")
    assert subjects_to("requester")[-1] == "Question about *.apps.example.com"
    answer(row, authority=cast.authority("colleague"), text="a and b.")
    assert subjects_to("approver")[-1] == "Answer about *.apps.example.com for team Web"
    kept = ApprovalQuestion.objects.get()
    assert (kept.question, kept.answer, kept.answerer) == ("Which hosts?", "a and b.", cast["colleague"])
    assert events(row) == ["submitted", "questioned", "answered"]
    row.refresh_from_db()
    assert row.state == S.AWAITING_APPROVAL


def test_one_question_is_open_at_a_time(cast: Cast, row: CertificateRequest) -> None:
    ask_back(row, user=cast["approver"], question="Which hosts?")
    with pytest.raises(Conflict, match="waits for its answer"):
        ask_back(row, user=cast["veteran"], question="Why?")
    answer(row, authority=cast.authority("requester"), text="a")
    ask_back(row, user=cast["veteran"], question="Why?")


def test_only_who_decides_asks_and_only_the_team_answers(cast: Cast, row: CertificateRequest) -> None:
    for name in ("officer", "auditor", "requester"):
        with pytest.raises(NotPermitted):
            ask_back(row, user=cast[name], question="Why?")
    with pytest.raises(Conflict):
        answer(row, authority=cast.authority("requester"), text="So.")
    ask_back(row, user=cast["approver"], question="Why?")
    with pytest.raises(NotPermitted):
        answer(row, authority=cast.authority("approver"), text="So.")
    with pytest.raises(NotFound):
        answer(row, authority=cast.authority("outsider"), text="So.")


def test_empty_long_and_secret_texts_are_refused_beside_their_field(cast: Cast, row: CertificateRequest) -> None:
    for text, error in ((" ", InputRefused), ("x" * 501, InputRefused), ("hvs.CAESIJx0bSe7Y2tVb1lRk3n9Zz", CSRRefused)):
        with pytest.raises(error) as refused:
            ask_back(row, user=cast["approver"], question=text)
        assert refused.value.field == "question"
    assert not ApprovalQuestion.objects.exists()


# Several approvers


def test_as_many_persons_approve_as_the_policy_asks_for(cast: Cast, submit: Callable[[], CertificateRequest]) -> None:
    policy_with(approvers=2)
    row = submit()
    assert approve(row, user=cast["approver"], digest=row.digest).state == S.AWAITING_APPROVAL
    assert events(row) == ["submitted", "endorsed"]
    walk([row.pk])
    assert not Certificate.objects.exists()
    with pytest.raises(Conflict, match="have approved"):
        approve(row, user=cast["approver"], digest=row.digest)
    twin = person("twin", "approver", email="approver@example.org")  # the same person's other account
    with pytest.raises(Conflict, match="have approved"):
        approve(row, user=twin, digest=row.digest)
    assert approve(row, user=cast["veteran"], digest=row.digest).state == S.APPROVED
    assert events(row) == ["submitted", "endorsed", "approved"]
    walk([row.pk])
    assert Certificate.objects.get().common_name == "*.apps.example.com"
    comparison = Comparison()
    approvals(list(Approval.objects.all()), comparison)
    assert comparison.problems == []


def test_mail_of_an_approval_names_all_whose_approval_counts(cast: Cast, submit: Callable[[], CertificateRequest]) -> None:
    policy_with(approvers=2)
    row = submit()
    approve(row, user=cast["approver"], digest=row.digest)
    cast["approver"].groups.clear()
    approve(row, user=cast["veteran"], digest=row.digest)
    approve(row, user=cast["root"], digest=row.digest)
    mail = OutgoingMail.objects.get(topic=Topic.DECISION)
    assert "was approved by veteran and root." in mail.body
    assert "was approved by veteran and root<" in mail.html
    assert (mail.bundle_line or {})["why"] == "By veteran and root"


def test_one_rejection_ends_it_whoever_has_approved(cast: Cast, submit: Callable[[], CertificateRequest]) -> None:
    policy_with(approvers=2)
    row = submit()
    approve(row, user=cast["approver"], digest=row.digest)
    assert reject(row, user=cast["veteran"], digest=row.digest, comment="No.").state == S.REJECTED


def test_an_approval_of_somebody_who_may_not_approve_any_more_does_not_count(cast: Cast, submit: Callable[[], CertificateRequest]) -> None:
    policy_with(approvers=2)
    row = submit()
    approve(row, user=cast["approver"], digest=row.digest)
    cast["approver"].groups.clear()
    assert approve(row, user=cast["veteran"], digest=row.digest).state == S.AWAITING_APPROVAL
    assert approve(row, user=cast["root"], digest=row.digest).state == S.APPROVED


def test_a_stricter_policy_counts_for_what_was_approved_and_is_not_signed_yet(cast: Cast, row: CertificateRequest) -> None:
    approve(row, user=cast["approver"], digest=row.digest)
    policy_with(approvers=2)
    walk([row.pk])
    row.refresh_from_db()
    assert (row.state, Certificate.objects.count()) == (S.REJECTED, 0)


def test_what_was_approved_is_not_signed_with_another_content(cast: Cast, row: CertificateRequest) -> None:
    approve(row, user=cast["approver"], digest=row.digest)
    CertificateRequest.objects.filter(pk=row.pk).update(digest="0" * 64)
    walk([row.pk])
    row.refresh_from_db()
    assert (row.state, Certificate.objects.count()) == (S.REJECTED, 0)


# Deputies


def test_a_deputy_gets_the_mails_of_who_is_away_until_the_day(cast: Cast, row: CertificateRequest) -> None:
    until = database_now().date() + timedelta(days=3)
    name_deputy(cast["approver"], username="veteran", until=until.isoformat())
    assert sorted(approvers_of(row).people.values()) == ["root@example.org", "veteran@example.org"]
    assert subjects_to("veteran")[-1].startswith("You stand in for approver until ")
    Deputy.objects.update(until=database_now() - HOUR)
    assert "approver@example.org" in approvers_of(row).people.values()


def test_a_deputy_who_may_not_decide_it_stands_in_for_nobody(cast: Cast, make_spec: MakeSpec) -> None:
    cast.web.members.add(cast["veteran"])
    name_deputy(cast["approver"], username="veteran", until=database_now().date().isoformat())
    (own,) = submit_many([make_spec("*.own.example.com")], requester=cast.requester("veteran"))
    assert sorted(approvers_of(own).people.values()) == ["approver@example.org", "root@example.org"]
    cast["veteran"].groups.clear()  # no approver any more
    (other,) = submit_many([make_spec("*.b.example.com")], requester=cast.requester("requester"))
    assert "approver@example.org" in approvers_of(other).people.values()


def test_two_who_name_each_other_both_get_the_mails(cast: Cast, row: CertificateRequest) -> None:
    cast["root"].is_superuser = False
    cast["root"].save()
    today = database_now().date().isoformat()
    name_deputy(cast["approver"], username="veteran", until=today)
    name_deputy(cast["veteran"], username="approver", until=today)
    assert len(approvers_of(row).people) == 2


def test_naming_a_deputy_is_recorded_and_ends_the_one_before(cast: Cast) -> None:
    today = database_now().date().isoformat()
    name_deputy(cast["approver"], username="veteran", until=today)
    name_deputy(cast["approver"], username="root", until=today)
    found = deputy_of(cast["approver"])
    assert found is not None
    assert found.deputy == cast["root"]
    assert (end_deputy(cast["approver"]), end_deputy(cast["approver"])) == (True, False)
    log = AuditEvent.objects.filter(event__startswith="deputy:").order_by("subject_seq").values_list("event", "actor_name")
    assert list(log) == [(f"deputy:{what}", "approver") for what in ("named", "ended", "named", "ended")]


@pytest.mark.parametrize(
    ("deputy", "until", "field"),
    [
        ("requester", "today", "deputy"),
        ("missing", "today", "deputy"),
        ("approver", "today", "deputy"),
        ("veteran", "yesterday", "until"),
        ("veteran", "2199-01-01", "until"),
        ("veteran", "nonsense", "until"),
        ("veteran", "", "until"),
    ],
)
def test_what_is_no_deputy_or_no_day_is_refused_beside_its_field(cast: Cast, deputy: str, until: str, field: str) -> None:
    today = database_now().date()
    day = {"today": today.isoformat(), "yesterday": (today - DAY).isoformat()}.get(until, until)
    with pytest.raises(InputRefused) as refused:
        name_deputy(cast["approver"], username=deputy, until=day)
    assert refused.value.field == field
    with pytest.raises(NotPermitted):
        name_deputy(cast["officer"], username="veteran", until=day)


# Races


def at_once(*acts: Callable[[], Any]) -> list[str]:
    """Run acts at the same moment; return what became of each."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    start, ended = threading.Barrier(len(acts)), []

    def run(act: Callable[[], Any]) -> None:
        start.wait()
        try:
            act()
            ended.append("done")
        except PortalError as exc:
            ended.append(type(exc).__name__)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[act]) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(ended)


def test_two_approvers_at_once_count_once_each(cast: Cast, submit: Callable[[], CertificateRequest]) -> None:
    policy_with(approvers=2)
    row = submit()
    found = at_once(*(lambda name=name: approve(row, user=cast[name], digest=row.digest) for name in ("approver", "veteran")))
    assert found == ["done", "done"]
    assert events(row) == ["submitted", "endorsed", "approved"]


def test_a_form_that_is_sent_twice_at_once_is_one_approval(cast: Cast, submit: Callable[[], CertificateRequest]) -> None:
    policy_with(approvers=2)
    row = submit()
    found = at_once(*(lambda: approve(row, user=cast["approver"], digest=row.digest) for _ in range(2)))
    assert found == ["Conflict", "done"]
    assert events(row) == ["submitted", "endorsed"]


def test_approval_and_withdrawal_at_once_leave_one_decision(cast: Cast, row: CertificateRequest) -> None:
    found = at_once(
        lambda: approve(row, user=cast["approver"], digest=row.digest),
        lambda: cancel(row, authority=cast.authority("requester")),
    )
    row.refresh_from_db()
    # An approved request may still be withdrawn; one that is withdrawn is not approved.
    assert row.state == S.CANCELLED
    assert events(row) in (["submitted", "cancelled"], ["submitted", "approved", "cancelled"])
    assert found in (["Conflict", "done"], ["done", "done"])


def test_approval_and_end_of_the_time_at_once_leave_one_decision(cast: Cast, row: CertificateRequest) -> None:
    overdue(row)
    found = at_once(lambda: approve(row, user=cast["approver"], digest=row.digest), let_lapse, let_lapse)
    row.refresh_from_db()
    assert (found, row.state) == (["Conflict", "done", "done"], S.REJECTED)
    assert events(row) == ["submitted", "lapsed"]
    assert OutgoingMail.objects.filter(subject__startswith="Lapsed: ").count() == 1
