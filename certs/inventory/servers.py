"""The kind of server on which a certificate is installed, as its requester chose."""

from __future__ import annotations

from certs.models import Certificate, RequestDraft
from certs.servers.kinds import Server, server_named


def server_of(certificate: Certificate) -> Server | None:
    """Return the server that the draft of its request named; None where none was chosen.

    A renewal goes where the certificate before it is. One query.
    """
    requests = [certificate.request_id]
    if certificate.renewed_from is not None:
        requests.append(certificate.renewed_from.request_id)
    draft = RequestDraft.objects.filter(request__in=requests).exclude(server="").order_by("-pk").first()
    return server_named(draft.server) if draft else None
