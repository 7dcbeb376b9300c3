"""Identities of an identity provider: whose they are, who gets an account, and how one is disconnected."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.db import transaction

from audit.changes import attribute
from audit.events import EventType
from audit.log import Actor, record
from certs.access.sessions import end_sessions_begun_until
from certs.access.sign_in.group_mapping import PROVIDER
from certs.errors import Conflict, NotFound
from certs.models import SignedInSession
from db.clock import database_now
from policy.models import Person

_NO_NAME = re.compile(r"[^\w.@+-]")


def provider_id() -> str:
    """Return the id of the provider in the settings. Another issuer is another provider: `sub` is its own."""
    return "oidc-" + hashlib.sha256(settings.PKI_OIDC_ISSUER.encode()).hexdigest()[:16]


def identities_of(user: Any) -> list[SocialAccount]:
    """Return the identities with which the person can sign in."""
    return list(SocialAccount.objects.filter(user=user.pk, provider=provider_id()).order_by("pk"))


def verified_address(claims: Mapping[str, Any]) -> str:
    """Return the address that the provider has verified; nothing for a text "true", which is no truth, and for what no row can hold."""
    address = claims.get("email")
    if claims.get("email_verified") is not True or not isinstance(address, str) or len(address) > 254 or not address.isprintable():
        return ""
    return address


def known_account(claims: Mapping[str, Any]) -> Any:
    """Return the one account of a verified address, where the administrators' setting links by it.

    None for an address that several accounts have, and for an account that has an identity already.
    Needs an open transaction, in which the caller keeps the identity: of two identities with one
    address at once, the second one finds the first.
    """
    address = verified_address(claims)
    if not settings.PKI_OIDC_LINK_VERIFIED_EMAIL or not address:
        return None
    found = list(get_user_model().objects.select_for_update().filter(email__iexact=address)[:2])
    # The capitals of a database join letters that are different ones: "ı" and "i" are both "I" there.
    is_same = len(found) == 1 and found[0].email.casefold() == address.casefold()
    if not is_same or not found[0].is_active or identities_of(found[0]):
        return None
    return found[0]


def new_account(claims: Mapping[str, Any]) -> Any:
    """Make an account without a password for a person of the provider. Needs an open transaction.

    The provider's name for the person is taken where nobody here has it; it links to no account.
    """
    address = verified_address(claims)
    users = get_user_model()
    user = users(
        username=_free_name(claims, address),
        email=address,
        first_name=_text(claims, "given_name"),
        last_name=_text(claims, "family_name"),
    )
    user.set_unusable_password()
    attribute(user, PROVIDER)
    user.save()
    return user


def note_person(user: Any, claims: Mapping[str, Any]) -> None:
    """Remember the verified address as the person of the account: two accounts of one person are known then."""
    address = verified_address(claims)
    if not address:
        return
    row = Person.objects.filter(user=user.pk).first() or Person(user=user)
    if not row.verified_email:
        row.verified_email = address
        attribute(row, PROVIDER)
        row.save()


@transaction.atomic
def disconnect(user: Any, pk: int, *, actor: Actor) -> None:
    """Take an identity from the account. Raises NotFound, and Conflict where nothing else signs the person in."""
    get_user_model().objects.select_for_update().get(pk=user.pk)
    row = SocialAccount.objects.filter(user=user.pk, pk=pk).first()
    if row is None:
        raise NotFound("There is no such identity.")
    others = SocialAccount.objects.filter(user=user.pk, provider=provider_id()).exclude(pk=pk).exists()
    passkey = Authenticator.objects.filter(user=user.pk, type=Authenticator.Type.WEBAUTHN).exists()
    if not (user.has_usable_password() or passkey or others):
        raise Conflict(
            f"You sign in with {settings.PKI_OIDC_NAME} only, so it cannot be disconnected.",
            next_step="Add a passkey first.",
        )
    attribute(row, actor)
    row.delete()


@transaction.atomic
def end_sessions_of_subject(sub: str, *, asked_at: datetime) -> bool:
    """End the sessions of the person whose identity the provider has ended. Returns whether there is such a person.

    Sessions that began after the provider asked stay, so that its token, sent once more, signs nobody out anew.
    Effects, in one transaction: the sessions and `user:sessions_ended`.
    """
    row = SocialAccount.objects.filter(provider=provider_id(), uid=sub).select_related("user").first()
    if row is None:
        return False
    now = database_now()
    moment = min(now, asked_at)
    sessions = SignedInSession.objects.filter(user=row.user, began_at__lte=moment)
    keys = list(sessions.values_list("key", flat=True))
    Session.objects.filter(session_key__in=keys).delete()
    sessions.delete()
    end_sessions_begun_until(row.user, moment)
    data = {"user": row.user.get_username(), "listed": len(keys)}
    record(EventType.USER_SESSIONS_ENDED, subject=f"auth.user:{row.user.pk}", actor=PROVIDER, at=now, data=data)
    return True


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return "".join(character for character in value if character.isprintable())[:150] if isinstance(value, str) else ""


def _free_name(claims: Mapping[str, Any], address: str) -> str:
    wanted = _text(claims, "preferred_username") or address.partition("@")[0]
    base = _NO_NAME.sub("", get_user_model().normalize_username(wanted))[:140] or "person"
    users, name, number = get_user_model().objects, base, 1
    while users.filter(username__iexact=name).exists():
        number += 1
        name = f"{base}-{number}"
    return name
