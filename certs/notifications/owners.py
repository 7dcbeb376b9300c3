"""Whom a mail goes to: the owners of certificates, and the security team."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.conf import settings

from certs.models import Certificate, Team
from certs.models.permission import Permission, holders_of
from certs.notifications.mail import write_mail


def owners_of(certificate: Certificate) -> list[str]:
    """The team's address, else its members'; the operators where there is neither."""
    return addresses_of(certificate.team)


def addresses_of(team: Team) -> list[str]:
    """The team's address, else its members'; the operators where there is neither."""
    if team.email:
        return [team.email]
    members = [address for address in team.members.filter(is_active=True).values_list("email", flat=True) if address]
    return sorted(set(members)) or list(settings.PKI_OPERATOR_EMAILS)


def security_team() -> list[str]:
    """The addresses of the people who decide whether a key is blocked."""
    people = holders_of(Permission.DECIDE_KEYS).exclude(email="")
    return sorted(set(people.values_list("email", flat=True)))


def tell_renewed(certificates: Sequence[Certificate], *, now: datetime) -> None:
    """Certificates renewed by the schedule must be installed by their owners: nobody else can. One mail for each team of a batch.
    Needs an open transaction.
    """
    by_team: dict[int, list[Certificate]] = {}
    for certificate in certificates:
        by_team.setdefault(certificate.team_id, []).append(certificate)
    for group in by_team.values():
        first = group[0]
        what = first.common_name or first.cert_id
        more = f" and {len(group) - 1} more were" if len(group) > 1 else " was"
        write_mail(
            dedup_key=f"renewal:done:{first.cert_id}",
            to=owners_of(first),
            subject=f"[PKI Portal] {what}{more} renewed: install the new certificate{'s' if len(group) > 1 else ''}",
            template="renewal_done",
            context={"certificates": group, "base_url": settings.PKI_PORTAL_URL},
            now=now,
        )
