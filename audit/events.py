"""What an audit event may be: the closed list of types, the actor, the content, and the bytes that are hashed. No database."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias, get_args

Scalar: TypeAlias = str | int | bool | None
Value: TypeAlias = Scalar | Sequence[Scalar]
ActorKind: TypeAlias = Literal["user", "token", "system", "command"]

ACTOR_KINDS: frozenset[str] = frozenset(get_args(ActorKind))
MAX_NAME_CHARS = 200
MAX_VALUE_BYTES = 2048
MAX_FIELDS = 32


class EventType(StrEnum):
    """Everything that the portal puts on record. Closed: a new kind of event is a change of this file, seen in review."""

    REQUEST_SUBMITTED = "request:submitted"
    POLICY_EVALUATED = "policy:evaluated"
    POLICY_DRAFTED = "policy:drafted"
    POLICY_PUBLISHED = "policy:published"
    POLICY_DRAFT_CHANGED = "policy:draft_changed"
    POLICY_DRAFT_DELETED = "policy:draft_deleted"
    POLICY_WITHDRAWN = "policy:withdrawn"
    WAIVER_REQUESTED = "waiver:requested"
    WAIVER_APPROVED = "waiver:approved"
    WAIVER_REJECTED = "waiver:rejected"
    WAIVER_ENDED = "waiver:ended"
    REQUEST_APPROVED = "request:approved"
    REQUEST_REJECTED = "request:rejected"
    REQUEST_CANCELLED = "request:cancelled"
    REQUEST_ENDORSED = "request:endorsed"
    REQUEST_LAPSED = "request:lapsed"
    REQUEST_REMINDED = "request:reminded"
    REQUEST_QUESTIONED = "request:questioned"
    REQUEST_ANSWERED = "request:answered"
    DEPUTY_NAMED = "deputy:named"
    DEPUTY_ENDED = "deputy:ended"
    REQUEST_FAILED = "request:failed"
    REQUEST_HELD = "request:held"
    REQUEST_RESUMED = "request:resumed"
    BULK_SUBMITTED = "bulk:submitted"
    BULK_PAUSED = "bulk:paused"
    BULK_RESUMED = "bulk:resumed"
    BULK_CANCELLED = "bulk:cancelled"
    BULK_RETRIED = "bulk:retried"
    BULK_COMPLETED = "bulk:completed"
    ACT_SUBMITTED = "act:submitted"
    ACT_PAUSED = "act:paused"
    ACT_RESUMED = "act:resumed"
    ACT_CANCELLED = "act:cancelled"
    ACT_RETRIED = "act:retried"
    ACT_COMPLETED = "act:completed"
    VIEW_SHARED = "view:shared"
    VIEW_WITHDRAWN = "view:withdrawn"
    KEY_CLAIMED = "key:claimed"
    KEY_GENERATED = "key:generated"
    KEY_ADOPTED = "key:adopted"
    KEY_RECORDED = "key:recorded"
    KEY_ROTATED = "key:rotated"
    KEY_DESTRUCTION_REQUESTED = "key:destruction_requested"
    KEY_DESTROYED = "key:destroyed"
    KEY_COMPROMISED = "key:compromised"
    KEY_COMPROMISE_CLAIMED = "key:compromise_claimed"
    KEY_UNBLOCKED = "key:unblocked"
    CSR_CREATED = "csr:created"
    CSR_REFUSED = "csr:refused"
    CA_SUBMITTED = "ca:submitted"
    CA_UNAVAILABLE = "ca:unavailable"
    CA_REFUSED = "ca:refused"
    CA_QUARANTINED = "ca:quarantined"
    CERTIFICATE_ISSUED = "certificate:issued"
    CERTIFICATE_RECORDED = "certificate:recorded"
    CERTIFICATE_RENEWED = "certificate:renewed"
    CERTIFICATE_REVOCATION_REQUESTED = "certificate:revocation_requested"
    CERTIFICATE_RENEWAL_REFUSED = "certificate:renewal_refused"
    CERTIFICATE_REVOCATION_PLANNED = "certificate:revocation_planned"
    CERTIFICATE_REVOCATION_WITHDRAWN = "certificate:revocation_withdrawn"
    CERTIFICATE_REVOKED = "certificate:revoked"
    CERTIFICATE_RELEASE_REQUESTED = "certificate:release_requested"
    CERTIFICATE_RELEASED = "certificate:released"
    CERTIFICATE_DESCRIBED = "certificate:described"
    CERTIFICATE_REVIEWED = "certificate:reviewed"
    CERTIFICATE_RENEWAL_SWITCHED = "certificate:renewal_switched"
    CERTIFICATE_DOWNLOADED = "certificate:downloaded"
    CERTIFICATE_CHECK_REQUESTED = "certificate:check_requested"
    CERTIFICATE_OBSERVED = "certificate:observed"
    CERTIFICATE_PLACE_FORGOTTEN = "certificate:place_forgotten"
    INTENT_ABANDONED = "intent:abandoned"
    RESULT_UNCLAIMED = "result:unclaimed"
    RESULT_ADOPTED = "result:adopted"
    ISSUER_CREATED = "issuer:created"
    ISSUER_STATE_CHANGED = "issuer:state_changed"
    TOKEN_CREATED = "token:created"  # noqa: S105 - the name of an event
    TOKEN_REVOKED = "token:revoked"  # noqa: S105 - the name of an event
    LOGIN_SUCCEEDED = "login:succeeded"
    LOGIN_FAILED = "login:failed"
    LOGIN_LOCKED = "login:locked"
    ALERT_CLOSED = "alert:closed"
    BOOTSTRAP_DONE = "bootstrap:done"
    AUDIT_VERIFIED = "audit:verified"
    AUDIT_EPOCH_STARTED = "audit:epoch_started"
    AUDIT_EXPORTED = "audit:exported"
    AUDIT_PROOF_DOWNLOADED = "audit:proof_downloaded"
    ISSUER_SUCCEEDED = "issuer:succeeded"
    CA_RECONCILED = "ca:reconciled"
    CERTIFICATE_FOUND = "certificate:found"
    STATUS_RECONCILED = "status:reconciled"
    CRL_SHARD_OPENED = "crl:shard_opened"
    CRL_PUBLISHED = "crl:published"
    OCSP_RESPONDER_MADE = "ocsp:responder_made"
    # Changes of power, see certs.access.changes_of_power.
    USER_CREATED = "user:created"
    USER_CHANGED = "user:changed"
    USER_DELETED = "user:deleted"
    USER_SESSIONS_ENDED = "user:sessions_ended"
    USER_ACCESS_REMOVED = "user:access_removed"
    INVITATION_CREATED = "invitation:created"
    INVITATION_CHANGED = "invitation:changed"
    INVITATION_DELETED = "invitation:deleted"
    JOIN_REQUESTED = "join:requested"
    JOIN_DECIDED = "join:decided"
    PERSON_CREATED = "person:created"
    PERSON_CHANGED = "person:changed"
    PERSON_DELETED = "person:deleted"
    GROUP_CREATED = "group:created"
    GROUP_CHANGED = "group:changed"
    GROUP_DELETED = "group:deleted"
    TEAM_CREATED = "team:created"
    TEAM_CHANGED = "team:changed"
    TEAM_DELETED = "team:deleted"
    DOMAIN_CREATED = "domain:created"
    DOMAIN_CHANGED = "domain:changed"
    DOMAIN_DELETED = "domain:deleted"
    DOMAIN_REQUESTED = "domain:requested"
    DOMAIN_GRANTED = "domain:granted"
    DOMAIN_REFUSED = "domain:refused"
    DOMAIN_WITHDRAWN = "domain:withdrawn"
    PROFILE_CREATED = "profile:created"
    PROFILE_CHANGED = "profile:changed"
    PROFILE_DELETED = "profile:deleted"
    POLICY_CREATED = "policy:created"
    POLICY_CHANGED = "policy:changed"
    POLICY_DELETED = "policy:deleted"
    SCHEDULE_CREATED = "schedule:created"
    SCHEDULE_CHANGED = "schedule:changed"
    SCHEDULE_DELETED = "schedule:deleted"
    ISSUER_CHANGED = "issuer:changed"
    ISSUER_DELETED = "issuer:deleted"
    ISSUER_REISSUE_PLANNED = "issuer:reissue_planned"
    ISSUER_REISSUE_STARTED = "issuer:reissue_started"
    ISSUER_REISSUE_PAUSED = "issuer:reissue_paused"
    ISSUER_REISSUE_RESUMED = "issuer:reissue_resumed"
    ISSUER_REISSUE_CANCELLED = "issuer:reissue_cancelled"
    ISSUER_REISSUE_DONE = "issuer:reissue_done"
    ISSUER_ADDITION_BEGUN = "issuer:addition_begun"
    ISSUER_ADDITION_ROOT_COMPARED = "issuer:addition_root_compared"
    ISSUER_ADDITION_TESTED = "issuer:addition_tested"
    ISSUER_ADDITION_GIVEN_UP = "issuer:addition_given_up"
    TOKEN_CHANGED = "token:changed"  # noqa: S105 - the name of an event
    WEBHOOK_CREATED = "webhook:created"
    WEBHOOK_CHANGED = "webhook:changed"
    WEBHOOK_DELETED = "webhook:deleted"
    SECOND_FACTOR_CREATED = "second_factor:created"
    SECOND_FACTOR_CHANGED = "second_factor:changed"
    SECOND_FACTOR_DELETED = "second_factor:deleted"
    SECOND_FACTOR_GRACE_CREATED = "second_factor_grace:created"
    SECOND_FACTOR_GRACE_CHANGED = "second_factor_grace:changed"
    SECOND_FACTOR_GRACE_DELETED = "second_factor_grace:deleted"
    GROUP_MAPPING_CREATED = "group_mapping:created"
    GROUP_MAPPING_CHANGED = "group_mapping:changed"
    GROUP_MAPPING_DELETED = "group_mapping:deleted"
    LOGIN_RECOVERY_CODE_USED = "login:recovery_code_used"
    IDENTITY_CREATED = "identity:created"
    IDENTITY_CHANGED = "identity:changed"
    IDENTITY_DELETED = "identity:deleted"
    SECRET_REFUSED = "secret:refused"  # noqa: S105 - the name of an event


class EventRefused(ValueError):
    """An event cannot be recorded as it is. The message names the field, never its value, for the value may be the secret."""


class Actor(NamedTuple):
    """Who did it: a person's account name, a token's name (never the token), a part of the portal, or a command."""

    kind: ActorKind
    name: str


class Event(NamedTuple):
    """One thing that happened to one subject, such as a request (`req-...`), a certificate (`cert-...`) or an issuer."""

    event: EventType
    subject: str
    actor: Actor
    at: datetime
    data: Mapping[str, Value] = MappingProxyType({})


_FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SECRET_WORDS = frozenset(
    {"password", "passwd", "passphrase", "pin", "pins", "secret", "secrets", "token", "tokens", "credential", "credentials"}
    | {"authorization", "cookie", "private", "kek", "dek", "otp"}
)
# `token_id` or `secret_sha256` says which one, not what it is.
_HARMLESS_ENDINGS = ("_id", "_name", "_count", "_class", "_sha256", "_length")
_SECRET_VALUE = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY|\b(?:hv[sb]\.|pkip_)[A-Za-z0-9_-]{20}")
PLAIN_CHARS, PLAIN_INT = 200, 1 << 63
_text = json.encoder.encode_basestring_ascii
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode


def recordable(text: str, *, most: int = 300) -> str:
    """Return a text from outside, such as a CA's reason, as the log and the database accept them.

    Without what either refuses, at most `most` characters: a strange text must not undo the change that it is recorded with.
    """
    kept = text[: 4 * most].replace("\x00", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
    return _SECRET_VALUE.sub("[withheld]", kept)[:most]


def encode_data(data: Mapping[str, Value]) -> str:
    """Return `data` as canonical JSON: sorted keys, no spaces, ASCII only."""
    return _encode(dict(data))


def canonical_bytes(*, event_id: int, subject_seq: int, event: Event, data: str | None = None) -> bytes:
    """Return the bytes that a leaf of the Merkle tree hashes: every column of the row, in one JSON spelling (sorted keys, no spaces,
    ASCII only), time in UTC microseconds. `data`: what `encode_data` returned for the event's data, where it was called already.
    """
    encoded = encode_data(event.data) if data is None else data
    return (
        f'{{"actor":{_actor_text(event.actor)},"at":"{_in_utc(event.at)}","data":{encoded},"event":{_text(event.event)},'
        f'"id":{int(event_id)},"seq":{int(subject_seq)},"subject":{_text(event.subject)}}}'
    ).encode("ascii")


@lru_cache(maxsize=64)
def _in_utc(at: datetime) -> str:
    """Return a time in UTC; kept, because the events of a batch share their time."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


@lru_cache(maxsize=64)
def _actor_text(actor: Actor) -> str:
    return f"[{_text(actor.kind)},{_text(actor.name)}]"


def check_event(event: Event) -> None:
    """Raise `EventRefused` for anything that must not enter the log: unknown type, naive time, untyped data, a likely secret."""
    if not isinstance(event.event, EventType):
        raise EventRefused(f"{event.event!r} is not a member of audit.events.EventType.")
    _check_name("subject", event.subject)
    _check_actor(event.actor)
    if getattr(event.at, "tzinfo", None) is None:
        raise EventRefused(f"{event.event}: `at` must be an aware datetime; take it from db.clock.database_now().")
    if type(event.data) is not dict and not isinstance(event.data, Mapping):  # nearly always a dict, which is quick to see
        raise EventRefused(f"{event.event}: `data` must be a mapping of named fields.")
    if len(event.data) > MAX_FIELDS:
        raise EventRefused(f"{event.event}: {len(event.data)} fields, at most {MAX_FIELDS} are kept.")
    fine = _are_fine(tuple(event.data))
    for name, value in event.data.items():
        if not fine or not _is_plain(value):
            _check_field(event.event, name, value)


@lru_cache(maxsize=1024)
def _check_actor(actor: Actor) -> None:
    """Raise EventRefused for an actor that may not be recorded; kept, because a few actors do nearly everything."""
    if actor.kind not in ACTOR_KINDS:
        raise EventRefused(f"An actor is one of {', '.join(sorted(ACTOR_KINDS))}, not {actor.kind!r}.")
    _check_name("actor", actor.name)


def _is_plain(value: object) -> bool:
    """Return whether it can be seen at a glance that a value may be recorded; nearly all are so."""
    if type(value) is str:
        harmless = (
            "-----BEGIN" not in value and "hvs." not in value and "hvb." not in value and "pkip_" not in value
        )  # as any that _SECRET_VALUE matches has
        return harmless and len(value) <= PLAIN_CHARS and value.isascii() and "\x00" not in value
    return value is None or value is True or value is False or (type(value) is int and -PLAIN_INT < value < PLAIN_INT)


def _check_name(what: str, name: object) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS:
        raise EventRefused(f"The {what} of an event is a text of 1 to {MAX_NAME_CHARS} characters.")
    _utf8_length(what, name)


def _check_field(event: EventType, name: object, value: object) -> None:
    if not isinstance(name, str):
        raise EventRefused(f"{event}: field names are texts.")
    if wrong := _wrong_with(name):
        raise EventRefused(f"{event}: {wrong}")
    items = value if isinstance(value, (list, tuple)) else [value]
    length = 0
    for item in items:
        if isinstance(item, str):
            length += _utf8_length(name, item)
            if _SECRET_VALUE.search(item):
                raise EventRefused(f"{event}: the value of {name} holds a private key or a token and was not recorded.")
        elif item is None or isinstance(item, bool):
            length += 1
        elif isinstance(item, int):
            length += item.bit_length() // 3 + 1
        else:
            raise EventRefused(
                f"{event}: {name} must be text, a whole number, true, false, null or a flat list of these, not {type(item).__name__}."
            )
    if length + len(items) > MAX_VALUE_BYTES:
        raise EventRefused(f"{event}: the value of {name} is longer than {MAX_VALUE_BYTES} bytes. Record its hash or its count.")


@lru_cache(maxsize=1024)
def _are_fine(names: tuple[object, ...]) -> bool:
    """Return whether nothing is wrong with the names of an event's fields. The code has some hundred sets of them."""
    return not any(not isinstance(name, str) or _wrong_with(name) for name in names)


def _wrong_with(name: str) -> str:
    """Return what is wrong with a field's name."""
    if not _FIELD_NAME.fullmatch(name):
        return "field names are lower case words joined by underscores, at most 64 characters."
    if not _SECRET_WORDS.isdisjoint(name.split("_")) and not name.endswith(_HARMLESS_ENDINGS):
        return f"the field {name} looks like a secret. Record its id, name or hash instead ({name}_id, {name}_sha256)."
    return ""


def _utf8_length(what: str, text: str) -> int:
    """Return the length in UTF-8. Refuses what PostgreSQL cannot store (NUL, lone surrogates), so that both databases take the same."""
    if "\x00" in text:
        raise EventRefused(f"{what} holds a NUL character.")
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as exc:
        raise EventRefused(f"{what} holds half a surrogate pair.") from exc
