"""Requesters who have left their team: checked at approval and before the CA signs."""

from __future__ import annotations

from collections.abc import Sequence

from certs.access.permissions import Permission, holders_of, members_among
from certs.enums import Channel
from certs.models import CertificateRequest

ASK_A_MEMBER = "Ask a member of the team to request the certificate again."


def requesters_who_left(requests: Sequence[CertificateRequest]) -> dict[int, str]:
    """Return by request id a sentence for each requester whose account is inactive or has left the team.

    One query for all of them, and another where an officer renewed for a team without belonging to it. A renewal by the
    schedule or a command belongs to the team, not to the requester of the first certificate.
    """
    asked = [request for request in requests if request.requester_id is not None and not _is_the_teams(request)]
    pairs = {(request.team_id, request.requester_id) for request in asked if request.requester_id is not None}
    members = members_among(pairs)
    strangers = [request for request in asked if (request.team_id, request.requester_id) not in members]
    officers = _officers_among(strangers)
    return {request.pk: _sentence(request) for request in strangers if not (_is_an_officers(request) and request.requester_id in officers)}


def _officers_among(requests: Sequence[CertificateRequest]) -> set[int]:
    people = {request.requester_id for request in requests if _is_an_officers(request)}
    if not people:
        return set()
    return set(holders_of(Permission.ACT_FOR_EVERY_TEAM).filter(pk__in=people).values_list("pk", flat=True))


def _sentence(request: CertificateRequest) -> str:
    who, team = f"{request.requester}, who requested it,", request.team.name
    return f"{who} may not act for team {team} any more" if _is_an_officers(request) else f"{who} has left team {team} or was deactivated"


def _is_an_officers(request: CertificateRequest) -> bool:
    """Return whether an officer can have requested it: officers renew for every team, by no API token, and request nothing new."""
    return request.renewed_from_id is not None and request.door == Channel.PORTAL


def _is_the_teams(request: CertificateRequest) -> bool:
    return request.renewed_from_id is not None and request.door in (Channel.COMMAND, Channel.SCHEDULE)
