"""The language helper against a server that speaks the provider's HTTP API; and the page, whatever the helper does."""

from __future__ import annotations

import json
import time

import pytest
from pytest_django import Settings

from certs.errors import NotUnderstood
from certs.language.assistant import INSTRUCTIONS, AssistantUnavailable, rewrite
from certs.models import CertificateRequest, RequestDraft
from tests.certs.language.examples import DEFAULTS, issued
from tests.certs.language.provider import ModelServer, model_server
from tests.journeys.test_channels import signed_in
from tests.portal.fixtures import Portal

__all__ = ["model_server"]
FREE = "hi there, my shop needs that padlock thing, it runs on nginx, cheers"


def test_answer_over_http_is_parsed_like_any_other(model_server: ModelServer) -> None:
    found = rewrite(FREE, DEFAULTS)
    assert (found.sentence, found.plan) == (model_server.answer, issued(model_server.answer))


def test_only_the_text_and_the_instructions_are_sent(model_server: ModelServer, settings: Settings) -> None:
    settings.PKI_NL_MODEL = "some-model"
    rewrite(FREE, DEFAULTS)
    ((path, headers, body),) = model_server.received
    assert path == "/v1/messages"
    assert headers["X-Api-Key"] == "key-of-the-environment"
    assert body == {
        "model": "some-model",
        "max_tokens": 1024,
        "system": INSTRUCTIONS,
        "messages": [{"role": "user", "content": f"<request>{FREE}</request>"}],
    }
    assert "alice" not in json.dumps([headers, body])


def test_slow_helper_is_given_up_in_time(model_server: ModelServer) -> None:
    model_server.delay = 3
    began = time.monotonic()
    with pytest.raises(AssistantUnavailable, match="did not answer"):
        rewrite(FREE, DEFAULTS)
    assert time.monotonic() - began < 2.5
    assert len(model_server.received) == 1


@pytest.mark.parametrize(("status", "body"), [(500, b"{}"), (401, b"{}"), (200, b"<html>"), (200, b"{}"), (200, b'{"content": 5}')])
def test_wrong_answer_is_no_answer(model_server: ModelServer, status: int, body: bytes) -> None:
    model_server.status, model_server.body = status, body
    with pytest.raises((AssistantUnavailable, NotUnderstood)):
        rewrite(FREE, DEFAULTS)


pages = pytest.mark.django_db(transaction=True)


@pages
def test_sentence_of_the_helper_stands_in_the_box_and_nothing_is_requested(portal: Portal, model_server: ModelServer) -> None:
    alice = signed_in("alice")
    offered = alice.post("/new/", {"team": "web", "text": FREE})
    assert offered.status_code == 422
    assert 'value="rewrite"' in offered.content.decode()
    page = alice.post("/new/", {"team": "web", "text": FREE, "go": "rewrite"})
    assert page.status_code == 200
    assert "The language helper wrote this sentence." in page.content.decode()
    assert f">{model_server.answer}</textarea>" in page.content.decode()
    assert (RequestDraft.objects.count(), CertificateRequest.objects.count()) == (0, 0)
    # The person sends it like any other.
    assert alice.post("/new/", {"team": "web", "text": model_server.answer})["Location"].startswith("/new/draft-")
    assert RequestDraft.objects.get().server == "nginx"


@pages
@pytest.mark.parametrize("answer", ["NONE", "I am sorry, Dave", "Issue certificate for a except b"])
def test_page_keeps_the_text_when_the_helper_is_wrong(portal: Portal, model_server: ModelServer, answer: str) -> None:
    model_server.answer = answer
    page = signed_in("alice").post("/new/", {"team": "web", "text": FREE, "go": "rewrite"})
    assert page.status_code == 422
    assert f">{FREE}</textarea>" in page.content.decode()


@pages
def test_page_works_without_the_helper(portal: Portal, model_server: ModelServer, settings: Settings) -> None:
    model_server.status = 500
    alice = signed_in("alice")
    page = alice.post("/new/", {"team": "web", "text": FREE, "go": "rewrite"})
    assert (page.status_code, f">{FREE}</textarea>" in page.content.decode()) == (503, True)
    assert alice.post("/new/", {"team": "web", "text": "https for shop.example.com on nginx"}).status_code == 302
    settings.PKI_NL_PROVIDER = ""
    assert 'value="rewrite"' not in alice.post("/new/", {"team": "web", "text": FREE}).content.decode()


@pages
def test_secret_is_not_sent_and_not_shown_again(portal: Portal, model_server: ModelServer) -> None:
    secret = "hvs." + "A1b2" * 10
    page = signed_in("alice").post("/new/", {"team": "web", "text": f"cert for shop, token {secret}", "go": "rewrite"})
    assert (page.status_code, model_server.received, secret in page.content.decode()) == (422, [], False)
