"""What may enter the log, and the bytes that are hashed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from audit.events import MAX_VALUE_BYTES, Actor, EventRefused, EventType, canonical_bytes, check_event
from tests.audit.ledger import AT, event


def test_event_types_are_room_and_verb_in_lower_case() -> None:
    assert [kind for kind in EventType if kind.name.lower() != str(kind).replace(":", "_")] == []


def test_event_with_every_kind_of_value_passes() -> None:
    check_event(event(text="ü", number=-(10**30), yes=True, nothing=None, names=["a", 1, None]))


@pytest.mark.parametrize(
    ("field", "value"),
    [("ratio", 0.5), ("nested", {"a": 1}), ("raw", b"x"), ("deep", [["a"]]), ("when", AT), ("nul", "a\x00b"), ("half", "\ud800")],
)
def test_event_with_untyped_value_is_refused(field: str, value: Any) -> None:
    with pytest.raises(EventRefused, match=field):
        check_event(event(**{field: value}))


def test_value_of_two_kilobytes_passes_and_one_byte_more_is_refused() -> None:
    check_event(event(text="x" * (MAX_VALUE_BYTES - 1)))
    with pytest.raises(EventRefused, match="longer than 2048 bytes"):
        check_event(event(text="x" * MAX_VALUE_BYTES))


@pytest.mark.parametrize("name", ["password", "new_password", "api_token", "private_key", "hsm_pin", "client_secret", "authorization"])
def test_field_that_looks_like_a_secret_is_refused_without_its_value(name: str) -> None:
    with pytest.raises(EventRefused) as refused:
        check_event(event("req-1", EventType.KEY_RECORDED, **{name: "hunter2"}))
    assert name in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["token_id", "token_name", "secret_class", "private_key_sha256", "public_key", "key_spec"])
def test_field_that_names_a_secret_without_telling_it_passes(name: str) -> None:
    check_event(event("req-1", EventType.KEY_RECORDED, **{name: "x"}))


@pytest.mark.parametrize("value", ["-----BEGIN RSA PRIVATE KEY-----\nMII", "-----BEGIN PRIVATE KEY-----", "hvs.CAESIJ1234567890abcdefgh"])
def test_value_that_is_a_secret_is_refused_without_being_repeated(value: str) -> None:
    with pytest.raises(EventRefused) as refused:
        check_event(event(note=["harmless", value]))
    assert value[-8:] not in str(refused.value)


@pytest.mark.parametrize("name", ["Upper", "with-dash", "", "1st", "x" * 65])
def test_field_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(EventRefused, match="field names"):
        check_event(event("req-1", EventType.KEY_RECORDED, **{name: 1}))


@pytest.mark.parametrize(
    "changes",
    [
        {"event": "request:submitted"},
        {"event": "request:imagined"},
        {"subject": ""},
        {"subject": "x" * 201},
        {"actor": Actor("robot", "r2")},  # type: ignore[arg-type]
        {"actor": Actor("user", "")},
        {"at": datetime(2027, 1, 31)},  # noqa: DTZ001 - the naive one is the point
        {"data": [("a", 1)]},
        {"data": {f"f{n}": n for n in range(33)}},
    ],
)
def test_event_with_a_bad_column_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(EventRefused):
        check_event(event()._replace(**changes))


def test_canonical_bytes_spell_time_in_utc_and_fields_in_order() -> None:
    local = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert canonical_bytes(event_id=7, subject_seq=2, event=event(b=1, a="ü")._replace(at=local)) == (
        b'{"actor":["user","ann"],"at":"2027-01-31T08:00:00.123000+00:00","data":{"a":"\\u00fc","b":1},'
        b'"event":"request:submitted","id":7,"seq":2,"subject":"req-1"}'
    )
