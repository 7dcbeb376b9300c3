"""What an act shows, and to whom: with the rights of the moment at which somebody looks."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from django.test import Client
from django.urls import reverse

from audit.models import AuditEvent
from certs.acts import work
from certs.acts.control import cancel_act, pause_act, resume_act, retry_act
from certs.acts.drafting import choose_options, draft_act
from certs.acts.progress import summary_of
from certs.errors import InputRefused, NotPermitted
from certs.models import BulkAct, Certificate, CertificateRequest, InstalledPlace, OutgoingMail, Revocation
from db.clock import database_now
from tests.cast import Cast
from tests.certs.acts.test_acts import DAY, SUPERSEDED, begin, estate, outcomes, ready

__all__ = ["estate"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def test_who_left_the_team_sees_none_of_its_certificates_in_an_old_act(estate: list[Certificate], cast: Cast, client: Client) -> None:
    requester = cast.authority("requester")
    InstalledPlace.objects.create(certificate=estate[1], host="n00.example.com", port=443, asked_at=database_now(), served=estate[1])
    draft = ready(requester, "revoke", SUPERSEDED, query={"q": "n0"})
    running = begin(ready(requester, "add_tag", {"tag": "shop"}, query={"q": "n0"}), requester)
    client.force_login(cast["requester"])
    pages = [reverse("act", args=[one.public_id]) for one in (draft, running)]
    assert all(estate[1].cert_id in client.get(page).content.decode() for page in pages)
    cast.web.members.remove(cast["requester"])
    cast.other.members.add(cast["requester"])
    for page in pages:
        answer = client.get(page)
        text = answer.content.decode()
        assert (answer.status_code, estate[1].cert_id in text, "n00.example.com" in text) == (200, False, False)
        assert "of a team to which you do not belong any more" in text
    summary = summary_of(draft, authority=cast.authority("requester"))
    assert (summary.teams, summary.places, summary.reasons) == ([], [], [])


def test_certificates_of_other_teams_on_the_same_keys_are_counted_for_those_who_may_see_them(estate: list[Certificate], cast: Cast) -> None:
    for name, others in (("requester", 29), ("officer", 30)):
        authority = cast.authority(name)
        act = ready(authority, "revoke", {"reason": "keyCompromise"}, chosen=[estate[0].cert_id])
        assert summary_of(act, authority=authority).others_on_keys == others


def test_paused_act_of_a_leaver_does_nothing_in_the_leavers_name_whoever_resumes_it(estate: list[Certificate], cast: Cast) -> None:
    requester, officer = cast.authority("requester"), cast.authority("officer")
    act = begin(ready(requester, "revoke", SUPERSEDED, query={"q": "n0"}), requester)
    pause_act(act, authority=requester)
    cast.web.members.remove(cast["requester"])
    for name in ("colleague", "outsider", "approver", "auditor"):
        for control in (pause_act, resume_act, cancel_act, retry_act):
            with pytest.raises(NotPermitted):
                control(act, authority=cast.authority(name))
    for name in ("officer", "operator"):
        resume_act(act, authority=cast.authority(name))
        pause_act(act, authority=officer)
    with pytest.raises(NotPermitted):
        resume_act(act, authority=requester)
    resume_act(act, authority=officer)
    work.work_on(act.pk)
    assert outcomes(act) == {"refused": 10}
    assert not Revocation.objects.exists()
    # What was refused is no failure that could be tried again in the leaver's name.
    assert BulkAct.objects.get(pk=act.pk).state == BulkAct.State.DONE


def test_an_act_tells_nobody_which_accounts_there_are_in_other_teams(estate: list[Certificate], cast: Cast) -> None:
    requester = cast.authority("requester")
    act = draft_act("owner", authority=requester, query={"q": "n0"})
    said = set()
    for name in ("nemo", "outsider", "officer", "nobody"):
        with pytest.raises(InputRefused) as refused:
            choose_options(act, {"owner": name}, authority=requester)
        said.add((refused.value.message.replace(name, "X"), refused.value.next_step, refused.value.field))
    assert len(said) == 1
    assert choose_options(act, {"owner": "colleague"}, authority=requester).options == {"owner": "colleague"}


def test_one_mail_says_how_many_certificates_changed_hands(estate: list[Certificate], cast: Cast) -> None:
    """A mail for each certificate would let one member send a colleague thousands."""
    officer = cast.authority("officer")
    web = [row.pk for row in estate[:30]]
    Certificate.objects.filter(pk__in=web[:10]).update(owner=None)
    Certificate.objects.filter(pk__in=web[10:]).update(owner=cast["requester"])
    act = begin(ready(officer, "owner", {"owner": "colleague"}, query={}), officer)
    work.work_on(act.pk)
    assert outcomes(act) == {"done": 30, "left_out": 1}
    mails = OutgoingMail.objects.filter(topic="ownership")
    assert Counter(mails.values_list("recipient", flat=True)) == {"colleague@example.org": 2, "requester@example.org": 1}
    assert mails.get(recipient="requester@example.org").subject.endswith(" and 17 more now")
    assert AuditEvent.objects.filter(event="certificate:described", actor_name="officer").count() == 30


def test_what_changed_hands_before_somebody_cancelled_is_mailed_too(estate: list[Certificate], cast: Cast) -> None:
    officer = cast.authority("officer")
    act = begin(ready(officer, "owner", {"owner": "colleague"}, query={"q": "n0"}), officer)
    first = act.lines.order_by("number")[0]
    assert work.do_line(act.pk, first.pk)
    assert not OutgoingMail.objects.filter(topic="ownership").exists()
    cancel_act(act, authority=officer)
    mail = OutgoingMail.objects.filter(topic="ownership", recipient="colleague@example.org").get()
    assert first.certificate.common_name in mail.subject


def test_the_page_of_renewals_says_what_became_of_their_requests(estate: list[Certificate], cast: Cast, client: Client) -> None:
    """A line is done when its renewal is requested: 78 that were refused afterwards stood there as done."""
    requester = cast.authority("requester")
    begin(act := draft_act("renew", authority=requester, chosen=[row.cert_id for row in estate[:3]]), requester)
    work.work_on(act.pk)
    first = act.lines.order_by("number")[0]
    CertificateRequest.objects.filter(public_id=first.result).update(state="rejected")
    client.force_login(cast["requester"])
    page = client.get(f"/certificates/acts/{act.public_id}/").content.decode()
    assert "Their requests: 2 being checked, 1 refused." in page
    assert page.count('<span class="quiet">being checked</span>') == 2
    assert page.count('<span class="quiet">refused</span>') == 1


def test_a_preview_counts_those_that_are_left_out_for_the_same_reason_together(estate: list[Certificate], cast: Cast) -> None:
    """Each was a reason of its own, with the id of what renewed it; of more than ten the page was silent."""
    requester = cast.authority("requester")
    chosen = [row.cert_id for row in estate[:12]]
    begin(act := draft_act("renew", authority=requester, chosen=chosen), requester)
    work.work_on(act.pk)
    again = draft_act("renew", authority=requester, chosen=chosen)
    seen = summary_of(again, authority=requester)
    assert (seen.reasons, seen.other_reasons) == ([("It is renewed already.", 12)], 0)
    for number, line in enumerate(again.lines.all()):
        again.lines.filter(pk=line.pk).update(reason=f"Because of {number}.")
    seen = summary_of(again, authority=requester)
    assert (len(seen.reasons), seen.other_reasons) == (10, 2)


def test_certificates_that_cannot_be_revoked_have_one_reason(estate: list[Certificate], cast: Cast) -> None:
    requester = cast.authority("requester")
    ids = [row.pk for row in estate[:4]]
    Certificate.objects.filter(pk__in=ids[:3]).update(not_after=datetime.now(UTC) - DAY)
    act = ready(requester, "revoke", SUPERSEDED, chosen=[row.cert_id for row in estate[:4]])
    assert [number for _, number in summary_of(act, authority=requester).reasons] == [3]
