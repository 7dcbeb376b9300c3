"""Whether the person in whose name a request was made still belongs to its team: asked at approval and before the CA."""

from __future__ import annotations

from collections.abc import Sequence

from certs.access.membership import members_among
from certs.enums import Channel
from certs.models import CertificateRequest

ASK_A_MEMBER = "Ask a member of the team to request the certificate again."


def requesters_who_left(requests: Sequence[CertificateRequest]) -> dict[int, str]:
    """By request id, for those whose requester's account is inactive or has left the team: a sentence that says so.

    One query for all of them. A renewal by the schedule or a command is the team's, whoever once requested the first
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
