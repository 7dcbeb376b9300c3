"""Texts of errors become sentences, whether or not they bring a full stop."""

from __future__ import annotations

import pytest

from certs.ca.base import CAUnreachable
from certs.enums import AlertKind
from certs.errors import Conflict, joined, sentence
from certs.issuance.steps.key import key_reason
from certs.models import OperatorAlert
from certs.status.isolation import Failures
from keys.errors import KeyBackendError


@pytest.mark.parametrize(
    ("texts", "one"),
    [
        ([], ""),
        (["It is away"], "It is away."),
        (["It is away."], "It is away."),
        (["CRL: it is away (ReadTimeout).", "OCSP: none."], "CRL: it is away (ReadTimeout); OCSP: none."),
        (["a", "b"], "a; b."),
    ],
)
def test_reasons_are_joined_with_one_full_stop(texts: list[str], one: str) -> None:
    assert joined(texts) == one


@pytest.mark.parametrize(("text", "one"), [("", ""), ("It is away", "It is away."), ("Is it?", "Is it?"), ("Cut off…", "Cut off…")])
def test_a_text_ends_with_one_full_stop(text: str, one: str) -> None:
    assert sentence(text) == one


@pytest.mark.parametrize("message", ["Vault does not answer", "Vault does not answer."])
def test_reason_to_wait_goes_on_after_the_text_of_a_backend(message: str) -> None:
    assert key_reason(message) == "The key backend cannot be used now: Vault does not answer. It is tried again."


@pytest.mark.parametrize("message", ["Vault does not permit this. permission denied", "Vault does not permit this. permission denied."])
def test_next_step_goes_on_after_the_text_of_a_backend(message: str) -> None:
    assert KeyBackendError(message, next_step="See its log.").for_people == "Vault does not permit this. permission denied. See its log."
    assert KeyBackendError(message).for_people == message


def fail(error: Exception) -> None:
    raise error


@pytest.mark.django_db(transaction=True)
def test_alert_about_several_failed_steps_has_no_full_stop_within() -> None:
    failures = Failures("Internal-CA-Prod", "ca:Internal-CA-Prod")
    with failures.caught("CRL"):
        fail(Conflict("There is no key (ReadTimeout)."))
    with failures.caught("OCSP responder"):
        fail(CAUnreachable("the CA cannot be reached"))
    failures.report()
    alert = OperatorAlert.objects.get(kind=AlertKind.STATUS_FAILED)
    assert alert.details == "CRL: There is no key (ReadTimeout); OCSP responder: the CA cannot be reached."
