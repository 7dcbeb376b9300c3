"""The language helper rewrites, the grammar decides; nothing leaves before the text was searched for secrets."""

from __future__ import annotations

import sys

import pytest
from pytest_django import Settings

from certs.errors import InputRefused, NotUnderstood
from certs.language.assistant import AssistantUnavailable, Provider, provider, rewrite
from tests.certs.language.examples import DEFAULTS, issued


class Answering(Provider):
    """A provider of the tests' own: answers with one sentence and remembers what it was sent."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.sent: list[str] = []

    def rewrite(self, instructions: str, text: str) -> str:
        assert "never add a name" in instructions
        self.sent.append(text)
        return self.answer


def test_sentence_of_the_helper_is_parsed_like_any_other() -> None:
    model = Answering(" Issue certificate for api with RSA 4096\n")
    result = rewrite("hey, my api box needs one of those cert thingies, four k rsa", DEFAULTS, model=model)
    assert result.sentence == "Issue certificate for api with RSA 4096"
    assert result.plan == issued(result.sentence)


@pytest.mark.parametrize("answer", ["", "NONE", "Sure! Here is your certificate", "Issue certificate for api except www"])
def test_answer_outside_the_language_is_refused(answer: str) -> None:
    with pytest.raises(NotUnderstood):
        rewrite("something", DEFAULTS, model=Answering(answer))


def test_text_with_a_secret_is_never_sent() -> None:
    model = Answering("Issue certificate for api")
    with pytest.raises(InputRefused, match="Vault token, 28 characters") as refused:
        rewrite("certificate for api with hvs." + "a" * 24, DEFAULTS, model=model)
    assert model.sent == []
    assert "aaaa" not in refused.value.message


def test_helper_is_off_by_default(settings: Settings) -> None:
    settings.PKI_NL_PROVIDER = ""
    with pytest.raises(AssistantUnavailable, match="is off"):
        rewrite("something", DEFAULTS)


def test_unknown_provider_is_named(settings: Settings) -> None:
    settings.PKI_NL_PROVIDER = "oracle"
    with pytest.raises(AssistantUnavailable, match="'oracle', which is not known"):
        provider()


def test_missing_package_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.PKI_NL_PROVIDER = "anthropic"
    monkeypatch.setitem(sys.modules, "anthropic", None)
    with pytest.raises(AssistantUnavailable, match="not installed") as refused:
        provider()
    assert refused.value.next_step == "Run `pip install -r requirements-assistant.txt`, or unset PKI_NL_PROVIDER."
