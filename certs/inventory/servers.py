"""The kind of server on which a certificate is installed, as its requester chose."""

from __future__ import annotations

from certs.models import Certificate, RequestDraft
from certs.servers.kinds import Server, server_named

LONGEST_LINEAGE = 50  # certificates that are followed back


def server_of(certificate: Certificate) -> Server | None:
    """Return the server that the draft of its request named; None where none was chosen.

    A renewal goes where the certificates before it are. One query, and one for each of those.
    """
    requests, before = [certificate.request_id], certificate.renewed_from_id
    while before is not None and len(requests) < LONGEST_LINEAGE:
        rows = Certificate.objects.filter(pk=before).values_list("request_id", "renewed_from_id")
        request, before = rows.get()
        requests.append(request)
    draft = RequestDraft.objects.filter(request__in=requests).exclude(server="").order_by("-pk").first()
    return server_named(draft.server) if draft else None
