"""A forgotten password: equal answers, a link that works once, and what ends with the old password."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core import mail
from django.test import Client

from audit.models import AuditEvent
from certs.models import OutgoingMail
from certs.notifications.delivery.password_reset import TASK, send_reset
from pkiportal.celery import app
from tests.cast import person
from tests.certs.views.sign_in.factors import add_app, is_signed_in, password_step
from tests.portal.fixtures import PASSWORD

pytestmark = [pytest.mark.django_db(transaction=True)]
NEW = "four blue doors open"


@pytest.fixture
def alice() -> Any:
    return person("alice", email="alice@example.com", password=PASSWORD)


@pytest.fixture
def mailed() -> Iterator[Callable[[], list[str]]]:
    """Whom the worker mails: its messages are taken from the broker and carried out here, in order."""
    app.control.purge()

    def addresses() -> list[str]:
        with app.connection_for_write() as connection:
            while (message := connection.default_channel.basic_get("mail", no_ack=True)) is not None:
                assert message.headers["task"] == TASK
                send_reset(*message.payload[0])
        return [address for message in mail.outbox for address in message.to]

    yield addresses
    app.control.purge()


def ask(who: str, client: Client | None = None) -> Any:
    return (client or Client()).post("/login/forgotten/", {"who": who})


def link(user: Any) -> str:
    mail.outbox.clear()
    assert send_reset(user.pk)
    found = re.search(r"https?://[^/]+(/login/forgotten/\S+)", str(mail.outbox[0].body))
    assert found
    return found.group(1)


def set_password(path: str, client: Client, new: str = NEW) -> Any:
    page = client.get(path, follow=True)
    address = page.redirect_chain[-1][0] if page.redirect_chain else path
    return client.post(address, {"new_password1": new, "new_password2": new})


@pytest.mark.parametrize("who", ["alice", "alice@example.com", "ALICE@example.com", "nobody", "nobody@example.com"])
def test_every_name_gets_the_same_answer(alice: Any, mailed: Callable[[], list[str]], who: str) -> None:
    page = ask(who).content.decode().replace(who, "WHO")
    other = ask("somebody-else").content.decode().replace("somebody-else", "WHO")
    assert page == other
    assert mailed() == (["alice@example.com"] if who.lower().startswith("alice") else [])


def test_several_accounts_of_one_address_get_no_mail(alice: Any, mailed: Callable[[], list[str]]) -> None:
    person("alice-admin", email="alice@example.com", password=PASSWORD)
    ask("alice@example.com")
    assert mailed() == []
    ask("alice-admin")
    assert mailed() == ["alice@example.com"]


def test_an_account_gets_few_mails_and_nobody_is_told(alice: Any, mailed: Callable[[], list[str]]) -> None:
    answers = [ask("alice").status_code for _ in range(5)]
    assert answers == [200] * 5
    assert len(mailed()) == 3


def test_an_address_asks_so_often_only(alice: Any, mailed: Callable[[], list[str]]) -> None:
    answers = [ask(f"name-{number}") for number in range(21)]
    assert [answer.status_code for answer in answers] == [200] * 20 + [429]
    assert answers[-1]["Retry-After"]


def test_the_link_works_once_and_ends_sessions(alice: Any) -> None:
    signed_in = Client()
    password_step(signed_in)
    path, client = link(alice), Client()
    assert set_password(path, client)["Location"] == "/login/"
    assert not is_signed_in(client)  # setting a password signs nobody in
    assert not is_signed_in(signed_in)
    assert Client().post("/login/", {"username": "alice", "password": NEW}).status_code == 302
    again = Client().get(path, follow=True).content.decode()
    assert "This link does not work" in again
    event = AuditEvent.objects.filter(event="user:changed", data__has_key="replaced").latest("id")
    assert (event.actor_name, NEW in repr(event.data)) == ("alice", False)
    assert any("password" in row.subject for row in OutgoingMail.objects.all())


def test_a_link_of_before_a_sign_in_does_not_work(alice: Any) -> None:
    path = link(alice)
    password_step(Client())
    assert "This link does not work" in Client().get(path, follow=True).content.decode()


def test_a_link_ends_with_the_account(alice: Any) -> None:
    """A person whose access was removed would otherwise choose the password with which the account comes back."""
    path = link(alice)
    alice.is_active = False
    alice.save()
    assert "This link does not work" in Client().get(path, follow=True).content.decode()


def test_the_second_factor_stays(alice: Any) -> None:
    add_app(alice)
    set_password(link(alice), Client())
    answer = Client().post("/login/", {"username": "alice", "password": NEW})
    assert answer["Location"] == "/login/code/"


def test_the_link_is_in_no_row(alice: Any) -> None:
    token = link(alice).split("/")[-2]
    assert token not in repr(list(OutgoingMail.objects.values_list()))
    assert token not in repr([row.get_decoded() for row in Session.objects.all()])


def test_a_bad_new_password_is_said_beside_its_field(alice: Any) -> None:
    answer = set_password(link(alice), Client(), "alice")
    assert (answer.status_code, "too similar" in answer.content.decode()) == (422, True)


@pytest.mark.parametrize("change", [{"is_active": False}, {"email": ""}])
def test_nobody_without_a_mail_address_or_an_active_account_gets_a_link(alice: Any, change: dict[str, Any]) -> None:
    for name, value in change.items():
        setattr(alice, name, value)
    alice.save()
    assert not send_reset(alice.pk)


def test_an_account_without_a_password_gets_none_by_mail(alice: Any) -> None:
    alice.set_unusable_password()
    alice.save()
    assert not send_reset(alice.pk)
