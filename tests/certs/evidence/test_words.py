"""Audit events in words: every type has a sentence and a kind, whatever its data look like."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from audit.events import EventType
from audit.models import AuditEvent
from certs.evidence.kinds import EventKind, kind_of, types_of
from certs.evidence.words import SENTENCES, words_of

AT = datetime(2027, 1, 31, 8, tzinfo=UTC)


def event(kind: str, data: dict[str, Any] | None = None, *, actor: tuple[str, str] = ("user", "ann")) -> AuditEvent:
    return AuditEvent(
        id=1, event=kind, subject="request:req-1", subject_seq=1, actor_kind=actor[0], actor_name=actor[1], at=AT, data=data or {}
    )


def test_every_event_type_has_words() -> None:
    assert set(EventType) - set(SENTENCES) == set()


@pytest.mark.parametrize("kind", EventType)
def test_words_are_a_sentence_also_for_an_event_with_other_fields_than_today(kind: EventType) -> None:
    """An event of an earlier release has fewer fields, a strange one has longer ones; none may break a page."""
    odd = dict.fromkeys(("reason", "name", "issuer", "made", "reasons", "added", "deadline", "effective_from", "cert_id"), "x" * 2000)
    for data in ({}, odd, dict.fromkeys(odd), {name: ["a", "b"] for name in odd}):
        words = words_of(event(kind, data))
        assert words.endswith((".", "…"))
        assert ".." not in words
        assert len(words) < 1500


def test_actor_is_named_as_people_know_it() -> None:
    assert words_of(event("request:resumed")) == "ann let the request go on."
    assert words_of(event("request:resumed", actor=("token", "ann:pkip_abc"))).startswith("The API token pkip_abc of ann ")
    assert words_of(event("request:resumed", actor=("command", "resume"))).startswith("The command resume ")
    assert words_of(event("request:resumed", actor=("system", "worker"))).startswith("The portal (worker) ")


def test_event_of_a_later_release_is_shown_by_its_name() -> None:
    assert words_of(event("comet:seen")) == "ann: comet:seen."


def test_changes_of_power_say_who_and_what() -> None:
    added = {"name": "Web", "relation": "members", "added": ["bob (7)"], "state_sha256": "0"}
    assert words_of(event("team:changed", added)) == "ann added bob (7) to the members of the team Web."
    changed = {"name": "Web", "email": "b@example.com", "email_before": "a@example.com", "state_sha256": "0"}
    assert words_of(event("team:changed", changed)) == "ann changed the team Web: email from a@example.com to b@example.com."
    off = {"name": "bob", "is_active": [True, False], "state_sha256": "0"}
    assert words_of(event("user:changed", off)) == "ann changed the account bob: active account from yes to no."
    secret = {"name": "bob", "replaced": ["password"], "state_sha256": "0"}
    assert words_of(event("user:changed", secret)) == "ann changed the account bob: password replaced."


def test_approvals_say_how_they_were_confirmed_and_how_many_there_are() -> None:
    first = {"approver": "ann", "approvals": 1, "needed": 2, "confirmed_by": "code"}
    assert words_of(event("request:endorsed", first)) == "ann approved the request and confirmed it with a code, 1 of 2."
    last = {"approver": "ann", "confirmed_by": "passkey", "comment": "As agreed."}
    assert words_of(event("request:approved", last)) == "ann approved the request and confirmed it with a passkey: As agreed."
    assert words_of(event("request:approved", {"approver": "ann"})) == "ann approved the request."


def test_every_event_type_is_of_one_kind_and_the_kinds_are_all_used() -> None:
    every = [one for kind in EventKind for one in types_of((kind,))]
    assert sorted(every) == sorted(EventType)
    assert kind_of(EventType.USER_CHANGED) == EventKind.POWER
    assert kind_of(EventType.POLICY_EVALUATED) == EventKind.REQUESTS
