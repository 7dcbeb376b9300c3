"""The policy's pages: a change in three steps, by two officers, with nothing lost and nothing published unseen."""

from __future__ import annotations

from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape

from audit.log import Actor
from certs.models import OutgoingMail, PolicyReplay
from certs.replay.announcing import publish_and_announce
from certs.replay.jobs import work_on
from certs.views.policy.versions import before_of
from db.clock import database_now
from policy.drafting import draft_version
from policy.errors import PolicyConflict
from policy.models import PolicyVersion, PolicyWaiver
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from tests.cast import Cast, person
from tests.certs.life import SYSTEM
from tests.certs.replay.test_verdicts import estate
from tests.policy.examples import as_sent
from tests.portal.threads import in_thread, until_it_waits_for_a_lock

pytestmark = [pytest.mark.django_db(transaction=True)]


def client_of(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def officer(cast: Cast) -> Client:
    return client_of(cast["officer"])


@pytest.fixture
def second(cast: Cast) -> Client:
    return client_of(person("second", "security officer", email="second@example.org"))


def begun(client: Client) -> PolicyVersion:
    client.post(reverse("policy-new"), {"from": "current"})
    return PolicyVersion.objects.get(state="draft")


def seen(draft: PolicyVersion) -> dict[str, str]:
    """What the page of the last step sends back of what it showed."""
    before = before_of(draft)
    return {"shown": draft.stamp, "before": str(before.pk) if before else ""}


def published(name: str) -> PolicyVersion:
    """A version of somebody else, in force from now on."""
    now = database_now()
    return publish_version(draft_version("default", DEFAULT_V2_3 | {"version": name}, actor=SYSTEM, now=now), actor=SYSTEM, now=now)


def sent(draft: PolicyVersion, **changes: Any) -> dict[str, Any]:
    return as_sent(draft.ruleset) | {"shown": draft.stamp, "do": "next", "note": "Shorter is safer."} | changes


def test_a_change_goes_from_sentence_to_replay_to_a_second_officer(cast: Cast, officer: Client, second: Client) -> None:
    """S3: 200 days from a date, seen before it counts, published by another person, mailed to the teams."""
    estate(cast)
    draft = begun(officer)
    assert draft.version == "v2.4"
    page = officer.get(reverse("policy-edit", args=[draft.pk])).content.decode()
    assert "At most 397 days." in page
    changed = sent(draft, **{"max_validity.schedule.days": ["20"], "defaults.validity_days": "20"})
    changed["max_validity.schedule.from"] = [f"{database_now():%Y-%m-%d}"]
    assert officer.post(reverse("policy-edit", args=[draft.pk]), changed)["Location"] == reverse("policy-effect", args=[draft.pk])
    effect = officer.get(reverse("policy-effect", args=[draft.pk])).content.decode()
    assert "At most 20 days from" in effect
    officer.post(reverse("policy-effect", args=[draft.pk]), {"days": "30"})
    replay = PolicyReplay.objects.get()
    work_on(replay.pk)
    result = officer.get(reverse("policy-replay", args=[replay.public_id])).content.decode()
    assert "get a shorter validity" in result
    listed = officer.get(reverse("policy-replay-list", args=[replay.public_id, "shortened"])).content.decode()
    assert "a.example.com" in listed
    csv = b"".join(officer.get(reverse("policy-replay-csv", args=[replay.public_id, "shortened"])).streaming_content)  # type: ignore[attr-defined]
    assert csv.count(b"Shortened from") == 4
    draft.refresh_from_db()
    publish = reverse("policy-publish", args=[draft.pk])
    assert officer.post(publish, seen(draft)).status_code == 403
    assert "Somebody else publishes it" in officer.get(publish).content.decode()
    assert second.post(publish, seen(draft) | {"shown": "0" * 64}).status_code == 409
    assert second.post(publish, seen(draft))["Location"] == reverse("policy")
    draft.refresh_from_db()
    assert (draft.state, draft.published_by) == ("published", "second")
    mails = OutgoingMail.objects.filter(topic="policy")
    assert mails.count() == len({mail.recipient for mail in mails}) >= 1
    assert "changes 4 certificates of" in mails[0].subject
    assert "a.example.com (valid): shorter validity" in mails[0].body  # which ones: a member of the team sees no replay


def test_each_number_of_a_replay_leads_to_its_list(cast: Cast, officer: Client) -> None:
    """Certificates and requests apart, those that the version changes and all of them, as page and as CSV."""
    estate(cast)
    draft = begun(officer)
    officer.post(reverse("policy-edit", args=[draft.pk]), sent(draft, **{"max_validity.days": "20", "defaults.validity_days": "20"}))
    officer.post(reverse("policy-effect", args=[draft.pk]), {"days": "30"})
    replay = PolicyReplay.objects.get()
    work_on(replay.pk)
    result = officer.get(reverse("policy-replay", args=[replay.public_id])).content.decode()
    replay.refresh_from_db()
    for kind in ("certificates", "requests"):
        for outcome, numbers in replay.summary[kind]["outcomes"].items():
            for name, number in (("total", "all=yes"), ("changed", "")):
                if not numbers[name] or outcome == "passes":
                    continue
                query = f"?kind={kind}{'&' if number else ''}{number}"
                address = reverse("policy-replay-list", args=[replay.public_id, outcome]) + query
                assert f'href="{escape(address)}"' in result, address
                page = officer.get(address).content.decode()
                assert page.count("<tr><td") == numbers[name], address
                assert (">request</div>" in page, ">renewal</div>" in page) == (kind == "requests", kind == "certificates")
                csv_address = reverse("policy-replay-csv", args=[replay.public_id, outcome]) + query
                lines = b"".join(officer.get(csv_address).streaming_content).decode().splitlines()  # type: ignore[attr-defined]
                assert len(lines) == 1 + numbers[name]
    assert replay.summary["requests"]["outcomes"]["refused"]["total"]


def test_unreplayed_draft_is_published_only_knowingly(officer: Client, second: Client) -> None:
    draft = begun(officer)
    publish = reverse("policy-publish", args=[draft.pk])
    assert second.post(publish, seen(draft)).status_code == 422
    assert second.post(publish, seen(draft) | {"unseen": "on"}).status_code == 302


def test_draft_that_follows_another_version_than_was_shown_is_not_published(officer: Client, second: Client) -> None:
    """Another officer's version, published in the meantime, would be undone by rules that nobody compared with it."""
    draft = begun(officer)
    publish = reverse("policy-publish", args=[draft.pk])
    shown = seen(draft) | {"unseen": "on"}
    assert f'name="before" value="{shown["before"]}"' in second.get(publish).content.decode()
    between = published("v2.9")
    answer = second.post(publish, shown)
    assert answer.status_code == 409
    assert "follows default v2.9 by now" in answer.content.decode()
    assert second.post(publish, seen(draft) | {"unseen": "on"}).status_code == 302
    assert PolicyVersion.objects.in_force("default", database_now()).exclude(pk=draft.pk).first() == between


def test_of_two_versions_that_are_published_at_once_the_second_is_read_again(cast: Cast, officer: Client) -> None:
    """It was compared with the version before the first one, and may begin some milliseconds earlier."""
    draft, before, now = begun(officer), PolicyVersion.objects.published().get(), database_now()
    found: list[str] = []

    def publish() -> None:
        try:
            publish_and_announce(draft, replay=None, before=before, user=cast["veteran"], now=now)
        except PolicyConflict as exc:
            found.append(str(exc))

    with transaction.atomic():
        published("v2.9")
        thread = in_thread(publish)
        until_it_waits_for_a_lock()
    thread.join(30)
    assert "v2.9 was published since" in found[0]
    draft.refresh_from_db()
    assert not draft.is_published


def test_every_fault_of_a_form_is_named_and_what_was_typed_is_kept(officer: Client) -> None:
    """B10: an error named one missing field at a time."""
    draft = begun(officer)
    wrong = sent(draft, **{"max_validity.days": "many", "max_names.maximum": "0", "version": "latest", "from_date": "2001-01-01"})
    wrong["max_validity.schedule.from"] = ["2030-01-01"]
    response = officer.post(reverse("policy-edit", args=[draft.pk]), wrong)
    page = response.content.decode()
    assert response.status_code == 422
    for message in ("days must be a whole number", "maximum must be a whole number", "version must look like", "This is over"):
        assert message in page
    assert 'value="latest"' in page
    stored = PolicyVersion.objects.get(pk=draft.pk)
    assert stored.stamp == draft.stamp


class Form(HTMLParser):
    """The fields of a page's largest form, as a browser sends them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sent: dict[str, list[str]] = {}
        self._area = self._select = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name, value = given.get("name") or "", given.get("value") or ""
        if tag == "textarea":
            self._area = name
            self.sent[name] = [""]
        elif tag == "select":
            self._select = name
        elif tag == "option" and "selected" in given:
            self._pick(given.get("value"))
        elif tag == "input" and name and (given.get("type") != "checkbox" or "checked" in given):
            self.sent.setdefault(name, []).append(value if given.get("type") != "checkbox" else value or "on")

    def _pick(self, value: str | None) -> None:
        self.sent[self._select] = [value] if value is not None else []

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._area = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.sent[self._area][0] += data
        elif self._select and self.sent.get(self._select) == []:
            self.sent[self._select] = [data]


def test_form_that_a_browser_sends_unchanged_changes_no_rule(officer: Client) -> None:
    data = DEFAULT_V2_3 | {"version": "v7", "approval": {"approvers": 2, "confirmation": "second_factor"}}
    draft = draft_version("default", data, actor=Actor("user", "officer"), now=database_now())
    form = Form(officer.get(reverse("policy-edit", args=[draft.pk])).content.decode())
    assert form.sent["wildcards.on"] == ["on"]
    assert officer.post(reverse("policy-edit", args=[draft.pk]), form.sent | {"do": ["save"]}).status_code == 302
    assert PolicyVersion.objects.get(pk=draft.pk).digest == draft.digest


def test_second_tab_does_not_undo_the_first(officer: Client) -> None:
    draft = begun(officer)
    assert officer.post(reverse("policy-edit", args=[draft.pk]), sent(draft)).status_code == 302
    refused = officer.post(reverse("policy-edit", args=[draft.pk]), sent(draft, note="other"))
    assert refused.status_code == 409
    assert "was changed since you saw it" in refused.content.decode()


def test_yaml_is_exported_and_imported_and_faults_name_their_lines(officer: Client) -> None:
    draft = begun(officer)
    text = officer.get(reverse("policy-yaml", args=[draft.pk])).content.decode()
    again = officer.post(reverse("policy-new"), {"from": "text", "text": text})
    assert again.status_code == 409  # that version is drafted already, and stays
    imported = text.replace("v2.4", "v7")
    assert officer.post(reverse("policy-new"), {"from": "text", "text": imported}).status_code == 302
    assert PolicyVersion.objects.filter(version="v7", state="draft").exists()
    refused = officer.post(reverse("policy-new"), {"from": "text", "text": text.replace("maximum: 100", "maximum: 0")})
    assert refused.status_code == 422
    assert "rules.max_names.maximum" in refused.content.decode()


def test_steps_of_sc081_become_drafts_with_their_dates(officer: Client, second: Client) -> None:
    officer.post(reverse("policy-new"), {"from": "sc081"})
    drafts = list(PolicyVersion.objects.filter(state="draft").order_by("pk"))
    found = [(f"{one.proposed_from:%Y-%m-%d}" if one.proposed_from else "", one.rules["rules"]["max_validity"]["days"]) for one in drafts]
    assert found == [("", 200), ("2027-03-15", 100), ("2029-03-15", 47)]
    assert [one.rules["approval_valid_days"] for one in drafts] == [200, 100, 10]
    for draft in drafts:
        assert second.post(reverse("policy-publish", args=[draft.pk]), seen(draft) | {"unseen": "on"}).status_code == 302
    page = officer.get(reverse("policy")).content.decode()
    assert page.count("planned</span>") == 2
    planned = drafts[2]
    officer.post(reverse("policy-withdraw", args=[planned.pk]), {"reason": "later"})
    assert "Withdrawn" in officer.get(reverse("policy")).content.decode()


def test_waiver_is_requested_by_one_officer_and_approved_by_another(cast: Cast, officer: Client, second: Client) -> None:
    new = f"{reverse('policy-waiver-new')}?rule=max_names"
    empty = officer.post(new, {"max_names.maximum": "many"})
    assert empty.status_code == 422
    wrong = officer.post(new, {"max_names.maximum": "150", "names": "no name!\n-x-", "reason": "x", "ends": "2099-01-01"})
    assert "no name!" in wrong.content.decode()
    form = {"max_names.maximum": "150", "teams": "web", "reason": "A gateway.", "ends": f"{database_now() + timedelta(days=30):%Y-%m-%d}"}
    assert officer.post(new, form).status_code == 302
    row = PolicyWaiver.objects.get()
    act = reverse("policy-waiver-act", args=[row.pk, "approve"])
    assert officer.post(act, {"shown": row.digest}).status_code == 403
    assert second.post(act, {"shown": "0"}).status_code == 422
    assert second.post(act, {"shown": row.digest}).status_code == 302
    row.refresh_from_db()
    assert (row.approver_id is not None, row.state_at(database_now())) == (True, "active")
    assert "A gateway." in officer.get(reverse("policy-waivers")).content.decode()
    assert officer.post(reverse("policy-waiver-act", args=[row.pk, "end"]), {"reason": "done"}).status_code == 302


def test_time_line_costs_the_same_with_many_versions(officer: Client) -> None:
    """No query per version or draft; where there is no draft, none for drafts."""
    costs = []
    for number in (5, 6):
        for one in range(4):
            data = DEFAULT_V2_3 | {"version": f"v{number}.{one}"}
            draft = draft_version("default", data, actor=Actor("command", "test"), now=database_now())
            if one % 2:
                publish_version(draft, actor=Actor("command", "test"), now=database_now())
        officer.get(reverse("policy"))
        with CaptureQueriesContext(connection) as queries:
            officer.get(reverse("policy"))
        costs.append(len(queries))
    assert costs[0] == costs[1]


def test_secret_typed_into_a_policy_is_refused_and_kept_nowhere(officer: Client) -> None:
    draft = begun(officer)
    secret = "hvs." + "a" * 24
    for name, values in (
        ("policy-edit", sent(draft, note=f"see {secret}")),
        ("policy-edit", sent(draft, do="text", text=f"note: {secret}")),
        ("policy-new", {"from": "text", "text": f"note: {secret}"}),
    ):
        response = officer.post(reverse(name, args=[draft.pk] if name == "policy-edit" else []), values)
        assert (response.status_code, secret in response.content.decode()) == (422, False)
    assert officer.post(f"{reverse('policy-waiver-new')}?rule=max_names", {"reason": secret}).status_code == 422
    assert PolicyVersion.objects.get(state="draft").stamp == draft.stamp
