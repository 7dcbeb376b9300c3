"""A person whose rights changed is notified, and a thief of the account cannot prevent it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.test import Client

from audit.changes import attribute
from audit.log import Actor
from certs.models import MailChoice, OutgoingMail, Team
from certs.notifications.topics import Topic
from tests.cast import person

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
CAROL = Actor("user", "carol")


@pytest.fixture
def ann(db: None) -> Any:
    user = person("ann", email="ann@example.com", password="old password")
    for topic in Topic:
        MailChoice.objects.create(user=user, topic=topic, wanted=False)
    attribute(user, CAROL)
    return user


def mails() -> list[tuple[str, str]]:
    rows = OutgoingMail.objects.filter(topic=Topic.POWER).order_by("recipient", "subject")
    return list(rows.values_list("recipient", "subject"))


@transaction.atomic
def test_password_that_was_changed(ann: Any) -> None:
    ann.set_password("new password")
    ann.save()
    assert mails() == [("ann@example.com", "Your account was changed: password")]
    assert "By:   carol" in OutgoingMail.objects.get().body
    assert "new password" not in OutgoingMail.objects.get().body


@transaction.atomic
def test_mail_address_that_was_changed_is_mailed_to_the_old_one_too(ann: Any) -> None:
    ann.email = "thief@example.com"
    ann.save()
    said = "Your account was changed: mail address"
    assert mails() == [("ann@example.com", said), ("thief@example.com", said)]


@transaction.atomic
def test_account_that_was_switched_off_reads_that_and_what_else_changed(ann: Any) -> None:
    """It read: "Your account was changed: whether the account is active"."""
    ann.is_active = False
    ann.is_staff = True
    ann.save()
    assert mails() == [
        ("ann@example.com", "Your account was changed: access to the admin"),
        ("ann@example.com", "Your account was switched off"),
    ]
    assert not ann.is_active
    ann.is_active = True
    ann.save()
    assert ("ann@example.com", "Your account was switched on") in mails()


@transaction.atomic
@pytest.mark.parametrize("from_the_group", [False, True])
def test_role_that_was_given_and_taken(ann: Any, from_the_group: bool) -> None:
    group = Group.objects.get(name="approver")
    attribute(group, CAROL)
    if from_the_group:
        group.user_set.add(ann)
        group.user_set.remove(ann)
    else:
        ann.groups.add(group)
        ann.groups.remove(group)
    assert sorted(subject for _, subject in mails()) == [
        "You have a new role: approver",
        "You no longer have the role: approver",
    ]


@transaction.atomic
def test_member_of_a_team_and_the_team_are_notified(ann: Any) -> None:
    team = Team.objects.create(slug="web", name="Web", email="web@example.com")
    attribute(team, CAROL)
    team.members.add(ann)
    said = "ann was added as a member of team Web"
    assert mails() == [("ann@example.com", said), ("web@example.com", said)]


@transaction.atomic
def test_sign_in_and_other_saves_are_no_change_of_rights(ann: Any) -> None:
    ann.last_login = ann.date_joined
    ann.save()
    ann.groups.add(*Group.objects.none())
    assert mails() == []


def test_api_token_that_was_made(ann: Any, client: Client) -> None:
    """Whoever sits at a session of yours and makes a token is found out; the mail holds nothing of its secret."""
    team = Team.objects.create(slug="web", name="Web")
    attribute(team, CAROL)
    team.members.add(ann)
    OutgoingMail.objects.all().delete()
    client.force_login(ann)
    page = client.post("/tokens/", {"name": "deploy", "team": "web", "scopes": "certificates:issue", "days": "9"}).content.decode()
    (secret,) = re.findall(r"pkip_[A-Za-z0-9_-]{40,}", page)
    (mail,) = OutgoingMail.objects.filter(topic=Topic.POWER, recipient="ann@example.com")
    assert "deploy" in mail.subject
    assert secret not in mail.body + mail.html
