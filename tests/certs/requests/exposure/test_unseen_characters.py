"""A text that shows something else than it says is in no row afterwards, whatever the field and the channel.

An approver reads reasons, comments and names before deciding: one letter that turns the others
around makes `moc.elpmaxe` look like `example.com`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps

from audit.log import Actor
from audit.models import AuditEvent
from certs.errors import CSRRefused, InputRefused
from certs.language.unseen import holds_link, mixes_alphabets, unseen_character
from certs.models import Certificate
from certs.requests.exposure.refused_secrets import refuse_secrets
from tests.certs.requests.exposure import test_no_secret_is_kept as every_field
from tests.certs.requests.exposure.test_no_secret_is_kept import certificate
from tests.portal.fixtures import Portal

__all__ = ["certificate"]
pytestmark = pytest.mark.django_db(transaction=True)

UNSEEN = "shop\u202e\x1b[2K\u200bmoc"
MORE = ("\x00", "\x08", "\x1b", "\x7f", "\x9b", "\u200b", "\u2028", "\u202e", "\u2066", "\ufeff", "\U000e0041")
ANN = Actor("user", "ann")


def texts(value: Any) -> Iterator[str]:
    """Every text in a value of a row."""
    match value:
        case str():
            yield value
        case dict():
            for name, inner in value.items():
                yield name
                yield from texts(inner)
        case list() | tuple():
            for inner in value:
                yield from texts(inner)


def assert_not_kept(where: str) -> None:
    for model in apps.get_models():
        if model._meta.managed:
            found = [text for row in model._base_manager.values_list() for text in texts(row) if "\u202e" in text]
            assert found == [], (where, model._meta.label)


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is walked with a secret elsewhere is walked with such a text here."""
    monkeypatch.setattr(every_field, "CANARY", UNSEEN)
    monkeypatch.setattr(every_field, "assert_not_kept", assert_not_kept)


def test_no_field_of_the_api_keeps_one(portal: Portal, certificate: Certificate) -> None:
    assert len(every_field.walk_api(portal, certificate)) > 20


def test_no_field_of_a_page_keeps_one(portal: Portal, certificate: Certificate) -> None:
    every_field.walk_pages(portal, certificate)


def test_no_field_of_an_admin_form_keeps_one(portal: Portal) -> None:
    assert {"team.name", "profile.description", "group.name"} <= every_field.walk_admin()


@pytest.mark.parametrize("char", MORE, ids=ascii)
def test_it_is_refused_by_name_with_what_to_do(char: str) -> None:
    with pytest.raises(InputRefused, match=f"nobody sees \\(U\\+{ord(char):04X}") as caught:
        refuse_secrets("fine", f"a{char}b", actor=ANN, team="web", field="comment")
    assert caught.value.field == "comment"
    assert "plain text" in caught.value.next_step
    assert not AuditEvent.objects.filter(event="secret:refused").exists()


@pytest.mark.parametrize(
    "text",
    ["two\r\nlines\tand\u00a0more", "Größe ÅB 東京", "می\u200cخواهم", "👩\u200d💻", "שלום\u200f!", "co\u00adoperate", "10\u202f€"],
    ids=ascii,
)
def test_texts_of_every_language_pass(text: str) -> None:
    assert unseen_character(text) == ""
    refuse_secrets(text, actor=ANN, team="web", field="comment")


def test_a_secret_between_them_is_still_a_secret() -> None:
    with pytest.raises(CSRRefused, match="contains a secret"):
        refuse_secrets("\u202e", "pass\u200bword: geheim123", actor=ANN, team="web", field="comment")
    assert AuditEvent.objects.filter(event="secret:refused").count() == 1


@pytest.mark.parametrize(
    ("name", "mixed"),
    [
        ("alice", False),
        ("\u0430lice", True),  # Cyrillic
        ("alic\u03b5", True),  # Greek
        ("\u00e5sa.j\u00f6rg-1", False),
        ("\u0430\u043d\u043d\u0430", False),
        ("\u5c71\u7530\u305f\u308d\u3046-tokyo", False),
    ],
)
def test_letters_of_alphabets_that_look_alike_stand_in_no_name_together(name: str, mixed: bool) -> None:
    assert mixes_alphabets(name) is mixed


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("Shop, team of example.com", False),
        ("J. R. Doe", False),
        ("24/7 support", False),
        ("Log in at http://evil.example", True),
        ("www.evil.example", True),
        ("mailto:me@evil.example", True),
    ],
)
def test_name_of_which_mails_would_make_a_link_is_known(name: str, holds: bool) -> None:
    assert holds_link(name) is holds
