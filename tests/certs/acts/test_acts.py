"""Acts on many certificates: what is selected stays fixed, each line is done once and alone, with the rights of that moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client

from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.acts import work
from certs.acts.control import cancel_act, digest_of, pause_act, resume_act, retry_act, submit_act
from certs.acts.drafting import KEPT, choose_options, draft_act, forget_drafts
from certs.acts.progress import summary_of, tally_of
from certs.bulk.submit import submit_order
from certs.errors import Conflict, CSRRefused, InputRefused, NotFound, NotPermitted
from certs.models import (
    BulkAct,
    BulkActLine,
    Certificate,
    CertificateRequest,
    InstalledPlace,
    OutgoingMail,
    Revocation,
    Team,
)
from certs.spec import CertificateSpec
from tests.cast import Cast
from tests.certs.bulk.orders import drafted, work_off_all
from tests.certs.inventory.estate import Estate
from tests.certs.x509.csr.test_pasted_secrets import SECRETS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
DAY = timedelta(days=1)


@pytest.fixture
def estate(cast: Cast, make_spec: Callable[..., CertificateSpec]) -> list[Certificate]:
    """Thirty certificates of team web that end in three months, and one of team other."""
    requester = cast.requester("requester")
    submit_order(drafted([make_spec("template.example.com")], requester), authority=requester.authority)
    work_off_all()
    template = Certificate.objects.select_related("request").get()
    made = Estate(template)
    for number in range(29):
        made.add(name=f"n{number:02}.example.com")
    made.add(name="foreign.other.test", team=cast.other)
    made.save()
    return list(Certificate.objects.order_by("pk"))


def ready(authority: Authority, kind: str, options: dict[str, str], **selected: Any) -> BulkAct:
    act = draft_act(kind, authority=authority, **selected)
    return choose_options(act, options, authority=authority)


def begin(act: BulkAct, authority: Authority) -> BulkAct:
    waiting = tally_of(act).waiting
    return submit_act(act, authority=authority, shown=digest_of(act), typed=str(waiting))


def outcomes(act: BulkAct) -> dict[str, int]:
    tally = tally_of(act)
    return {name: count for name in tally.__dataclass_fields__ if (count := getattr(tally, name))}


def events(act: BulkAct) -> list[str]:
    found = AuditEvent.objects.filter(subject=act.subject).order_by("subject_seq")
    return list(found.values_list("event", flat=True))


SUPERSEDED = {"reason": "superseded", "comment": "moved"}


def test_all_of_a_view_are_revoked_and_nothing_that_enters_it_later(estate: list[Certificate], cast: Cast) -> None:
    officer = cast.authority("officer")
    act = ready(officer, "revoke", SUPERSEDED, query={"q": "n0", "state": "valid"})
    more = Estate(estate[0], begin=100)
    late = more.add(name="n00.late.example.com")
    more.save()
    assert (act.total, outcomes(act)) == (10, {"waiting": 10})
    assert begin(act, officer).state == "running"
    assert work.work_on(act.pk) == 10
    act.refresh_from_db()
    assert (act.state, outcomes(act)) == ("done", {"done": 10})
    assert not Revocation.objects.filter(certificate=late).exists()
    reasons = Revocation.objects.values_list("reason", "comment", "requested_by").distinct()
    assert list(reasons) == [("superseded", "moved", "officer")]
    assert events(act) == ["act:submitted", "act:completed"]
    asked = AuditEvent.objects.filter(event="certificate:revocation_requested")
    assert asked.count() == 10


def test_the_preview_says_what_is_left_out_and_why(estate: list[Certificate], cast: Cast) -> None:
    requester = cast.authority("requester")
    expired, revoked = estate[1], estate[2]
    Certificate.objects.filter(pk=expired.pk).update(not_after=datetime.now(UTC) - DAY)
    begin(ready(requester, "revoke", SUPERSEDED, chosen=[revoked.cert_id]), requester)
    work.work_on(BulkAct.objects.get().pk)
    InstalledPlace.objects.create(certificate=estate[3], host="n02.example.com", port=443, asked_at=datetime.now(UTC), served=estate[3])
    chosen = [row.cert_id for row in estate[:5]] + [estate[-1].cert_id, "cert-nonsense"]
    act = ready(requester, "revoke", SUPERSEDED, chosen=chosen)
    assert (act.total, outcomes(act)) == (5, {"waiting": 3, "left_out": 2})  # the foreign one is not even seen
    seen = summary_of(act, authority=requester)
    assert [str(place) for place in seen.places] == ["n02.example.com:443"]
    assert seen.teams == [("Web", 3)]
    assert {reason for reason, _ in seen.reasons} == {
        act.lines.get(certificate=expired).reason,
        "It is revoked already, as superseded.",
    }
    again = choose_options(act, {"reason": "keyCompromise"}, authority=requester)
    assert outcomes(again) == {"waiting": 5}  # it may be added to what is expired or revoked


def test_a_double_click_begins_once_and_another_preview_is_refused(estate: list[Certificate], cast: Cast) -> None:
    requester = cast.authority("requester")
    act = ready(requester, "add_tag", {"tag": "shop"}, query={"q": "n"})
    shown = digest_of(act)
    with pytest.raises(InputRefused) as refused:
        submit_act(act, authority=requester, shown=shown, typed="28")
    assert (refused.value.field, tally_of(act).waiting) == ("typed", 29)
    choose_options(act, {"tag": "web"}, authority=requester)  # in another tab
    with pytest.raises(Conflict, match="preview has changed"):
        submit_act(act, authority=requester, shown=shown, typed="29")
    act.refresh_from_db()
    for _ in range(2):
        assert submit_act(act, authority=requester, shown=digest_of(act), typed="29").state == "running"
    assert events(act) == ["act:submitted"]
    with pytest.raises(Conflict):
        choose_options(act, {"tag": "shop"}, authority=requester)
    for who in ("colleague", "officer"):
        with pytest.raises(NotFound):
            submit_act(act, authority=cast.authority(who), shown="", typed="")


def test_owner_and_tags_change_on_each(estate: list[Certificate], cast: Cast) -> None:
    officer = cast.authority("officer")
    act = ready(officer, "owner", {"owner": "colleague"}, query={})
    assert outcomes(act) == {"waiting": 30, "left_out": 1}
    assert act.lines.get(outcome="left_out").reason == "colleague is no member of team Other."
    begin(act, officer)
    work.work_on(act.pk)
    assert Certificate.objects.filter(owner=cast["colleague"]).count() == 30
    for kind, tags in (("add_tag", " shop "), ("remove_tag", "")):
        act = ready(officer, kind, {"tag": "Shop"}, query={"owner": "colleague"})
        begin(act, officer)
        work.work_on(act.pk)
        assert outcomes(act) == {"done": 30}
        assert set(Certificate.objects.filter(owner=cast["colleague"]).values_list("tags", flat=True)) == {tags}
    assert outcomes(ready(officer, "remove_tag", {"tag": "shop"}, query={"owner": "colleague"})) == {"left_out": 30}


def test_each_is_renewed_once(estate: list[Certificate], cast: Cast) -> None:
    requester = cast.authority("requester")
    act = draft_act("renew", authority=requester, chosen=[row.cert_id for row in estate[:3]])
    assert outcomes(act) == {"waiting": 3}
    begin(act, requester)
    work.work_on(act.pk)
    renewals = CertificateRequest.objects.filter(renewed_from__isnull=False)
    assert (outcomes(act), renewals.count()) == ({"done": 3}, 3)
    assert set(act.lines.values_list("result", flat=True)) == set(renewals.values_list("public_id", flat=True))
    again = draft_act("renew", authority=requester, chosen=[row.cert_id for row in estate[:3]])
    assert outcomes(again) == {"left_out": 3}
    assert "renewed already" in again.lines.order_by("number")[0].reason


def test_rights_are_those_of_the_moment_of_each_line(estate: list[Certificate], cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    requester = cast.authority("requester")
    act = begin(ready(requester, "revoke", SUPERSEDED, query={"q": "n0"}), requester)
    do = work.do_line
    count: list[int] = []

    def leaves_after_four(act_id: int, line_id: int) -> bool:
        if len(count) == 4:
            cast.web.members.remove(cast["requester"])
        count.append(line_id)
        return do(act_id, line_id)

    monkeypatch.setattr(work, "do_line", leaves_after_four)
    work.work_on(act.pk)
    assert outcomes(act) == {"done": 4, "refused": 6}
    assert Revocation.objects.count() == 4
    reasons = act.lines.filter(outcome="refused").values_list("reason", flat=True).distinct()
    assert list(reasons) == ["requester, who ordered this, may not act for team Web any more."]


def test_an_act_whose_person_has_left_does_nothing_more_and_says_why(estate: list[Certificate], cast: Cast, settings: Any) -> None:
    settings.PKI_OPERATOR_EMAILS = ["operators@example.org"]
    requester = cast.authority("requester")
    acts = [
        begin(ready(requester, kind, options, query={"q": "n0"}), requester)
        for kind, options in (("revoke", SUPERSEDED), ("add_tag", {"tag": "shop"}), ("renew", {}))
    ]
    get_user_model().objects.filter(pk=cast["requester"].pk).update(is_active=False)
    for act in acts:
        work.work_on(act.pk)
        act.refresh_from_db()
        assert (act.state, outcomes(act)) == ("done", {"refused": 10})
        reasons = act.lines.values_list("reason", flat=True).distinct()
        assert list(reasons) == ["The account of requester, who ordered this, is closed."]
    assert not Revocation.objects.exists()
    assert not CertificateRequest.objects.filter(renewed_from__isnull=False).exists()
    mails = OutgoingMail.objects.filter(topic="act")
    assert set(mails.values_list("recipient", flat=True)) == {"operators@example.org"}
    assert mails.count() == len(acts)


def test_the_end_of_an_act_is_mailed_to_the_person_with_numbers_reasons_and_a_link(estate: list[Certificate], cast: Cast) -> None:
    requester = cast.authority("requester")
    act = begin(ready(requester, "add_tag", {"tag": "shop"}, query={"q": "n0"}), requester)
    Certificate.objects.filter(pk=estate[3].pk).update(team=cast.other)
    work.work_on(act.pk)
    mail = OutgoingMail.objects.get(topic="act")
    assert (mail.recipient, mail.subject) == ("requester@example.org", "Add tag: 9 of 10 certificates done")
    line = act.lines.get(outcome="refused")
    for part in (mail.body, mail.html):
        assert f"/certificates/acts/{act.public_id}/" in part
        assert line.reason in part
    assert "Refused:         1" in mail.body
    assert work.work_on(act.pk) == 0
    assert OutgoingMail.objects.filter(topic="act").count() == 1


def test_an_act_that_somebody_else_cancels_is_mailed_and_ones_own_is_not(estate: list[Certificate], cast: Cast) -> None:
    requester = cast.authority("requester")
    for who, mails in (("requester", 0), ("officer", 1)):
        act = begin(ready(requester, "add_tag", {"tag": who}, query={"q": "n0"}), requester)
        cancel_act(act, authority=cast.authority(who))
        assert OutgoingMail.objects.filter(topic="act").count() == mails


def test_a_line_that_fails_in_an_unforeseen_way_fails_alone(estate: list[Certificate], cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    requester = cast.authority("requester")
    act = begin(ready(requester, "add_tag", {"tag": "shop"}, query={"q": "n0"}), requester)
    broken, does = estate[3].pk, work.act_on

    def fails(one: BulkAct, certificate_id: int) -> Any:
        done = does(one, certificate_id)
        if certificate_id == broken:
            with connection.cursor() as cursor:
                cursor.execute("SELECT nonsense FROM nowhere")
        return done

    monkeypatch.setattr(work, "act_on", fails)
    work.work_on(act.pk)
    assert outcomes(act) == {"done": 9, "failed": 1}
    line = act.lines.get(outcome="failed")
    assert (line.certificate_id, line.tries) == (broken, work.MOST_TRIES)
    assert Certificate.objects.get(pk=broken).tags == ""  # undone together with its line
    monkeypatch.setattr(work, "act_on", does)
    assert retry_act(act, authority=requester) == 1
    work.work_on(act.pk)
    assert outcomes(act) == {"done": 10}


def test_a_worker_that_dies_leaves_its_line_and_the_sweeper_begins_again(
    estate: list[Certificate], cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    requester = cast.authority("requester")
    act = begin(ready(requester, "revoke", SUPERSEDED, query={"q": "n0"}), requester)
    does = work.act_on
    died: list[int] = []

    def dies(one: BulkAct, certificate_id: int) -> Any:
        done = does(one, certificate_id)
        if certificate_id == estate[4].pk:
            died.append(certificate_id)
            raise MemoryError  # before the commit, as a kill would be
        return done

    monkeypatch.setattr(work, "act_on", dies)
    asked: list[int] = []
    monkeypatch.setattr(work, "ask_worker", asked.append)
    with pytest.raises(MemoryError):
        work.work_on(act.pk)
    assert outcomes(act) == {"done": 3, "waiting": 7}
    assert work.restart_stalled() == 0  # it has a message of its own
    BulkAct.objects.filter(pk=act.pk).update(submitted_at=datetime.now(UTC) - 2 * work.LEASE, worked_at=None)
    assert (work.restart_stalled(), asked) == (1, [act.pk])
    for _ in range(2):
        with pytest.raises(MemoryError):
            work.work_on(act.pk)
    work.work_on(act.pk)
    assert outcomes(act) == {"done": 9, "failed": 1}  # lost three workers
    assert len(died) == 3
    assert not Revocation.objects.filter(certificate=estate[4]).exists()


def test_one_worker_is_at_an_act_and_a_pause_holds(estate: list[Certificate], cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    requester, officer = cast.authority("requester"), cast.authority("officer")
    act = begin(ready(requester, "add_tag", {"tag": "shop"}, query={"q": "n0"}), requester)
    do = work.do_line
    second: list[int] = []

    def beside(act_id: int, line_id: int) -> bool:
        second.append(work.work_on(act_id))  # another worker with the same message
        if len(second) == 4:
            pause_act(act, authority=officer)
        return do(act_id, line_id)

    monkeypatch.setattr(work, "do_line", beside)
    work.work_on(act.pk)
    assert (outcomes(act), set(second)) == ({"done": 3, "waiting": 7}, {0})
    assert work.work_on(act.pk) == 0
    with pytest.raises(NotPermitted):
        resume_act(act, authority=requester)
    monkeypatch.setattr(work, "do_line", do)
    resume_act(act, authority=officer)
    BulkActLine.objects.filter(act=act, outcome="waiting", number__gt=5).update(outcome="cancelled")
    work.work_on(act.pk)
    assert outcomes(act) == {"done": 5, "cancelled": 5}
    assert events(act) == ["act:submitted", "act:paused", "act:resumed", "act:completed"]


def test_the_rest_can_be_cancelled(estate: list[Certificate], cast: Cast) -> None:
    requester = cast.authority("requester")
    act = begin(ready(requester, "add_tag", {"tag": "shop"}, query={"q": "n0"}), requester)
    for who in ("colleague", "auditor"):
        with pytest.raises(NotPermitted):
            cancel_act(act, authority=cast.authority(who))
    assert cancel_act(act, authority=requester).state == "cancelled"
    assert (work.work_on(act.pk), outcomes(act)) == (0, {"cancelled": 10})
    with pytest.raises(Conflict):
        resume_act(act, authority=requester)


@pytest.mark.parametrize(
    ("kind", "options", "field"),
    [
        ("revoke", {}, "reason"),
        ("revoke", {"reason": "banana"}, "reason"),
        ("revoke", {"reason": "cACompromise"}, "reason"),
        ("owner", {"owner": ""}, "owner"),
        ("owner", {"owner": "nemo"}, "owner"),
        ("add_tag", {"tag": " "}, "tags"),
        ("add_tag", {"tag": "<b>"}, "tags"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_name(
    estate: list[Certificate], cast: Cast, kind: str, options: dict[str, str], field: str
) -> None:
    requester = cast.authority("requester")
    act = draft_act(kind, authority=requester, query={"q": "n0"})
    with pytest.raises(InputRefused) as refused:
        choose_options(act, options, authority=requester)
    assert refused.value.field == field
    act.refresh_from_db()
    with pytest.raises(Conflict):  # a draft without options cannot be submitted
        submit_act(act, authority=requester, shown=digest_of(act), typed="10")


def test_a_secret_in_a_comment_is_kept_nowhere(estate: list[Certificate], cast: Cast) -> None:
    requester = cast.authority("requester")
    act = draft_act("revoke", authority=requester, query={"q": "n0"})
    with pytest.raises(CSRRefused):
        choose_options(act, {"reason": "superseded", "comment": SECRETS["pkcs8"][0].decode()[:400]}, authority=requester)
    act.refresh_from_db()
    assert act.options == {}


def test_nothing_and_too_much_are_refused(estate: list[Certificate], cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    requester = cast.authority("requester")
    for selected in ({}, {"chosen": ["cert-0"]}, {"query": {"q": "nothing-has-it"}}):
        with pytest.raises(InputRefused):
            draft_act("renew", authority=requester, **selected)
    monkeypatch.setattr("certs.acts.drafting.MOST_LINES", 5)
    with pytest.raises(InputRefused, match="more than 5"):
        draft_act("renew", authority=requester, query={})
    with pytest.raises(InputRefused):
        draft_act("destroy", authority=requester, query={})
    with pytest.raises(NotPermitted):
        draft_act("renew", authority=cast.authority("auditor"), query={})
    assert not BulkAct.objects.exists()


def test_drafts_that_nobody_submits_are_forgotten(estate: list[Certificate], cast: Cast) -> None:
    requester = cast.authority("requester")
    old, begun = (ready(requester, "add_tag", {"tag": "shop"}, query={"q": "n0"}) for _ in range(2))
    begin(begun, requester)
    BulkAct.objects.update(created_at=datetime.now(UTC) - KEPT - DAY)
    assert forget_drafts() == 1
    assert list(BulkAct.objects.all()) == [begun]
    assert not BulkActLine.objects.filter(act=old.pk).exists()


def test_pages_lead_from_the_selection_to_the_last_line(estate: list[Certificate], cast: Cast, client: Client) -> None:
    client.force_login(cast["officer"])
    page = client.get("/certificates/?key=ec-p256")
    assert 'name="all" value="yes"' in page.content.decode()
    page = client.post("/certificates/acts/", {"act": "revoke", "all": "yes", "query": "key=ec-p256"}, follow=True)
    path = page.redirect_chain[0][0]
    assert "What happened?" in page.content.decode()
    assert client.post(path, {"reason": "banana"}).status_code == 422
    preview = client.post(path, {"reason": "superseded"}, follow=True)
    assert "Type the number of certificates, 31" in preview.content.decode()
    shown = preview.context["shown"]
    wrong = client.post(f"{path}submit/", {"shown": shown, "typed": "3"})
    assert (wrong.status_code, 'value="3"' in wrong.content.decode()) == (422, True)
    page = client.post(f"{path}submit/", {"shown": shown, "typed": "31"}, follow=True)
    assert page.context["tally"].waiting == 31
    work.work_on(BulkAct.objects.get().pk)
    assert client.get(f"{path}live/").context["every"] == ""
    assert client.get(f"{path}?show=done&after=20").context["tally"].done == 31
    assert "31 of 31" in client.get("/certificates/acts/").content.decode()
    client.force_login(cast["auditor"])
    page = client.get(path)
    assert (page.status_code, page.context["may_retry"]) == (200, False)
    assert "Revoke</button>" not in client.get("/certificates/").content.decode()
    client.force_login(cast["requester"])
    assert client.get(path).status_code == 404


def test_a_team_of_the_act_is_named_by_its_number(estate: list[Certificate], cast: Cast) -> None:
    officer = cast.authority("officer")
    Team.objects.create(slug="third", name="Third")
    act = ready(officer, "revoke", SUPERSEDED, query={})
    assert summary_of(act, authority=officer).teams == [("Web", 30), ("Other", 1)]
    key = ready(officer, "revoke", {"reason": "keyCompromise"}, chosen=[estate[0].cert_id])
    assert summary_of(key, authority=officer).others_on_keys == 30  # copies of one certificate have one key
