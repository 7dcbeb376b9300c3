"""Second factors of an account: which there are, whether a code is right, and how one is removed."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils.crypto import salted_hmac

from audit.changes import attribute
from audit.events import EventType
from audit.log import Actor, record
from certs.access.rates import Limit, use
from certs.access.sign_in.required_factors import FACTORS, requires_second_factor
from certs.errors import Conflict, NotFound, TooMany
from db.clock import database_now

Type = Authenticator.Type
MOST_PASSKEYS = 20
LONGEST_NAME = 60


def factors_of(user: Any) -> list[Authenticator]:
    """Return the second factors of an account, the oldest first, recovery codes last."""
    rows = Authenticator.objects.filter(user=user.pk).order_by("created_at", "pk")
    return sorted(rows, key=lambda row: row.type == Type.RECOVERY_CODES)


def recovery_codes_of(user: Any) -> int:
    """Return the id of the account's recovery codes, 0 for none. New codes have a new one."""
    found = Authenticator.objects.filter(user=user.pk, type=Type.RECOVERY_CODES).values_list("pk", flat=True).first()
    return int(found or 0)


def has_second_factor(user: Any) -> bool:
    """Return whether the account has an authenticator app or a passkey now."""
    return bool(Authenticator.objects.filter(user=user.pk, type__in=FACTORS).exists())


def check_code(user: Any, code: str) -> Authenticator | None:
    """Return the second factor of which this is a valid code, and use the code up; None otherwise.

    A code of an authenticator app works once, at all processes together (RFC 6238 5.2), and so does
    each recovery code. Effects: a used recovery code is an audit event. Callers count the try first,
    see `certs.access.login_limits.attempt_code`.
    """
    codes = Authenticator.objects.filter(user=user.pk, type__in=(Type.TOTP, Type.RECOVERY_CODES))
    for row in sorted(codes, key=lambda one: one.type != Type.TOTP):
        with suppress(Authenticator.DoesNotExist), transaction.atomic():  # these recovery codes were replaced in this moment
            if not row.wrap().validate_code(code):
                continue
            if row.type == Type.TOTP and not use_up(user, code):
                return None
            if row.type == Type.RECOVERY_CODES:
                _record_recovery(user, row)
            return row
    return None


def use_up(user: Any, code: str) -> bool:
    """Mark a code of an authenticator app as used. Returns False where it was used already."""
    digits = "".join(character for character in code if character.isalnum())
    whose = f"{user.pk}:{salted_hmac('certs.access.second_factors', digits).hexdigest()}"
    # Longer than any code is valid: the present step and the tolerance on both sides.
    valid = timedelta(seconds=30 * (2 * settings.MFA_TOTP_TOLERANCE + 2))
    try:
        use([Limit("code", whose, 1, valid)], message="")
    except TooMany:
        return False
    return True


def _record_recovery(user: Any, row: Authenticator) -> None:
    left = len(Authenticator.objects.get(pk=row.pk).wrap().get_unused_codes())
    record(
        EventType.LOGIN_RECOVERY_CODE_USED,
        subject=f"user:{user.get_username()}",
        actor=Actor("user", user.get_username()),
        at=database_now(),
        data={"left": left},
    )


@transaction.atomic
def remove_factor(user: Any, pk: int, *, actor: Actor) -> str:
    """Remove one factor of the account, and the recovery codes with the last one. Returns its name.

    Raises NotFound, and Conflict for the last factor of a person whose role requires one.
    """
    # Two tabs that remove the last two factors: the second one waits here and is refused.
    get_user_model().objects.select_for_update().get(pk=user.pk)
    row = Authenticator.objects.filter(user=user.pk, pk=pk, type__in=FACTORS).first()
    if row is None:
        raise NotFound("There is no such second factor.")
    if requires_second_factor(user) and Authenticator.objects.filter(user=user.pk, type__in=FACTORS).count() == 1:
        raise Conflict(
            "Your role requires a second factor, and this is your only one.",
            next_step="Add another one first. Then you can remove this one.",
        )
    name = str(row)
    attribute(row, actor)
    row.delete()
    if not has_second_factor(user):
        for left in Authenticator.objects.filter(user=user.pk):
            attribute(left, actor)
            left.delete()
    return name


def rename_passkey(user: Any, pk: int, name: str, *, actor: Actor) -> None:
    """Give a passkey another name. Raises NotFound, and Conflict for an empty or long name."""
    wanted = " ".join(name.split())
    if not 0 < len(wanted) <= LONGEST_NAME or not wanted.isprintable():
        raise Conflict(
            f"A passkey needs a name of at most {LONGEST_NAME} characters.",
            field="name",
            next_step="Name it after the device on which it is.",
        )
    with transaction.atomic():
        rows = Authenticator.objects.select_for_update()
        row = rows.filter(user=user.pk, pk=pk, type=Type.WEBAUTHN).first()
        if row is None:
            raise NotFound("There is no such passkey.")
        row.wrap().name = wanted
        attribute(row, actor)
        row.save(update_fields=["data"])
