"""Persons behind accounts, for decisions that need two of them (PROTOCOLS 6).

A person is an account's person id, else its verified e-mail address. An account with neither decides nothing: nobody could
tell whether it belongs to the person who asked.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model

from policy.models import Person

ALONE = (
    "Ask a second officer. Where one person alone runs an embedded portal, PKI_SINGLE_OFFICER=true allows it, "
    "and each use is in the audit log."
)


def is_identified(user: Any) -> bool:
    """Whether it is known which person the account belongs to."""
    return any(_identity(user))


def is_same_person(one: Any, other: Any) -> bool:
    """Whether two accounts may belong to one person.

    Every hint counts, also an address that is not verified: two accounts are two persons only if nothing says otherwise.
    """
    if one.pk == other.pk:
        return True
    return bool(_hints(one) & _hints(other))


def one_person_is_enough() -> bool:
    """Whether one person may approve and publish alone: PKI_SINGLE_OFFICER, and only in the embedded portal."""
    return bool(settings.PKI_EMBEDDED and settings.PKI_SINGLE_OFFICER)


def note_new_account(instance: Any, created: bool, raw: bool = False, **_signal: Any) -> None:  # noqa: FBT001, FBT002 - Django's
    """A receiver of `post_save` for accounts: the address with which an account is made counts as verified.

    Only administrators make accounts; nobody registers. An address that is changed later is not verified by that.
    """
    if created and not raw:
        Person.objects.get_or_create(user=instance, defaults={"verified_email": instance.email or ""})


def _identity(user: Any) -> tuple[str, str]:
    row = Person.objects.filter(user=user.pk).first()
    return (row.person_id, row.verified_email.lower()) if row else ("", "")


def _hints(user: Any) -> set[tuple[str, str]]:
    person_id, verified = _identity(user)
    email = get_user_model().objects.filter(pk=user.pk).values_list("email", flat=True).first() or ""
    hints = {("person", person_id), ("email", verified), ("email", email.lower())}
    return {hint for hint in hints if hint[1]}
