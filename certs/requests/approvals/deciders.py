"""Who may decide a request: an approver now, and another person than those behind the request."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model

from certs.access.permissions import Permission, holds
from certs.errors import NotPermitted
from certs.models import BulkItem, CertificateRequest
from policy.persons import ALONE, Known, known_persons, one_person_is_enough

OWN = "Nobody decides a request that the same person drafted, submitted or requested."


@dataclass(frozen=True, slots=True)
class Right:
    """Whether an account may decide one request; `refusal` says why not.

    `alone`: one person decides alone, as PKI_SINGLE_OFFICER allows.
    """

    refusal: NotPermitted | None = None
    alone: bool = False
    is_own: bool = False


def rights_over(user: Any, requests: Sequence[CertificateRequest]) -> dict[int, Right]:
    """Return by request id whether the account may decide it now. A fixed number of queries.

    Requester, drafter and submitter are compared with the approver as persons.
    """
    if not requests:
        return {}
    if not holds(user, Permission.DECIDE_REQUESTS):
        refusal = NotPermitted(
            "Only approvers decide requests.",
            next_step="Ask a member of the security team.",
            permission=Permission.DECIDE_REQUESTS,
        )
        return {request.pk: Right(refusal) for request in requests}
    behind = _accounts_behind(requests)
    known = known_persons({user.pk, *(pk for accounts in behind.values() for pk in accounts)})
    names = _names_of([pk for pk, person in known.items() if not person.is_identified])
    return {pk: _right(user.pk, accounts, known, names, OWN) for pk, accounts in behind.items()}


def rights_as_second_person(user: Any, firsts: Collection[int], *, own: str) -> dict[int, Right]:
    """Return by account of `firsts` whether the account is certainly another person than that one.

    `own`: the refusal where it is not. A fixed number of queries.
    """
    known = known_persons({user.pk, *firsts})
    names = _names_of([pk for pk, one in known.items() if not one.is_identified])
    return {pk: _right(user.pk, [pk], known, names, own) for pk in firsts}


def _names_of(accounts: Collection[int]) -> dict[int, str]:
    return dict(get_user_model().objects.filter(pk__in=accounts).values_list("pk", "username")) if accounts else {}


def _right(user: int, others: Sequence[int], known: Mapping[int, Known], unknown: Mapping[int, str], own: str) -> Right:
    """`unknown`: the names of accounts of which nobody knows whose they are."""
    is_own = any(known[user].may_be(known[pk]) for pk in others)
    nameless = next((unknown[pk] for pk in (user, *others) if pk in unknown), "")
    if not is_own and not nameless:
        return Right()
    if one_person_is_enough():
        return Right(alone=True, is_own=is_own)
    if is_own:
        return Right(NotPermitted(own, next_step=ALONE), is_own=True)
    refusal = NotPermitted(
        f"It is not known which person {nameless} is, so nobody can tell whether two persons decide here.",
        next_step=f"Ask an administrator to run `manage.py identify_user {nameless}`.",
    )
    return Right(refusal)


def check_may_decide(user: Any, request: CertificateRequest) -> bool:
    """Raise NotPermitted unless the account may decide the request: an approver, and another person.

    Returns whether one person decides alone, as PKI_SINGLE_OFFICER allows.
    """
    return check_may_decide_all(user, [request])[request.pk]


def check_may_decide_all(user: Any, requests: Sequence[CertificateRequest]) -> dict[int, bool]:
    """Raise NotPermitted unless the account may decide each of the requests.

    Returns by request whether one person decides alone. A fixed number of queries.
    """
    rights = rights_over(user, requests)
    refusal = next((one.refusal for one in rights.values() if one.refusal is not None), None)
    if refusal is not None:
        raise refusal
    return {pk: one.alone for pk, one in rights.items()}


def _accounts_behind(requests: Sequence[CertificateRequest]) -> dict[int, list[int]]:
    """Return by request its requester, and who drafted and who submitted the order of which it is a line."""
    items = {request.bulk_item_id for request in requests if request.bulk_item_id is not None}
    rows = BulkItem.objects.filter(pk__in=items).values_list("pk", "order__requester_id", "order__submitter_id")
    of_item = {pk: people for pk, *people in rows} if items else {}
    found = {}
    for request in requests:
        people = [request.requester_id, *(of_item.get(request.bulk_item_id, []) if request.bulk_item_id else [])]
        found[request.pk] = [pk for pk in dict.fromkeys(people) if pk is not None]
    return found
