"""What has to be said before an act can be shown: a reason, an owner, a tag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth import get_user_model

from certs.access.permissions import Authority, members_among
from certs.enums import RevocationReason
from certs.errors import InputRefused
from certs.models import BulkAct
from certs.renewal.plan import KeyOption
from certs.requests.description import checked_tag
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.revocation.revoke import CA_REASONS

Kind = BulkAct.Kind
_LONGEST_COMMENT = 500


def read_options(kind: str, given: Mapping[str, Any], *, authority: Authority) -> dict[str, str]:
    """Return the options of an act as they are kept. Raises InputRefused; CSRRefused for a secret."""
    match kind:
        case Kind.REVOKE:
            return _revocation(given, authority)
        case Kind.OWNER:
            return {"owner": _account(str(given.get("owner", "")).strip(), authority)}
        case Kind.ADD_TAG | Kind.REMOVE_TAG:
            return {"tag": checked_tag(str(given.get("tag", "")))}
    key = str(given.get("key", KeyOption.DEFAULT))
    return {"key": KeyOption.NEW.value if key == KeyOption.NEW else KeyOption.DEFAULT.value}


def are_complete(act: BulkAct) -> bool:
    """Whether the act can be shown and done as it is."""
    return bool(act.options)


def _revocation(given: Mapping[str, Any], authority: Authority) -> dict[str, str]:
    reason = str(given.get("reason", ""))
    if reason not in list(RevocationReason):
        raise InputRefused("Say what happened.", field="reason", next_step="Choose one of the reasons.")
    if reason in CA_REASONS and not authority.is_officer:
        raise InputRefused(
            f"Only the security team revokes certificates as {reason}.",
            field="reason",
            next_step="If somebody else may have the private keys, use keyCompromise.",
        )
    comment = str(given.get("comment", "")).strip()[:_LONGEST_COMMENT]
    # Once, and before any transaction: a refusal has a record of its own.
    refuse_secrets(comment, actor=authority.actor, team="", field="comment")
    return {"reason": reason, "comment": comment}


def _account(name: str, authority: Authority) -> str:
    """Return the name of an account that could own one of the certificates.

    A member of a team does not learn which accounts there are in others.
    """
    if not name:
        raise InputRefused("Name the new owner.", field="owner", next_step="Write an account name.")
    account = get_user_model().objects.filter(username=name, is_active=True).first()
    teams = authority.acts_for()
    if account is not None and teams is not None and not members_among([(team, account.pk) for team in teams]):
        account = None
    if account is None:
        raise InputRefused(
            f"There is no active account {name[:150]}." if teams is None else f"{name[:150]} is no active member of a team of yours.",
            field="owner",
            next_step="Write the account name with which the person signs in.",
        )
    return name
