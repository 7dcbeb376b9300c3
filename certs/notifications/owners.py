"""Mail to the owners of certificates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.conf import settings

from certs.models import Certificate
from certs.notifications.mail import write_mail


def owners_of(certificate: Certificate) -> list[str]:
    """The team's address, else its members'; the operators where there is neither."""
    team = certificate.team
    if team.email:
        return [team.email]
    members = [address for address in team.members.filter(is_active=True).values_list("email", flat=True) if address]
    return sorted(set(members)) or list(settings.PKI_OPERATOR_EMAILS)


def tell_renewed(certificates: Sequence[Certificate], *, now: datetime) -> None:
    """A certificate renewed by the schedule must be installed by its owner: nobody else can. Needs an open transaction."""
    for certificate in certificates:
        write_mail(
            dedup_key=f"renewal:done:{certificate.cert_id}",
            to=owners_of(certificate),
            subject=f"[PKI Portal] {certificate.common_name or certificate.cert_id} was renewed: install the new certificate",
            template="renewal_done",
            context={"certificate": certificate, "base_url": settings.PKI_BASE_URL},
            now=now,
        )
