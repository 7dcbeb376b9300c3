"""Invitations by mail: sent, sent again, withdrawn, and accepted by a new account or one that exists.

The answer is the same for an address that has an account and for one that has none. What an
invitation gives is asked for again when it is accepted: the inviter must still have the right to give it.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator, validate_email
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.crypto import salted_hmac

from audit.changes import attribute
from audit.log import Actor
from certs.access.locks import one_change_at_a_time
from certs.access.owners import NOBODY
from certs.access.permissions import Authority
from certs.access.rates import Limit, use
from certs.access.sign_in.identities import new_account, verified_address
from certs.errors import Conflict, InputRefused, NotFound, NotPermitted
from certs.language.unseen import holds_link, mixes_alphabets
from certs.models import Invitation, Team
from certs.notifications.audience import to_addresses
from certs.notifications.delivery.one_use_links import mark, offer
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.people.members import may_give
from certs.requests.exposure.refused_secrets import refuse_secrets
from db.clock import database_now
from policy.persons import mailbox_of

DAYS = (1, 3, 7, 14, 30)
MOST_ADDRESS = 254  # RFC 5321 4.5.3.1.3, without the angle brackets
MOST_SENT = 5  # mails of one invitation
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FROM_ONE_PERSON, TO_ONE_ADDRESS, FROM_ONE_PLACE = 30, 5, 30
OVER = "This invitation does not count any more, or never did."
ASK_AGAIN = "Ask the person who invited you for a new one."
_KIND = "invitation"


def connect_links() -> None:
    """Let mails carry the links of invitations. For `AppConfig.ready()`."""
    offer(_KIND, lambda pk: _token(Invitation.objects.get(pk=pk).nonce))


def _token(nonce: str) -> str:
    digest = salted_hmac("certs.people.invitation", nonce, algorithm="sha256").digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def open_invitations() -> QuerySet[Invitation]:
    """Return the invitations that can be accepted now, the newest first."""
    rows = Invitation.objects.filter(accepted_at=None, withdrawn_at=None, expires_at__gt=database_now())
    return rows.select_related("team", "role", "invited_by").order_by("-pk")


def invitations_seen_by(authority: Authority) -> QuerySet[Invitation]:
    """Return the open invitations that the actor may send again and withdraw: those of led teams; all for officers."""
    if authority.manages_people:
        return open_invitations()
    if authority.team is not None or authority.user is None:
        return open_invitations().none()
    return open_invitations().filter(role=None, team__leads=authority.user, team__members=authority.user)


def invite(
    address: str,
    *,
    team: Team | None,
    as_lead: bool,
    role: Group | None,
    days: int,
    authority: Authority,
) -> Invitation:
    """Invite an address into a team, into a role, or both.

    Effects, in one transaction: the row with `invitation:created`, and the mail with the link.
    Raises NotPermitted, InputRefused, Conflict where the same is open already, TooMany.
    """
    _check_may_invite(team, role, authority)  # the refusal of a secret has effects of its own, in the name of the team
    refuse_secrets(address, actor=authority.actor, team=team.slug if team else "", field="address")
    address = address.strip()
    try:
        validate_email(address)
        MaxLengthValidator(MOST_ADDRESS)(address)
    except ValidationError as exc:
        raise InputRefused("This is no mail address.", field="address", next_step="Write one, such as ann@example.com.") from exc
    if days not in DAYS:
        raise InputRefused("Choose how long the invitation counts.", field="days", next_step=f"One of {', '.join(map(str, DAYS))} days.")
    if team is None and role is None:
        raise InputRefused("Choose a team or a role.", field="team", next_step="Most people need a team and no role.")
    with transaction.atomic():
        one_change_at_a_time()
        _check_may_invite(team, role, authority)
        same = open_invitations().filter(address__iexact=address, team=team, role=role).first()
        if same is not None:
            raise Conflict(
                f"{address} is invited already, by {same.invited_by}.",
                field="address",
                next_step="Send that invitation again, or withdraw it.",
            )
        _use_limits(address, authority)
        now, nonce = database_now(), secrets.token_urlsafe(32)
        row = Invitation(
            address=address,
            team=team,
            as_lead=as_lead and team is not None,
            role=role,
            nonce=nonce,
            token_sha256=_hash(_token(nonce)),
            invited_by=authority.user,
            created_at=now,
            sent_at=now,
            expires_at=now + timedelta(days=days),
        )
        attribute(row, authority.actor)
        row.save(force_insert=True)
        _mail(row)
    return row


def send_again(row: Invitation, *, authority: Authority) -> Invitation:
    """Send an open invitation once more, with a new link and as many days as before; the old link ends.

    The sender answers for it from now on. Raises NotFound, NotPermitted, Conflict, TooMany.
    """
    with transaction.atomic():
        one_change_at_a_time()
        row = _locked(row.pk, authority)
        _check_may_invite(row.team, row.role, authority)
        if row.sent_times >= MOST_SENT:
            raise Conflict(f"It was sent {MOST_SENT} times.", next_step="Ask the person for another address, or whether mails arrive.")
        _use_limits(row.address, authority)
        now, nonce = database_now(), secrets.token_urlsafe(32)
        life = row.expires_at - row.sent_at
        row.nonce, row.token_sha256, row.invited_by = nonce, _hash(_token(nonce)), authority.user
        row.sent_at, row.expires_at, row.sent_times = now, now + life, row.sent_times + 1
        attribute(row, authority.actor)
        row.save()
        _mail(row)
    return row


def withdraw(row: Invitation, *, authority: Authority) -> Invitation:
    """End an open invitation. Raises NotFound, Conflict for one that has ended."""
    with transaction.atomic():
        one_change_at_a_time()
        row = _locked(row.pk, authority)
        row.withdrawn_at = database_now()
        attribute(row, authority.actor)
        row.save(update_fields=["withdrawn_at"])
    return row


def find_open(token: str) -> Invitation:
    """Return the open invitation of a link. Raises NotFound, the same for every link that does not count."""
    row = open_invitations().filter(token_sha256=_hash(token)).first()
    if row is None:
        raise NotFound(OVER, next_step=ASK_AGAIN)
    return row


def account_of(row: Invitation) -> Any:
    """Return the account that has the invitation's address; None where a new one is to be made."""
    wanted = mailbox_of(row.address)
    near = get_user_model().objects.filter(Q(email__iexact=row.address) | Q(email__istartswith=wanted.rpartition("@")[0]))
    # Spellings that reach one mailbox are one address: the exact comparison is not the database's.
    found = [one for one in near.order_by("-is_active", "pk")[:1000] if mailbox_of(one.email) == wanted]
    return found[0] if found else None


def accept_with_new_account(token: str, *, username: str, full_name: str, password: str, place: str) -> Any:
    """Make the account of an invited person. Returns it.

    Effects, in one transaction: the account (its address counts as verified: the link came there),
    membership and role with their events and mails, and the end of the invitation.
    `place`: the network from which it comes. Raises NotFound, InputRefused, Conflict, TooMany.
    """
    use([Limit("invitation", place, FROM_ONE_PLACE, HOUR)], message="Too many tries from here.")
    for field, text in (("username", username), ("full_name", full_name)):
        refuse_secrets(text, actor=Actor("system", "invitation"), team="", field=field)
    with transaction.atomic():
        one_change_at_a_time()
        row = _open_and_locked(token)
        known = account_of(row)
        if known is not None:
            raise Conflict("There is an account with this address.", next_step=_sign_in_or_ask(known))
        # As the sign-in reads it: a name in wide letters would be no other name there.
        name = get_user_model().normalize_username(username.strip())
        user = get_user_model()(username=name, email=row.address)
        user.first_name, user.last_name = _names(full_name)
        _check_account(user, password)
        user.set_password(password)
        attribute(user, Actor("user", user.username))
        user.save(force_insert=True)
        _give(row, user)
    return user


def accept(token: str, *, user: Any) -> Invitation:
    """Accept an invitation with an account that exists and has its address.

    Effects as `accept_with_new_account`, without the account.
    Raises NotFound, NotPermitted for an account with another address, Conflict.
    """
    with transaction.atomic():
        one_change_at_a_time()
        row = _open_and_locked(token)
        fresh = get_user_model().objects.select_for_update().filter(pk=user.pk, is_active=True).first()
        if fresh is None or mailbox_of(fresh.email) != mailbox_of(row.address):
            raise NotPermitted(
                f"This invitation is for {row.address}, and you are signed in with another address.",
                next_step="Sign out, and open the link again. Or ask to be invited at the address of your account.",
            )
        _give(row, fresh)
    return row


def accept_with_identity(token: str, *, claims: Mapping[str, Any]) -> Any:
    """Make the account of an invited person whom the identity provider vouches for, without a password. Returns it.

    The provider must have verified the address, and it must be the invited one: a link that was forwarded gives
    nothing to another person. Effects as `accept_with_new_account`. Needs an open transaction, in which the caller
    keeps the identity of the account. Raises NotFound, NotPermitted, Conflict.
    """
    one_change_at_a_time()
    row = _open_and_locked(token)
    address = verified_address(claims)
    if not address or mailbox_of(address) != mailbox_of(row.address):
        raise NotPermitted(
            f"The invitation is for {row.address}, and your identity provider has not verified that this is your address.",
            next_step="Choose a password on the page of the invitation, or ask to be invited at your other address.",
        )
    known = account_of(row)
    if known is not None:
        raise Conflict("There is an account with this address.", next_step=_sign_in_or_ask(known))
    user = new_account(claims)
    _give(row, user)
    return user


def _give(row: Invitation, user: Any) -> None:
    """Give what the invitation promises, if its inviter may give that now."""
    inviter = Authority(Actor("user", row.invited_by.get_username()), row.invited_by)
    try:
        _check_may_invite(row.team, row.role, inviter)
    except (NotPermitted, NotFound) as exc:
        raise Conflict(
            f"{row.invited_by}, who invited you, may not give you this any more. Nothing was changed.",
            next_step="Ask the team or the security team for a new invitation.",
        ) from exc
    if row.team is not None:
        attribute(row.team, inviter.actor)
        row.team.members.add(user)
        if row.as_lead:
            row.team.leads.add(user)
    if row.role is not None:
        attribute(user, inviter.actor)
        user.groups.add(row.role)
    row.accepted_at, row.accepted_by = database_now(), user
    attribute(row, Actor("user", user.get_username()))
    row.save(update_fields=["accepted_at", "accepted_by"])


def _check_may_invite(team: Team | None, role: Group | None, authority: Authority) -> None:
    if team is not None:
        authority.check_may_manage(team)
    if role is None:
        return
    authority.check_manages_people()
    if not may_give(role, authority):
        raise NotPermitted(
            f"You may not give the role {role.name}: it may do more than your own roles.",
            field="role",
            permission="auth.change_user",
        )


def _use_limits(address: str, authority: Authority) -> None:
    limits = [
        Limit("invite-by", f"user:{authority.user.pk}", FROM_ONE_PERSON, HOUR),
        Limit("invite-to", _hash(mailbox_of(address)), TO_ONE_ADDRESS, DAY),
    ]
    use(limits, message="Many invitations in a short time.")


def _locked(pk: int, authority: Authority) -> Invitation:
    """An invitation that the actor may manage, locked. Raises NotFound, Conflict for one that has ended."""
    row = Invitation.objects.select_for_update(of=("self",)).select_related("team", "role", "invited_by").filter(pk=pk).first()
    if row is None or not may_manage_invitation(row, authority):
        raise NotFound("There is no such invitation.")
    if row.accepted_at is not None or row.withdrawn_at is not None or row.expires_at <= database_now():
        raise Conflict("This invitation has ended.", next_step="Invite the person anew.")
    return row


def may_manage_invitation(row: Invitation, authority: Authority) -> bool:
    """Return whether the actor may send it again and withdraw it."""
    if authority.manages_people:
        return True
    return row.role_id is None and row.team is not None and authority.may_manage(row.team)


def _open_and_locked(token: str) -> Invitation:
    found = find_open(token)
    row = Invitation.objects.select_for_update(of=("self",)).select_related("team", "role", "invited_by").get(pk=found.pk)
    if row.token_sha256 != _hash(token) or row.accepted_at or row.withdrawn_at or row.expires_at <= database_now():
        raise NotFound(OVER, next_step=ASK_AGAIN)
    return row


def _sign_in_or_ask(account: Any) -> str:
    if account.is_active:
        return "Sign in with it, then open the link again."
    return "It is switched off. Ask an administrator to switch it on again."


def _names(full_name: str) -> tuple[str, str]:
    words = full_name.split()
    return (" ".join(words[:-1]) if len(words) > 1 else "".join(words))[:150], (words[-1] if len(words) > 1 else "")[:150]


def _check_account(user: Any, password: str) -> None:
    name = user.username
    taken = get_user_model().objects.filter(username__iexact=name).exists()
    if taken or name.casefold() == NOBODY:
        raise InputRefused(f"The user name {name[:150]} is taken.", field="username", next_step="Choose another one.")
    if mixes_alphabets(name):
        raise InputRefused(
            "The user name has letters of several alphabets, so it could be taken for somebody else's.",
            field="username",
            next_step="Write it in the letters of one alphabet.",
        )
    try:
        user.clean_fields(exclude=["password"])
    except ValidationError as exc:
        field, messages = next(iter(exc.message_dict.items()))
        raise InputRefused(
            str(messages[0]),
            field=field if field == "username" else "full_name",
            next_step="Use up to 150 letters, digits and @ . + - _.",
        ) from exc
    if not f"{user.first_name}{user.last_name}".isprintable():
        raise InputRefused("The name contains a control character.", field="full_name", next_step="Write it as plain text.")
    if holds_link(f"{user.first_name} {user.last_name} {name}"):
        why = "The name contains an address, which mails to other people would show as a link."
        raise InputRefused(why, field="full_name", next_step="Write your name alone.")
    try:
        validate_password(password, user)
    except ValidationError as exc:
        raise InputRefused(" ".join(exc.messages), field="password", next_step="A sentence is good.") from exc


def _mail(row: Invitation) -> None:
    into = f"team {row.team.name}" if row.team is not None else f"the role {row.role}"
    lines = []
    if row.team is not None:
        lines.append(f"Team: {row.team.name}{', as a lead' if row.as_lead else ''}")
    if row.role is not None:
        lines.append(f"Role: {row.role.name}")
    lines.append(f"The link works once, until {row.expires_at.day} {row.expires_at:%b %Y %H:%M} UTC")
    notify(
        Topic.POWER,
        key=f"invitation:{row.pk}:{row.sent_times}",
        audience=to_addresses([row.address]),
        subject=f"{row.invited_by.get_full_name() or row.invited_by} invites you into {into}",
        template="people",
        context={
            "what": f"You are invited into {into} at the PKI portal",
            "lines": lines,
            "advice": "The portal issues TLS certificates. If you did not expect this, do nothing: the invitation ends.",
            "path": f"/invitations/{mark(_KIND, row.pk)}/",
            "label": "Accept the invitation",
            "by": row.invited_by.get_full_name() or row.invited_by.get_username(),
            "at": row.sent_at,
        },
        now=row.sent_at,
    )
