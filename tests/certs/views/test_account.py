"""A person's own account: password, time zone, sessions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from audit.models import AuditEvent
from certs.access.sessions import browser_of
from certs.models import ApiToken, SignedInSession
from certs.schedules.clean_up import delete_ended_sessions
from db.clock import database_now
from tests.portal.fixtures import PASSWORD, Portal

pytestmark = [pytest.mark.django_db(transaction=True)]

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
EDGE = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36 Edg/130.0"
NEW = "four blue doors open"


def signed_in(agent: str = FIREFOX, password: str = PASSWORD) -> Client:
    client = Client(headers={"User-Agent": agent})
    answer = client.post("/login/", {"username": "alice", "password": password})
    assert answer.status_code == 302
    return client


def password_form(old: str = PASSWORD, new: str = NEW, again: str = NEW) -> dict[str, str]:
    return {"do": "password", "old_password": old, "new_password1": new, "new_password2": again}


def works(client: Client) -> bool:
    return client.get("/account/").status_code == 200


def test_new_password_keeps_this_session_and_ends_the_others_and_the_tokens(portal: Portal) -> None:
    """B31: nobody but staff could change a password."""
    portal.token()
    here, there = signed_in(), signed_in(EDGE)
    answer = here.post("/account/", password_form(), follow=True)
    assert "Your password is changed." in answer.content.decode()
    assert (works(here), works(there)) == (True, False)
    assert ApiToken.objects.filter(revoked_at=None).count() == 0
    assert works(signed_in(password=NEW))
    event = AuditEvent.objects.filter(event="user:changed").latest("pk")
    assert (event.actor_name, NEW in str(event.data)) == ("alice", False)
    assert "this one" in here.get("/account/").content.decode()


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (password_form(old="wrong"), "Your old password was entered incorrectly"),
        (password_form(again="another one entirely"), "didn’t match"),
        (password_form(new="alice", again="alice"), "too"),
    ],
)
def test_password_that_cannot_be_changed_says_why_beside_its_field(portal: Portal, form: dict[str, str], words: str) -> None:
    client = signed_in()
    answer = client.post("/account/", form)
    text = answer.content.decode()
    assert answer.status_code == 422
    assert 'class="field-error"' in text
    assert words in text
    assert form["new_password1"] not in text.replace("alice", "", 3) or form["new_password1"] == "alice"
    assert works(signed_in())


def test_guessing_the_old_password_ends_after_some_tries(portal: Portal) -> None:
    client = signed_in()
    answers = [client.post("/account/", password_form(old=f"wrong {n}")).status_code for n in range(7)]
    assert answers[0] == 422
    assert answers[-1] == 429
    assert client.post("/account/", password_form()).status_code == 429
    portal.alice.refresh_from_db()
    assert portal.alice.check_password(PASSWORD)


def test_times_are_shown_in_the_zone_that_a_person_chose(portal: Portal) -> None:
    client = signed_in()
    token = ApiToken.objects.filter(pk__gt=0)
    portal.token()
    token.update(expires_at=database_now().replace(year=2027, month=1, day=15, hour=12, minute=30))
    assert "15 Jan 2027 12:30 UTC" in client.get("/tokens/").content.decode()
    client.post("/account/", {"do": "zone", "time_zone": "Asia/Kolkata"})
    text = client.get("/tokens/").content.decode()
    assert ">15 Jan 2027 18:00 IST</time>" in text
    assert 'title="2027-01-15 12:30:' in text
    assert "<option selected>Asia/Kolkata</option>" in client.get("/account/").content.decode()


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../../etc/passwd", "posixrules"])
def test_zone_that_does_not_exist_is_refused(portal: Portal, zone: str) -> None:
    assert signed_in().post("/account/", {"do": "zone", "time_zone": zone}).status_code == 422


def test_sessions_are_listed_and_one_is_ended(portal: Portal) -> None:
    here, there = signed_in(), signed_in(EDGE)
    text = here.get("/account/").content.decode()
    assert "Firefox on Linux" in text
    assert "Edge on Windows" in text
    other = SignedInSession.objects.get(browser="Edge on Windows")
    here.post("/account/", {"do": "end", "session": other.pk})
    assert (works(here), works(there)) == (True, False)
    assert "Edge on Windows" not in here.get("/account/").content.decode()


def test_sessions_of_another_person_are_not_ended(portal: Portal) -> None:
    here = signed_in()
    mine = SignedInSession.objects.get()
    bob = Client()
    bob.force_login(portal.bob)
    bob.post("/account/", {"do": "end", "session": mine.pk})
    bob.post("/account/", {"do": "end-others"})
    assert works(here)


def test_a_password_that_is_changed_in_the_admin_keeps_this_session_in_the_list(portal: Portal) -> None:
    portal.alice.is_staff = True
    portal.alice.save()
    here, there = signed_in(), signed_in(EDGE)
    form = password_form() | {"do": ""}
    assert here.post("/admin/password_change/", form).status_code == 302
    assert (works(here), works(there)) == (True, False)
    assert [row.key for row in SignedInSession.objects.all()] == [here.session.session_key]


def test_all_other_sessions_end_those_that_are_not_listed_too(portal: Portal) -> None:
    unlisted = Client()
    unlisted.force_login(get_user_model().objects.get(username="alice"))
    there, here = signed_in(EDGE), signed_in()
    here.post("/account/", {"do": "end-others"})
    assert [works(client) for client in (here, there, unlisted)] == [True, False, False]


def test_session_is_forgotten_when_its_person_signs_out_or_it_expires(portal: Portal) -> None:
    client = signed_in()
    client.post("/logout/")
    assert not SignedInSession.objects.exists()
    client = signed_in()
    client.session.delete()
    assert delete_ended_sessions() == 1


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        (EDGE, "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605 Version/19.0 Safari/604.1", "Safari on iPhone"),
        ("curl/7.88.1", "curl"),
        ("<script>alert(1)</script>", "An unknown program"),
        ("", "An unknown program"),
    ],
)
def test_browser_is_named_in_words(agent: str, words: str) -> None:
    assert browser_of(agent) == words


def test_unknown_action_is_refused(portal: Portal) -> None:
    assert signed_in().post("/account/", {"do": "promote"}).status_code == 422


def test_moment_has_its_distance_and_utc(portal: Portal, rf: Any) -> None:
    from django.template import Context, Template  # noqa: PLC0415 - of this test alone

    now = database_now().replace(year=2026, month=11, day=1, hour=8, minute=0, second=0, microsecond=0)
    template = Template("{% load when %}{% when moment %}|{% when moment 'day' %}|{% at moment 'second' %}|{% when nothing %}")
    text = template.render(Context({"moment": now + timedelta(days=28), "now": now, "nothing": None}))
    whole, day, second, empty = text.split("|")
    assert 'datetime="2026-11-29T08:00:00+00:00"' in whole
    assert 'title="2026-11-29 08:00:00 UTC">29 Nov 2026 08:00 UTC</time>' in whole
    assert "(in 28 days)" in whole
    assert ">29 Nov 2026</time>" in day
    assert ">29 Nov 2026 08:00:00 UTC</time>" in second
    assert "in 28" not in second
    assert empty == ""
