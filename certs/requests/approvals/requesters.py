"""Requesters who have left their team: checked at approval and before the CA signs."""

from __future__ import annotations

from collections.abc import Sequence

from certs.access.permissions import members_among
from certs.enums import Channel
from certs.models import CertificateRequest

ASK_A_MEMBER = "Ask a member of the team to request the certificate again."


def requesters_who_left(requests: Sequence[CertificateRequest]) -> dict[int, str]:
    """Return by request id a sentence for each requester whose account is inactive or has left the team.

    One query for all of them. A renewal by the schedule or a command belongs to the team, not to the requester of the first
    certificate.
    """
    asked = [request for request in requests if request.requester_id is not None and not _is_the_teams(request)]
    pairs = {(request.team_id, request.requester_id) for request in asked if request.requester_id is not None}
    members = members_among(pairs)
    return {
        request.pk: f"{request.requester}, who requested it, has left team {request.team.name} or was deactivated"
        for request in asked
        if (request.team_id, request.requester_id) not in members
    }


def _is_the_teams(request: CertificateRequest) -> bool:
    return request.renewed_from_id is not None and request.door in (Channel.COMMAND, Channel.SCHEDULE)
