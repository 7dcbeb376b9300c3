"""The list behind the first question: what ends within 30 days, nothing renews it, and whose is it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse

from certs.access.permissions import members_among
from certs.inventory import filter_certificates, states_of, with_key_blocked
from certs.inventory.counting import Kind, filter_of
from certs.inventory.states import CertificateState
from certs.models import Certificate, RenewalBlocked, Team

SHOWN = 25
_ACTIONS = {
    RenewalBlocked.NEEDS_CSR: (
        "Only its server can make the new key.",
        "Renew with a new CSR",
        "certificate-renew",
    ),
    RenewalBlocked.POLICY: ("The policy refuses it as it is.", "See what would pass", "certificate-renew"),
    RenewalBlocked.APPROVAL: ("Its renewal needs an approval.", "See the renewal", "certificate-renew"),
    RenewalBlocked.FAILED: ("Its last renewal failed.", "Renew again", "certificate-renew"),
    RenewalBlocked.OFF: ("Its renewal is switched off.", "Renew, or let it end", "certificate"),
}


@dataclass(frozen=True, slots=True)
class Ending:
    """One certificate of the list, with its one action. `owner` is empty where nobody answers for it."""

    certificate: Certificate
    state: CertificateState
    owner: str
    why: str
    action: str
    url: str


def ending(rows: QuerySet[Certificate], *, day: date, now: datetime) -> list[Ending]:
    """Return the first SHOWN of `rows` that end within 30 days of `day` and that nothing renews.

    Fewer than SHOWN are all of them, as of now.

    Nearest end first; four queries whatever the number. The rows come from the partial indexes of
    what is blocked or switched off, so the size of the inventory does not matter.
    """
    sought = filter_of(Kind.NEED, "ends_unrenewed", day=day)
    found = with_key_blocked(filter_certificates(rows, sought, now=now), now).select_related("team", "owner", "request")
    shown = list(found.order_by("not_after", "pk")[:SHOWN])
    states = states_of([one.pk for one in shown], now)
    owners = _owners(shown)
    return [_line(one, states[one.pk], owners.get(one.pk, "")) for one in shown]


def by_team(lines: Sequence[Ending]) -> list[tuple[Team, int]]:
    """Return how many of the lines belong to each team, the most first."""
    teams = {one.certificate.team_id: one.certificate.team for one in lines}
    counted = Counter(one.certificate.team_id for one in lines)
    return sorted(((teams[pk], count) for pk, count in counted.items()), key=lambda pair: (-pair[1], pair[0].name))


def _owners(certificates: Sequence[Certificate]) -> dict[int, str]:
    """Return the names of owners who are active and in the team (`certs.access.owners`, for a list)."""
    pairs = {(one.team_id, one.owner_id) for one in certificates if one.owner_id is not None}
    present = members_among(pairs)
    return {one.pk: _name_of(one.owner) for one in certificates if one.owner_id is not None and (one.team_id, one.owner_id) in present}


def _name_of(account: Any) -> str:
    return str(account.get_full_name() or account.get_username())


def _line(certificate: Certificate, state: CertificateState, owner: str) -> Ending:
    off = bool(certificate.renewal_off_reason)
    blocked = RenewalBlocked.OFF if off else RenewalBlocked(certificate.renewal_blocked)
    why, action, name = _ACTIONS[blocked]
    if off:
        why = f"Switched off: {certificate.renewal_off_reason}"
    return Ending(certificate, state, owner, why, action, reverse(name, args=[certificate.cert_id]))
