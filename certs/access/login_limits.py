"""Limits on guessing passwords, counted in the database before a password is hashed.

A view calls `attempt` before it looks at a password, and then `confirmed` or `failed`. It does the
same with `attempt_code` before it looks at a code or a passkey of a second factor: these have counts
of their own, which the right password does not reset. `attempt_from` counts a try of which nobody
knows whose it is. A sign-in that is complete is put on record by `signed_in`.

Four limits hold at once (docs/decisions/0024-sign-in-limits.md has the reasons):

- an account from one place: 5 wrong passwords in 15 minutes, 20 in a day;
- an account from all places where nobody has signed in to it: 100 wrong passwords in a day;
- an address (IPv6: a /64), all accounts together: 100 wrong passwords in 15 minutes.

A *place* is a device that carries a cookie of an earlier sign-in to this account, or else an
address. Places from which somebody has signed in to the account in the last 90 days are *known*;
the last two limits do not apply to them. So strangers cannot lock the owner out, and one person
cannot lock an office.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import uuid4

from django.contrib.auth import get_user_model
from django.core import signing
from django.db import transaction
from django.db.models import F
from django.utils.crypto import salted_hmac

from audit.events import EventType, Value
from audit.log import Actor, record
from certs.models import SignInCounter
from db.clock import database_now

DEVICE_COOKIE = "pki_device"
KNOWN_FOR = timedelta(days=90)
STRANGERS = "sign-in:strangers"  # the audit subject of all names that are no account's
_SALT = "certs.access.login_limits"
_MOST_ADDRESSES = 20  # named in one summary event
_KNOWN = "known"
PASSWORD, CODE, PASSKEY = "password", "code", "passkey"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` tries in a window, which begins with its first try."""

    kind: str
    most: int
    window: timedelta


ADDRESS = Limit("address", 100, timedelta(minutes=15))
ACCOUNT = Limit("account", 100, timedelta(days=1))
PLACE_DAY = Limit("place-day", 20, timedelta(days=1))
PLACE = Limit("place", 5, timedelta(minutes=15))
# Events about names that are no account's: after these, only the summary counts them.
STRANGER_EVENTS = Limit("stranger-events", 60, timedelta(hours=1))


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try that was counted: its password may be checked. `name` is empty for an unknown name."""

    account: str
    name: str
    network: str
    place: str
    limits: tuple[Limit, ...]
    factor: str = PASSWORD

    def key(self, limit: Limit) -> str:
        """Return the key of the row that counts this try. Addresses count all factors together."""
        apart = limit is not ADDRESS and self.factor != PASSWORD
        return _key(f"{limit.kind}:{self.factor}" if apart else limit.kind, self.value(limit))

    def value(self, limit: Limit) -> str:
        """Return what the limit counts by."""
        if limit is ADDRESS:
            return self.network
        return self.account if limit is ACCOUNT else f"{self.account}\n{self.place}"


class _LimitReached(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def attempt(name: str, address: str, *, device: str = "") -> Attempt | None:
    """Count a try to sign in, before its password is looked at; None when a limit is reached.

    `device` is the value of the cookie that `succeeded` gave. All counters are raised in one
    transaction under row locks, so tries at the same moment cannot pass a limit together. A refused
    try raises none: a person who goes on trying a locked account does not lock others.
    """
    return _counted(_attempt(name, address, device, PASSWORD))


def attempt_code(name: str, address: str, *, device: str = "") -> Attempt | None:
    """Count a try of a second factor as `attempt` does for passwords, in counts of their own."""
    return _counted(_attempt(name, address, device, CODE))


def attempt_from(address: str) -> Attempt | None:
    """Count a try that names no account, such as a passkey, for its address alone."""
    network = network_of(address)
    return _counted(Attempt("", "", network, network, (ADDRESS,), factor=PASSKEY))


def _counted(tried: Attempt) -> Attempt | None:
    now = database_now()
    try:
        with transaction.atomic():
            for limit in tried.limits:
                _count(limit, tried, now)
    except _LimitReached as reached:
        _refused(reached, now)
        return None
    return tried


def failed(tried: Attempt) -> None:
    """Put a wrong password on record: the first one of a window at once, the others in its summary.

    Effects: at most one audit event, none for unknown names beyond STRANGER_EVENTS.
    """
    now = database_now()
    with transaction.atomic():
        if PLACE not in tried.limits:
            if _room_for_stranger(now):
                data: dict[str, Value] = {"address": tried.network, "factor": tried.factor}
                _record(EventType.LOGIN_FAILED, "", now, data)
            return
        rows = SignInCounter.objects.select_for_update().filter(key=tried.key(PLACE))
        row = rows.first()
        if row is None or row.recorded or not (row.name or _room_for_stranger(now)):
            return
        data = {"address": row.network, "tries": 1, "factor": tried.factor}
        _record(EventType.LOGIN_FAILED, row.name, now, data)
        row.recorded = 1
        row.save(update_fields=["recorded"])


def confirmed(tried: Attempt) -> dict[str, Value]:
    """Forget the wrong tries of a place after a right one. Returns how many there were.

    The other counters lose only this try: an attacker's own sign-ins reset nothing.
    """
    with transaction.atomic():
        return _give_back(tried)


def signed_in(
    name: str,
    address: str,
    *,
    device: str = "",
    methods: Sequence[str] = (PASSWORD,),
    before: Mapping[str, Value] | None = None,
) -> str:
    """Record a sign-in that is complete, and that its place is known now. Returns the device cookie.

    `methods`: what the person showed. `before`: the wrong tries that `confirmed` returned.
    """
    now, account, network = database_now(), name.casefold(), network_of(address)
    with transaction.atomic():
        data = {"address": network, "methods": list(methods), **(before or {})}
        _record(EventType.LOGIN_SUCCEEDED, name, now, data)
        SignInCounter.objects.update_or_create(
            key=_key(_KNOWN, f"{account}\n{network}"),
            defaults={"kind": _KNOWN, "begun_at": now, "ends_at": now + KNOWN_FOR},
        )
    known = _device_of(device, account) or secrets.token_hex(16)
    return signing.dumps([account, known], salt=_SALT)


def _give_back(tried: Attempt) -> dict[str, Value]:
    """Forget the place's wrong passwords, and this try elsewhere. Returns what was forgotten."""
    before: dict[str, Value] = {}
    # The same order of locks as in `attempt`, so that the two cannot wait for each other.
    for limit in tried.limits:
        row = SignInCounter.objects.select_for_update().filter(key=tried.key(limit)).first()
        if row is None:
            continue
        if limit is PLACE and row.tries + row.refused > 1:
            before = {"wrong_before": row.tries - 1, "refused_before": row.refused}
        if limit in (PLACE, PLACE_DAY):
            row.delete()
        else:
            SignInCounter.objects.filter(pk=row.pk, tries__gt=0).update(tries=F("tries") - 1)
    return before


def close_windows() -> int:
    """Write the summaries of windows that ended, and delete their rows. Returns how many.

    One event for each account and address with more than its first event holds; one event for all
    unknown names together, however many names and addresses there were.
    """
    now = database_now()
    with transaction.atomic():
        ended = list(SignInCounter.objects.select_for_update(skip_locked=True).filter(ends_at__lte=now).order_by("pk")[:5000])
        unrecorded = [row for row in ended if _unrecorded(row)]
        for row in unrecorded:
            if row.name:
                event = EventType.LOGIN_LOCKED if row.refused else EventType.LOGIN_FAILED
                _record(event, row.name, now, _counts([row]) | {"limit": row.kind})
        if strangers := [row for row in unrecorded if not row.name]:
            _record(EventType.LOGIN_FAILED, "", now, _counts(strangers))
        SignInCounter.objects.filter(pk__in=[row.pk for row in ended]).delete()
    return len(ended)


def network_of(address: str) -> str:
    """Return what counts as one address: an IPv4 address, the /64 of an IPv6 one (RFC 6177 2)."""
    try:
        read = ip_address(address)
    except ValueError:
        return address[:64]
    if read.version == 4:
        return str(read)
    if read.ipv4_mapped is not None:
        return str(read.ipv4_mapped)
    return str(ip_network((int(read), 64), strict=False))


def _attempt(name: str, address: str, device: str, factor: str) -> Attempt:
    # A name in other capitals is another name to Django, but it opens no second set of tries.
    account, network = name.casefold(), network_of(address)
    place = _device_of(device, account)
    known = bool(place) or _is_known(account, network, database_now())
    found = get_user_model().objects.filter(username=name).values_list("username", flat=True)
    return Attempt(
        account=account,
        name=str(found.first() or ""),
        network=network,
        place=place or network,
        limits=(PLACE_DAY, PLACE) if known else (ADDRESS, ACCOUNT, PLACE_DAY, PLACE),
        factor=factor,
    )


def _device_of(cookie: str, account: str) -> str:
    """Return the id of the device, where the cookie was made here for this account; otherwise nothing."""
    try:
        owner, device = signing.loads(cookie, salt=_SALT, max_age=KNOWN_FOR)
    except (signing.BadSignature, ValueError):
        return ""
    return str(device) if owner == account else ""


def _is_known(account: str, network: str, now: datetime) -> bool:
    key = _key(_KNOWN, f"{account}\n{network}")
    return SignInCounter.objects.filter(key=key, ends_at__gt=now).exists()


def _key(kind: str, value: str) -> str:
    """Return the keyed hash of a value, so that a reader of the table cannot try words against it."""
    text = f"{kind}\n{value}".encode("utf-8", "surrogatepass")
    return salted_hmac(_SALT, text, algorithm="sha256").hexdigest()


def _count(limit: Limit, tried: Attempt, now: datetime) -> None:
    row = _locked(limit, tried, now)
    if row.tries >= limit.most:
        raise _LimitReached(row.key)
    row.tries += 1
    row.save(update_fields=["tries"])


def _locked(limit: Limit, tried: Attempt, now: datetime) -> SignInCounter:
    """Return the counter's row in its present window, locked until the transaction ends."""
    key = tried.key(limit)
    named = "" if limit is ADDRESS else tried.name
    where = "" if limit is ACCOUNT else tried.network
    fresh = SignInCounter(
        key=key,
        kind=limit.kind,
        name=named,
        network=where,
        begun_at=now,
        ends_at=now + limit.window,
    )
    # Insert or lock in one statement. The update changes nothing; it is there for its row lock.
    SignInCounter.objects.bulk_create([fresh], update_conflicts=True, unique_fields=["key"], update_fields=["kind"])
    row = SignInCounter.objects.get(key=key)
    if row.ends_at > now:
        return row
    # The old window keeps its row, under another key, until `close_windows` has summed it up.
    SignInCounter.objects.filter(pk=row.pk).update(key=uuid4().hex)
    fresh.pk = None
    fresh.save(force_insert=True)
    return fresh


def _refused(reached: _LimitReached, now: datetime) -> None:
    """Count a refused try; the first one of a window is an event, the others are in its summary."""
    with transaction.atomic():
        row = SignInCounter.objects.select_for_update().filter(key=reached.key).first()
        if row is None:  # its window ended in between
            return
        row.refused += 1
        if row.refused == 1 and (row.name or _room_for_stranger(now)):
            data = _counts([row]) | {"limit": row.kind}
            _record(EventType.LOGIN_LOCKED, row.name, now, data)
            row.recorded = (row.tries if row.kind == PLACE.kind else 0) + row.refused
        row.save(update_fields=["refused", "recorded"])


def _room_for_stranger(now: datetime) -> bool:
    """Return whether another event about strangers may be written now. Counts it."""
    try:
        _count(STRANGER_EVENTS, Attempt("", "", "", "", (STRANGER_EVENTS,)), now)
    except _LimitReached:
        return False
    return True


def _unrecorded(row: SignInCounter) -> int:
    """Return the tries of a row that no event holds. Each try is counted at several limits and recorded at one."""
    tries = row.tries if row.kind == PLACE.kind else 0
    return max(0, tries + row.refused - row.recorded) if row.kind != _KNOWN else 0


def _counts(rows: Sequence[SignInCounter]) -> dict[str, Value]:
    addresses = sorted({row.network for row in rows if row.network})
    data: dict[str, Value] = {
        "tries": sum(row.tries for row in rows if row.kind == PLACE.kind or len(rows) == 1),
        "refused": sum(row.refused for row in rows),
        "since": min(row.begun_at for row in rows).isoformat(timespec="seconds"),
    }
    if len(addresses) == 1:
        return data | {"address": addresses[0]}
    return data | {"addresses": addresses[:_MOST_ADDRESSES], "address_count": len(addresses)}


def _record(event: EventType, name: str, now: datetime, data: dict[str, Any]) -> None:
    actor = Actor("user", name) if name else Actor("system", "sign-in")
    subject = f"user:{name}" if name else STRANGERS
    record(event, subject=subject, actor=actor, at=now, data=data)
