"""Whom a notice goes to. Decided when it is written, from the facts of that moment."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from certs.access.owners import current_owner
from certs.access.permissions import Permission, holders_of, is_member
from certs.models import BulkOrder, Certificate, CertificateRequest, Deputy, MailChoice, Team
from certs.notifications.topics import Topic
from db.clock import database_now


@dataclass(frozen=True, slots=True)
class Audience:
    """Addresses, and persons who may switch topics off. Audiences add up with `|`.

    `people` maps a person's account id to the person's address.
    """

    addresses: frozenset[str] = frozenset()
    people: dict[int, str] = field(default_factory=dict)

    def __or__(self, other: Audience) -> Audience:
        return Audience(self.addresses | other.addresses, self.people | other.people)

    def __bool__(self) -> bool:
        return bool(self.addresses or self.people)

    def recipients(self, topic: Topic) -> list[str]:
        """Return the addresses that get a notice of the topic, each once.

        A person who switched the topic off gets none, unless the person's address is also named
        as such: as a team's address, say.
        """
        people = self.people
        if topic.is_optional and people:
            off = MailChoice.objects.filter(topic=topic, wanted=False, user__in=people)
            unwanted = set(off.values_list("user", flat=True))
            people = {pk: address for pk, address in people.items() if pk not in unwanted}
        by_spelling: dict[str, str] = {}
        for address in sorted({*self.addresses, *people.values()}):
            # Domains ignore case, and no provider in use distinguishes local parts by it.
            by_spelling.setdefault(address.casefold(), address)
        return sorted(by_spelling.values())


NOBODY = Audience()


def to_addresses(addresses: Iterable[str]) -> Audience:
    """Return the audience of plain addresses."""
    return Audience(frozenset(address for address in addresses if address))


def to_user(user: Any) -> Audience:
    """Return the audience of one account; nobody where it is inactive or has no address."""
    if user is None or not user.is_active or not user.email:
        return Audience()
    return Audience(people={user.pk: user.email})


def _to_people(rows: QuerySet[Any]) -> Audience:
    return Audience(people=dict(rows.exclude(email="").values_list("pk", "email")))


def operators() -> Audience:
    """Return the addresses of the setting PKI_OPERATOR_EMAILS."""
    return to_addresses(settings.PKI_OPERATOR_EMAILS)


def team_of(team: Team) -> Audience:
    """Return the team's address, else its active members; the operators where there is neither."""
    return people_of(team) or operators()


def people_of(team: Team) -> Audience:
    """Return the team's address, else its active members; nobody where there is neither."""
    if team.email:
        return to_addresses([team.email])
    return _to_people(team.members.filter(is_active=True))


def owner_of(certificate: Certificate) -> Audience:
    """Return the owner of the certificate while it has one (`current_owner`), else its team."""
    return to_user(current_owner(certificate)) or team_of(certificate.team)


def owner_and_team(certificate: Certificate) -> Audience:
    """Return the owner of the certificate and its team."""
    return owner_of(certificate) | team_of(certificate.team)


def requester_of(row: CertificateRequest | BulkOrder) -> Audience:
    """Return the person who made the request or order, while in its team, else the team."""
    person = row.requester
    if person is not None and is_member(person, row.team):
        return to_user(person) or team_of(row.team)
    return team_of(row.team)


def security_team() -> Audience:
    """Return the people who decide about keys; the operators where nobody does."""
    return _to_people(holders_of(Permission.DECIDE_KEYS)) or operators()


def officers_besides(person: Any) -> Audience:
    """Return the people who may act for every team, without one person; the operators where there is nobody else."""
    return _to_people(holders_of(Permission.ACT_FOR_EVERY_TEAM).exclude(pk=person.pk)) or operators()


def approvers_of(request: CertificateRequest) -> Audience:
    """Return the people who may decide about the request; the operators where nobody can.

    The requester is left out: nobody decides a request of their own.
    """
    return _approvers({request.requester_id})


def approvers_of_order(order: BulkOrder) -> Audience:
    """Return the people who may decide about lines of the order: not its drafter or submitter."""
    return _approvers({order.requester_id, order.submitter_id})


def _approvers(not_these: set[int | None]) -> Audience:
    others = {pk for pk in not_these if pk is not None}
    return Audience(people={one.pk: one.email for one in people_asked(others) if one.email}) or operators()


def people_asked(not_these: Collection[int]) -> list[Any]:
    """Return the approvers who are asked to decide, without the accounts `not_these`, by age of the account.

    One who is away is left out, as long as the deputy is asked: a deputy who may not decide this one
    stands in for nobody.
    """
    people = {one.pk: one for one in holders_of(Permission.DECIDE_REQUESTS).exclude(pk__in=not_these).order_by("pk")}
    away = (
        Deputy.objects.at(database_now()).filter(approver__in=list(people), deputy__in=list(people)).values_list("approver_id", flat=True)
    )
    gone = set(away)
    # Two who name each other would leave nobody.
    return [one for pk, one in people.items() if pk not in gone] or list(people.values())
