"""What people write about a certificate: owner, purpose, critical function, review, renewal switch.

The description belongs to the newest certificate of a lineage; a renewal inherits it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, TypedDict

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import transaction

from audit.events import EventType, recordable
from audit.log import Event, Value, record_many
from certs.access.permissions import Authority, is_member
from certs.errors import Conflict, InputRefused
from certs.models import Certificate, RenewalBlocked
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.requests.owner_change import notify_of_ownership
from db.clock import database_now

_LENGTHS = {"purpose": 200, "notes": 1000, "runbook": 500, "renewal_off_reason": 300}  # as the columns
MOST_TAGS = 10
_TAG = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,31}")
_ADDRESS = URLValidator(schemes=["https", "http"])
_RECORDED = 300  # characters of a text that its event holds


class Changes(TypedDict, total=False):
    """What a person changes; what is left out stays."""

    owner: str  # account name; empty: nobody
    purpose: str
    notes: str  # may have several lines
    tags: list[str]
    runbook: str  # https:// or http:// address, or empty
    critical_function: bool
    last_review: date | None
    renewal_off_reason: str  # empty: renewed automatically


def describe(certificate: Certificate, changes: Changes, *, authority: Authority, channel: str) -> Certificate:
    """Change the description of a certificate. Returns the row as it is afterwards.

    Effects, in one transaction: those of `write_description`, and where the owner changed a mail to both.
    Raises what `write_description` raises.
    """
    # Before the transaction: a refusal of a secret has its own record.
    texts = _checked_texts(certificate, changes, authority=authority, channel=channel)
    with transaction.atomic():
        row, owner_before = _write(certificate, changes, texts, authority)
        if row.owner != owner_before:
            notify_of_ownership([row], 1, before=owner_before, owner=row.owner, actor=authority.actor, now=database_now())
    return row


def write_description(certificate: Certificate, changes: Changes, *, authority: Authority, channel: str) -> tuple[Certificate, Any]:
    """Change the description of a certificate without a mail: of many, one is sent about all of them.

    Returns the row as it is afterwards, and its owner before. Effects, in one transaction: the row,
    and an audit event for each kind of change (`certificate:described`, `certificate:reviewed`,
    `certificate:renewal_switched`). Nothing where all values are as before.

    Raises NotFound and NotPermitted as for every act on the certificate (members of its team and
    officers), InputRefused for a value that cannot be, CSRRefused for a secret in a text, Conflict
    for a certificate that was renewed: its description is that of the new one.
    """
    return _write(certificate, changes, _checked_texts(certificate, changes, authority=authority, channel=channel), authority)


def _write(certificate: Certificate, changes: Changes, texts: dict[str, str], authority: Authority) -> tuple[Certificate, Any]:
    now = database_now()
    with transaction.atomic():
        # The owner is read behind the lock: a join would be with the owner of before.
        row_now = Certificate.objects.select_for_update(of=("self",)).select_related("team").get(pk=certificate.pk)
        # Again behind the lock: who lost the right while this waited changes nothing.
        authority.check_may_act(row_now)
        following = row_now.renewals.filter(status=Certificate.Status.GOOD).first()
        if following is not None:
            raise Conflict(
                f"{row_now.cert_id} was renewed: {following.cert_id} has taken its place. Nothing was changed.",
                field="cert_id",
                next_step=f"Change {following.cert_id}.",
            )
        before = _written(row_now)
        _apply(row_now, changes, texts, now=now)
        after = _written(row_now)
        changed = [name for name in after if after[name] != before[name]]
        if changed:
            row_now.save(update_fields=[*changed, "renewal_blocked"])
            record_many(_events(row_now, before, after, changed, authority=authority, now=now))
    return row_now, before["owner"]


def _checked_texts(certificate: Certificate, changes: Changes, *, authority: Authority, channel: str) -> dict[str, str]:
    """Return the texts without needless spaces, notes line by line, tags between spaces."""
    authority.check_may_act(certificate)
    given = {name: str(changes.get(name, "")) for name in _LENGTHS if name in changes}
    # First of all: other refusals may quote what was sent.
    for name, text in (given | ({"tags": " ".join(changes["tags"])} if "tags" in changes else {})).items():
        refuse_secrets(text, actor=authority.actor, team=certificate.team.slug, field=name, channel=channel)
    texts = {name: " ".join(text.split()) for name, text in given.items() if name != "notes"}
    if "notes" in given:
        texts["notes"] = "\n".join(" ".join(line.split()) for line in given["notes"].splitlines()).strip()
    if "tags" in changes:
        texts["tags"] = _checked_tags(changes["tags"])
    if texts.get("runbook"):
        _check_address(texts["runbook"])
    for name, text in texts.items():
        if name != "tags" and len(text) > _LENGTHS[name]:
            raise InputRefused(
                f"This text has {len(text)} characters; at most {_LENGTHS[name]} are kept.",
                field=name,
                next_step="Shorten the text.",
            )
        if not text.replace("\n", "").isprintable():
            raise InputRefused(
                "This text contains a control character.",
                field=name,
                next_step="Write it as plain text.",
            )
    return texts


def checked_tag(text: str) -> str:
    """Return one tag as it is kept. Raises InputRefused, also for an empty one."""
    tag = _checked_tags([text]).strip()
    if not tag:
        raise InputRefused("Name the tag.", field="tags", next_step="Write it as in production.")
    return tag


def _checked_tags(tags: Sequence[str]) -> str:
    """Return tags as the column holds them: lower case, each once, between spaces. Raises InputRefused."""
    found = list(dict.fromkeys(tag.strip().lower() for tag in tags if tag.strip()))
    wrong = next((tag for tag in found if not _TAG.fullmatch(tag)), None)
    if wrong is not None:
        raise InputRefused(
            f"{wrong[:40]!r} cannot be a tag.",
            field="tags",
            next_step="A tag has up to 32 letters, digits and the signs . _ : / - and no space, as in production or cost:4711.",
        )
    if len(found) > MOST_TAGS:
        raise InputRefused(
            f"{len(found)} tags are more than {MOST_TAGS}.",
            field="tags",
            next_step="Take out those that nobody looks for.",
        )
    return f" {' '.join(found)} " if found else ""


def _check_address(text: str) -> None:
    """Raise InputRefused for what a page must not offer as a link, such as javascript:."""
    try:
        _ADDRESS(text)
    except ValidationError as exc:
        raise InputRefused(
            "The runbook is no web address.",
            field="runbook",
            next_step="Write it in full, as in https://wiki.example.com/shop-certificate.",
        ) from exc


def _apply(row: Certificate, changes: Changes, texts: dict[str, str], *, now: datetime) -> None:
    for name, text in texts.items():
        setattr(row, name, text)
    if "owner" in changes:
        row.owner = _owner_named(changes["owner"], row)
    if "critical_function" in changes:
        row.critical_function = changes["critical_function"]
    if "last_review" in changes:
        row.last_review = changes["last_review"]
        if row.last_review is not None and row.last_review > now.date():
            raise InputRefused(
                f"{row.last_review.isoformat()} is in the future.",
                field="last_review",
                next_step=f"A review happened today ({now.date().isoformat()}) or before.",
            )
    if row.renewal_off_reason:
        row.renewal_blocked = RenewalBlocked.OFF
    elif row.renewal_blocked == RenewalBlocked.OFF:
        row.renewal_blocked = ""


def _owner_named(name: str, row: Certificate) -> Any:
    """Return the account of that name. One that owns it already may stay, also after the person left."""
    name = name.strip()
    if not name or (row.owner is not None and row.owner.get_username() == name):
        return row.owner if name else None
    account = get_user_model().objects.filter(username=name).first()
    if account is None or not is_member(account, row.team):
        raise InputRefused(
            f"{name[:150]} is no active member of team {row.team.name}, so cannot own the certificate.",
            field="owner",
            next_step=f"Name a member of {row.team.name}, or have the person added to the team first.",
        )
    return account


def _written(row: Certificate) -> dict[str, Any]:
    return {
        "owner": row.owner,
        "purpose": row.purpose,
        "notes": row.notes,
        "tags": row.tags,
        "runbook": row.runbook,
        "critical_function": row.critical_function,
        "last_review": row.last_review,
        "renewal_off_reason": row.renewal_off_reason,
    }


def _events(
    row: Certificate,
    before: dict[str, Any],
    after: dict[str, Any],
    changed: list[str],
    *,
    authority: Authority,
    now: datetime,
) -> list[Event]:
    def value(one: Any) -> Value:
        return one if one is None or isinstance(one, bool) else recordable(str(one).strip(), most=_RECORDED)

    def event(kind: EventType, data: dict[str, Value]) -> Event:
        return Event(kind, f"certificate:{row.cert_id}", authority.actor, now, data)

    events = []
    described: dict[str, Value] = {}
    for name in changed:
        if name == "last_review":
            day = {"last_review": value(after[name]), "last_review_before": value(before[name])}
            events.append(event(EventType.CERTIFICATE_REVIEWED, day))
        elif name == "renewal_off_reason":
            switch: dict[str, Value] = {"renewal": "off" if after[name] else "on", "reason": after[name], "reason_before": before[name]}
            events.append(event(EventType.CERTIFICATE_RENEWAL_SWITCHED, switch))
        else:
            described |= {name: value(after[name]), f"{name}_before": value(before[name])}
    if described:
        events.append(event(EventType.CERTIFICATE_DESCRIBED, described))
    return events
