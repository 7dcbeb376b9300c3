"""Invitations by mail: one use, an end, and the rights of the inviter at both ends."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client

from audit.models import AuditEvent
from certs.access.permissions import is_lead, is_member
from certs.errors import Conflict, InputRefused, NotFound, NotPermitted, TooMany
from certs.models import Invitation, OutgoingMail
from certs.notifications.delivery.mail import message_of
from certs.people import invitations
from certs.people.members import roles_to_give
from db.clock import database_now
from tests.cast import Cast, person

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]
PASSWORD = "correct horse battery"
ADDRESS = "new@example.org"


def invite(cast: Cast, address: str = ADDRESS, who: str = "officer", **more: Any) -> Invitation:
    wanted: dict[str, Any] = {"team": cast.web, "as_lead": False, "role": None, "days": 7} | more
    return invitations.invite(address, **wanted, authority=cast.authority(who))


def link() -> str:
    """The token in the newest invitation as it is sent."""
    mail = OutgoingMail.objects.filter(dedup_key__startswith="invitation:").latest("id")
    found = re.search(r"/invitations/([\w-]+)/", str(message_of(mail).body))
    assert found
    return found[1]


def join(token: str, **more: str) -> Any:
    given = {"username": "newcomer", "full_name": "New Comer", "password": PASSWORD, "place": "192.0.2.7"} | more
    return invitations.accept_with_new_account(token, **given)


def test_invited_person_makes_an_account_and_is_in_the_team(cast: Cast) -> None:
    invite(cast, as_lead=True, role=Group.objects.get(name="auditor"))
    user = join(link())
    assert is_member(user, cast.web)
    assert is_lead(user, cast.web)
    assert [role.name for role in user.groups.all()] == ["auditor"]
    assert (user.email, user.first_name, user.last_name) == (ADDRESS, "New", "Comer")
    assert user.check_password(PASSWORD)
    events = list(AuditEvent.objects.filter(event__startswith="invitation:").order_by("id").values_list("event", "actor_name"))
    assert events == [("invitation:created", "officer"), ("invitation:changed", "newcomer")]


def test_link_is_in_no_row_and_works_once(cast: Cast) -> None:
    row = invite(cast)
    token = link()
    mail = OutgoingMail.objects.get(dedup_key=f"invitation:{row.pk}:1")
    assert token not in mail.body + mail.html + str(Invitation.objects.values().get())
    assert token in str(message_of(mail).alternatives[0])
    join(token)
    with pytest.raises(NotFound):
        join(token, username="second")


@pytest.mark.parametrize("how", ["unknown", "late", "withdrawn", "resent"])
def test_link_that_does_not_count_gets_one_answer(cast: Cast, how: str) -> None:
    row = invite(cast)
    token = link() if how != "unknown" else "nonsense"
    if how == "late":
        Invitation.objects.update(expires_at=database_now() - timedelta(seconds=1))
    elif how == "withdrawn":
        invitations.withdraw(row, authority=cast.authority("officer"))
    elif how == "resent":
        invitations.send_again(row, authority=cast.authority("officer"))
    answer = Client().get(f"/invitations/{token}/")
    assert answer.status_code == 404
    assert invitations.OVER in answer.content.decode()
    with pytest.raises(NotFound):
        join(token)


def test_answer_is_the_same_for_an_address_with_an_account(cast: Cast) -> None:
    client = Client()
    client.force_login(cast["officer"])
    pages = []
    for address in ("colleague@example.org", "unknown@example.org"):
        answer = client.post("/invite/", {"address": address, "team": "other", "days": "7"}, follow=True)
        # Two posts may fall into two minutes.
        pages.append(re.sub(r'"[^"]{20,}"|/invite/\d+/|\d\d:\d\d', "", answer.content.decode().replace(address, "")))
        Invitation.objects.update(withdrawn_at=database_now())
    assert pages[0] == pages[1]
    mails = OutgoingMail.objects.filter(topic="power", recipient__in=("colleague@example.org", "unknown@example.org"))
    bodies = [mail.body for mail in mails]
    assert len({re.sub(r"\d+", "", body) for body in bodies}) == 1


def test_person_with_an_account_signs_in_and_accepts(cast: Cast) -> None:
    invite(cast, "outsider@example.org")
    token = link()
    assert "Sign in with it to accept" in Client().get(f"/invitations/{token}/").content.decode()
    with pytest.raises(Conflict):
        join(token)
    client = Client()
    client.force_login(cast["outsider"])
    assert client.post(f"/invitations/{token}/").status_code == 302
    assert is_member(cast["outsider"], cast.web)


def test_invitation_of_another_address_is_not_accepted(cast: Cast) -> None:
    invite(cast, "outsider@example.org")
    with pytest.raises(NotPermitted):
        invitations.accept(link(), user=cast["nobody"])
    assert not is_member(cast["nobody"], cast.web)


@pytest.mark.parametrize("lost", ["role", "account"])
def test_inviter_who_may_not_give_it_any_more_gives_nothing(cast: Cast, lost: str) -> None:
    invite(cast)
    officer = cast["officer"]
    if lost == "role":
        officer.groups.clear()
    else:
        officer.is_active = False
        officer.save()
    with pytest.raises(Conflict, match="may not give you this any more"):
        join(link())
    assert not get_user_model().objects.filter(username="newcomer").exists()


def test_lead_invites_into_the_own_team_alone(cast: Cast) -> None:
    cast.web.leads.add(cast["requester"])
    invite(cast, who="requester")
    with pytest.raises(NotFound):
        invite(cast, "b@example.org", who="requester", team=cast.other)
    with pytest.raises(NotPermitted):
        invite(cast, "c@example.org", who="requester", role=Group.objects.get(name="auditor"))
    with pytest.raises(NotPermitted):
        invite(cast, "d@example.org", who="colleague")


def test_officer_gives_no_role_that_may_do_more(cast: Cast) -> None:
    """An officer who could make approvers would approve through a friend's account."""
    with pytest.raises(NotPermitted) as refused:
        invite(cast, role=Group.objects.get(name="approver"))
    assert refused.value.permission == "auth.change_user"
    assert {role.name for role in roles_to_give(cast.authority("officer"))} == {
        *("requester", "requesters", "auditor", "auditors", "security officer"),
    }
    assert len(roles_to_give(cast.authority("root"))) == 8


@pytest.mark.parametrize("address", ["", "x", "a@b", "a b@example.org", "x" * 250 + "@example.org", "a@example.org\nBcc: b@example.org"])
def test_what_is_no_address_is_refused(cast: Cast, address: str) -> None:
    with pytest.raises(InputRefused):
        invite(cast, address)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"username": "Officer"}, "username"),
        ({"username": "\uff4f\uff46\uff46\uff49\uff43\uff45\uff52"}, "username"),  # in wide letters, which the sign-in reads as plain ones
        ({"username": "\u043efficer"}, "username"),  # with a Cyrillic o
        ({"username": "o\ufb03cer"}, "username"),  # with a ligature
        ({"username": "none"}, "username"),
        ({"username": ""}, "username"),
        ({"username": "a b"}, "username"),
        ({"username": "x" * 200}, "username"),
        ({"password": "12345678"}, "password"),
        ({"password": "new@example.org"}, "password"),
        ({"full_name": "a\x00b"}, "full_name"),
        ({"full_name": "Confirm at https://evil.example"}, "full_name"),
        ({"full_name": "See WWW.evil.example"}, "full_name"),
    ],
)
def test_account_that_cannot_be_is_refused_beside_its_field(cast: Cast, given: dict[str, str], field: str) -> None:
    invite(cast)
    with pytest.raises(InputRefused) as refused:
        join(link(), **given)
    assert refused.value.field == field
    assert invitations.find_open(link()).accepted_at is None


def test_form_keeps_what_was_typed_but_no_password(cast: Cast) -> None:
    invite(cast)
    sent = {"username": "officer", "full_name": "Ann Other", "password": PASSWORD, "password_again": PASSWORD}
    answer = Client().post(f"/invitations/{link()}/", sent)
    text = answer.content.decode()
    assert answer.status_code == 422
    assert "Ann Other" in text
    assert PASSWORD not in text
    assert answer["Referrer-Policy"] == "same-origin"


def test_same_invitation_is_sent_once(cast: Cast) -> None:
    row = invite(cast)
    with pytest.raises(Conflict):
        invite(cast, "NEW@example.org")
    invitations.withdraw(row, authority=cast.authority("officer"))
    invite(cast)


def test_invitations_are_limited(cast: Cast) -> None:
    row = invite(cast)
    for _ in range(invitations.MOST_SENT - 1):
        row = invitations.send_again(row, authority=cast.authority("officer"))
    with pytest.raises(Conflict):
        invitations.send_again(row, authority=cast.authority("officer"))
    with pytest.raises(TooMany):
        invite(cast, ADDRESS, team=cast.other)


def test_spellings_of_one_mailbox_are_one_account(cast: Cast) -> None:
    known = person("plus", email="plus@example.org")
    row = invite(cast, "plus+pki@example.org")
    assert invitations.account_of(row) == known
