"""Record changes of rows that give somebody power: who may do what, and which jobs run.

An application names the models (`watch`). From then on every write of them through the ORM leaves an
event with the old and the new value: in the admin, in a command, in a shell. Signals are used
because they are the one place that all channels pass. Bulk statements (`QuerySet.update`,
`bulk_create`) send no signals; `verify_states` names what they changed.

The event shares the transaction of the change. The admin and the portal's commands always have
one. A single `save()` in a shell has none; there the event follows at once in its own transaction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import Model, QuerySet
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save
from django.dispatch import Signal

from audit.events import Actor, EventType, Value, recordable
from audit.log import record
from db.clock import database_now

# Whoever wrote a row without saying so: a shell, a third-party command, a cascade.
UNATTRIBUTED = Actor("system", "unattributed")
CREATED, CHANGED, DELETED = "created", "changed", "deleted"

# Sent inside the transaction, after the event was written. `sender` is the model, `change` a Change.
change_recorded = Signal()

_ACTOR, _BEFORE, _RELATED = "audit_actor", "audit_before", "audit_related"
_LONGEST = 300
_NAMES_BYTES = 1500


@dataclass(frozen=True, slots=True)
class Watched:
    """What of a model is recorded.

    `kind` names its events (`team:changed`). `hidden` fields are named when they change, and their
    value is never recorded. `sealed` fields are those of them that the digest covers: not a
    password, which could be guessed from a digest. `verbs` are the events that exist; a use case
    writes the others. A release that changes `fields`, `sealed` or `relations` also has a
    migration that calls `record_as_found`, because the digests of all rows change.
    """

    kind: str
    fields: tuple[str, ...]
    hidden: tuple[str, ...] = ()
    sealed: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    verbs: tuple[str, ...] = (CREATED, CHANGED, DELETED)
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One recorded change. `before` and `after` are the stored rows; None where there was none."""

    verb: str
    before: Any
    after: Any
    actor: Actor
    at: datetime


_watched: dict[type[Model], Watched] = {}


def watch(model: type[Model], what: Watched) -> None:
    """Record changes of the model from now on. Call it from `AppConfig.ready()`."""
    _watched[model] = what
    key = f"audit.changes.{model._meta.label}"
    pre_save.connect(_before_save, sender=model, dispatch_uid=key)
    post_save.connect(_after_save, sender=model, dispatch_uid=key)
    pre_delete.connect(_before_delete, sender=model, dispatch_uid=key)
    post_delete.connect(_after_delete, sender=model, dispatch_uid=key)
    for name in what.relations:
        field: Any = model._meta.get_field(name)
        m2m_changed.connect(_members_changed, sender=field.remote_field.through, dispatch_uid=key)
        # Deleting a related row takes its links away without a signal for them.
        related = field.related_model
        uid = f"{key}.{name}"
        pre_delete.connect(_before_related_delete, sender=related, dispatch_uid=uid)
        post_delete.connect(_after_related_delete, sender=related, dispatch_uid=uid)


def watched() -> Mapping[type[Model], Watched]:
    """Return the watched models."""
    return _watched


def attribute(instance: Any, actor: Actor) -> None:
    """Set who is about to write this row. The admin does it for each row that a person edits."""
    setattr(instance, _ACTOR, actor)


def actor_of(instance: Any) -> Actor:
    """Return the actor that `attribute` set for this row."""
    actor: Actor = getattr(instance, _ACTOR, UNATTRIBUTED)
    return actor


def subject_of(instance: Any, what: Watched | None = None) -> str:
    """Return the audit subject of a watched row, which never changes: `certs.team:7`."""
    what = what or _watched[type(instance)]
    return f"{what.subject or type(instance)._meta.label_lower}:{instance.pk}"


def record_as_found(rows: Iterable[Any], what: Watched, *, actor: Actor) -> None:
    """Record rows as they are, for a migration. The state before that is not explained by the log.

    Takes rows of a migration's historical models. Needs an open transaction.
    """
    for row in rows:
        names = {field.name for field in row._meta.get_fields()}
        known = replace(
            what,
            fields=tuple(name for name in what.fields if name in names),
            sealed=tuple(name for name in what.sealed if name in names),
            relations=tuple(name for name in what.relations if name in names),
        )
        data = _texts(row, known) | {"as_found": True, "state_sha256": digest_of(row, known)}
        event, subject = EventType(f"{what.kind}:{CHANGED}"), subject_of(row, what)
        record(event, subject=subject, actor=actor, at=database_now(), data=data)


def digest_of(instance: Any, what: Watched | None = None) -> str:
    """Return the SHA-256 of what a row gives now: each recorded or sealed field, and relations by key.

    Each event carries it, so that a state that no event explains shows.
    """
    # By keys and plain values, not by names for people: renaming a team must not change the digest of its members' rows.
    what = what or _watched[type(instance)]
    state: dict[str, Any] = {}
    for name in (*what.fields, *what.sealed):
        field = instance._meta.get_field(name)
        state[name] = _plain(field.value_from_object(instance))
    for name in what.relations:
        state[name] = sorted(getattr(instance, name).values_list("pk", flat=True))
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _rows(model: type[Model]) -> QuerySet[Any]:
    """Return every row, whatever a manager of the model leaves out."""
    return QuerySet(model)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, list | dict):
        return json.dumps(value, sort_keys=True)
    if isinstance(value, bytes | memoryview):
        return hashlib.sha256(value).hexdigest()
    return str(value)


def _readable(instance: Any, name: str) -> str | int | bool | None:
    field = instance._meta.get_field(name)
    value = field.value_from_object(instance)
    if field.is_relation and value is not None:
        row = _rows(field.related_model).filter(pk=value).first()
        value = f"{value}" if row is None else f"{row} ({value})"
    value = _plain(value)
    if not isinstance(value, str):
        return value  # type: ignore[no-any-return] # one of the plain types
    shown = recordable(value, most=_LONGEST)
    if len(value) <= _LONGEST:
        return shown
    return f"{shown}... (SHA-256 {hashlib.sha256(value.encode(errors='replace')).hexdigest()})"


def _before_save(sender: type[Model], instance: Any, update_fields: Collection[str] | None, **_: Any) -> None:
    what = _watched[sender]
    if update_fields is not None and not {*what.fields, *what.hidden}.intersection(update_fields):
        setattr(instance, _BEFORE, None)
        return
    rows = _rows(sender).filter(pk=instance.pk)
    if connection.in_atomic_block:
        rows = rows.select_for_update()  # two editors record one after the other
    setattr(instance, _BEFORE, (None if instance.pk is None else rows.first(),))


def _differs(one: Any, other: Any, name: str) -> bool:
    field = one._meta.get_field(name)
    first, second = field.value_from_object(one), field.value_from_object(other)
    return bool(first != second)


def _after_save(sender: type[Model], instance: Any, **_: Any) -> None:
    noted = instance.__dict__.pop(_BEFORE, None)
    if noted is None:
        return
    what = _watched[sender]
    with transaction.atomic():
        # What is stored counts: the instance may hold fields that were not written.
        stored = _rows(sender).get(pk=instance.pk)
        before = noted[0]
        if before is None:
            _record(actor_of(instance), what, None, stored, _texts(stored, what))
        elif any(_differs(before, stored, name) for name in (*what.fields, *what.hidden)):
            _record(actor_of(instance), what, before, stored, _changed_texts(before, stored, what))


def _before_delete(sender: type[Model], instance: Any, **_: Any) -> None:
    what = _watched[sender]
    links = {name: [f"{row} ({row.pk})" for row in getattr(instance, name).all()] for name in what.relations}
    # Read now: rows that it points at may be deleted before it.
    setattr(instance, _BEFORE, (links, _texts(instance, what)))


def _after_delete(sender: type[Model], instance: Any, origin: Any, **_: Any) -> None:
    what = _watched[sender]
    links, texts = instance.__dict__.pop(_BEFORE)
    if actor_of(instance) is UNATTRIBUTED:
        attribute(instance, actor_of(origin))
    for name, members in links.items():
        for part in _parts(members):
            _record_links(instance, what, name, removed=part, digest="")
    _record(actor_of(instance), what, instance, None, texts)


def _members_changed(
    sender: type[Model],
    instance: Any,
    action: str,
    reverse: bool,  # noqa: FBT001 - Django's signal
    model: type[Model],
    pk_set: Collection[Any] | None,
    **_: Any,
) -> None:
    """Record who was added to, or removed from, a relation, seen from its declaring row."""
    verb = action.removeprefix("pre_").removeprefix("post_")
    owner_model = model if reverse else type(instance)
    what = _watched[owner_model]
    name = next(
        one
        for one in what.relations
        if getattr(owner_model, one).through is sender  # a descriptor: documented `through`
    )
    if action == "pre_clear":
        if reverse:
            name = _field(owner_model, name).remote_field.get_accessor_name()
        links = getattr(instance, name)
        setattr(instance, _RELATED, list(links.values_list("pk", flat=True)))
        return
    if action.startswith("pre_"):
        return
    keys = instance.__dict__.pop(_RELATED, []) if verb == "clear" else list(pk_set or ())
    if not keys:
        return
    added = verb == "add"
    if reverse:
        for owner in _rows(owner_model).filter(pk__in=keys):
            attribute(owner, actor_of(instance))
            _record_members(owner, what, name, [instance], added=added)
    else:
        members = list(_rows(model).filter(pk__in=keys))
        _record_members(instance, what, name, members, added=added)


def _field(model: type[Model], name: str) -> Any:
    return model._meta.get_field(name)


def _record_members(owner: Any, what: Watched, name: str, members: Sequence[Any], *, added: bool) -> None:
    texts = sorted(f"{member} ({member.pk})" for member in members)
    with transaction.atomic():
        digest = digest_of(_rows(type(owner)).get(pk=owner.pk))
        for part in _parts(texts):
            if added:
                _record_links(owner, what, name, added=part, digest=digest)
            else:
                _record_links(owner, what, name, removed=part, digest=digest)


def _before_related_delete(sender: type[Model], instance: Any, **_: Any) -> None:
    """Remember which watched rows are about to lose their link to this row."""
    held: list[tuple[Any, str]] = []
    for model, what in _watched.items():
        for name in what.relations:
            if _field(model, name).related_model is sender:
                held += [(row, name) for row in _rows(model).filter(**{name: instance})]
    setattr(instance, _RELATED, (held, f"{instance} ({instance.pk})"))


def _after_related_delete(sender: type[Model], instance: Any, origin: Any, **_: Any) -> None:  # noqa: ARG001
    noted = instance.__dict__.pop(_RELATED, None)
    if noted is None:  # the other receiver of this row recorded them
        return
    held, text = noted
    for owner, name in held:
        attribute(owner, actor_of(instance if hasattr(instance, _ACTOR) else origin))
        what = _watched[type(owner)]
        _record_links(owner, what, name, removed=[text], digest=digest_of(owner))


def _parts(texts: Sequence[str]) -> Iterator[list[str]]:
    """Split a list of names so that each part fits into one field of an event."""
    part: list[str] = []
    size = 0
    for text in (recordable(one, most=_LONGEST) for one in texts):
        length = len(text.encode()) + 1
        if part and size + length > _NAMES_BYTES:
            yield part
            part, size = [], 0
        part.append(text)
        size += length
    if part:
        yield part


def _record_links(
    owner: Any,
    what: Watched,
    name: str,
    *,
    added: Sequence[str] = (),
    removed: Sequence[str] = (),
    digest: str,
) -> None:
    now = database_now()
    data: dict[str, Value] = {"name": recordable(str(owner), most=200), "relation": name}
    data |= {"added": list(added)} if added else {}
    data |= {"removed": list(removed)} if removed else {}
    data |= {"state_sha256": digest} if digest else {}
    event = EventType(f"{what.kind}:{CHANGED}")
    record(event, subject=subject_of(owner), actor=actor_of(owner), at=now, data=data)


def _texts(row: Any, what: Watched) -> dict[str, Value]:
    """Return the content of a row for an event: its name and every recorded field."""
    return {"name": recordable(str(row), most=200)} | {n: _readable(row, n) for n in what.fields}


def _changed_texts(before: Any, after: Any, what: Watched) -> dict[str, Value]:
    """Return what changed: both values of a field, only the name of a hidden one."""
    data: dict[str, Value] = {"name": recordable(str(after), most=200)}
    for name in what.fields:
        if _differs(before, after, name):
            data[name] = [_readable(before, name), _readable(after, name)]
    if replaced := [name for name in what.hidden if _differs(before, after, name)]:
        data["replaced"] = replaced
    return data


def _record(actor: Actor, what: Watched, before: Any, after: Any, texts: Mapping[str, Value]) -> None:
    verb = CREATED if before is None else DELETED if after is None else CHANGED
    if verb not in what.verbs:
        return
    row, now = after or before, database_now()
    digest: dict[str, Value] = {} if after is None else {"state_sha256": digest_of(after)}
    event, subject = EventType(f"{what.kind}:{verb}"), subject_of(row)
    record(event, subject=subject, actor=actor, at=now, data={**texts, **digest})
    change_recorded.send(type(row), change=Change(verb, before, after, actor, now))
