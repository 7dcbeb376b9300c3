"""Persons behind accounts, for decisions that need two of them.

A person is an account's person id, else its verified e-mail address. An account with neither decides nothing: nobody could
tell whether it belongs to the person who requested it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import idna
from django.conf import settings
from django.contrib.auth import get_user_model

from audit.changes import actor_of, attribute
from policy.models import Person

ALONE = (
    "Ask a second officer. Where one person alone runs an embedded portal, PKI_SINGLE_OFFICER=true allows it, "
    "and each use is in the audit log."
)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about which person an account belongs to.

    `hints`: everything that says so, also an address that is not verified. `is_identified`: whether a person id or a
    verified address is among it.
    """

    hints: frozenset[tuple[str, str]]
    is_identified: bool

    def may_be(self, other: Known) -> bool:
        """Return whether two accounts may belong to one person.

        Every hint counts: two accounts are two persons only if nothing says otherwise.
        """
        return bool(self.hints & other.hints)


def known_persons(accounts: Collection[int]) -> dict[int, Known]:
    """Return what is known of each account, by its id: two queries, however many accounts there are."""
    persons = {row.user_id: row for row in Person.objects.filter(user__in=accounts)}
    addresses = dict(get_user_model().objects.filter(pk__in=accounts).values_list("pk", "email"))
    found = {}
    for pk in accounts:
        row = persons.get(pk)
        person_id, verified = (row.person_id, mailbox_of(row.verified_email)) if row else ("", "")
        stored = mailbox_of(addresses.get(pk) or "")
        hints = {("account", str(pk)), ("person", person_id.strip().casefold()), ("email", verified), ("email", stored)}
        found[pk] = Known(frozenset(hint for hint in hints if hint[1]), is_identified=bool(person_id or verified))
    return found


def is_identified(user: Any) -> bool:
    """Return whether it is known which person the account belongs to."""
    return known_persons([user.pk])[user.pk].is_identified


def is_same_person(one: Any, other: Any) -> bool:
    """Return whether two accounts may belong to one person."""
    known = known_persons([one.pk, other.pk])
    return known[one.pk].may_be(known[other.pk])


def lock_account(user: Any) -> None:
    """Lock the account of a person who decides, before the person's rights are read. Needs an open transaction.

    Whoever takes a right from an account writes or locks its row. So the right is lost before the
    decision, which is refused then, or after the decision has committed, and never in between.
    """
    rows = get_user_model().objects.select_for_update(no_key=True)  # rows that refer to it can still be written
    rows.filter(pk=user.pk).values_list("pk", flat=True).first()


def one_person_is_enough() -> bool:
    """Return whether one person may approve and publish alone: PKI_SINGLE_OFFICER, and only in the embedded portal."""
    return bool(settings.PKI_EMBEDDED and settings.PKI_SINGLE_OFFICER)


def note_new_account(instance: Any, created: bool, raw: bool = False, **_signal: Any) -> None:  # noqa: FBT001, FBT002 - Django's
    """Receive `post_save` of accounts: the address with which an account is made counts as verified.

    Only administrators make accounts; nobody registers. An address that is changed later is not verified by that.
    """
    if created and not raw and not Person.objects.filter(user=instance).exists():
        person = Person(user=instance, verified_email=instance.email or "")
        attribute(person, actor_of(instance))
        person.save(force_insert=True)


def mailbox_of(address: str) -> str:
    """Return one spelling for all spellings of an address that reach the same person.

    Case, compatibility characters, invisible characters, the root's dot and the A-labels of the
    domain make no other person, nor does a subaddress (`ann+pki@`, RFC 5233): who writes two of
    them into two accounts is one.
    """
    text = unicodedata.normalize("NFKC", address).casefold()
    text = "".join(char for char in text if unicodedata.category(char) not in ("Cf", "Cc", "Zs"))
    local, _, domain = text.rpartition("@")
    domain = domain.replace("\u3002", ".").rstrip(".")
    with suppress(idna.IDNAError):  # else compared as it is
        domain = idna.encode(domain, uts46=True).decode()
    return f"{local.partition('+')[0] or local}@{domain}" if local else domain
