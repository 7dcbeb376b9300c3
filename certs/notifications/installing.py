"""How to install one certificate, for the mail about a new or renewed certificate."""

from __future__ import annotations

from certs.inventory.servers import server_of
from certs.models import Certificate
from certs.servers.kinds import CLIENT, CLIENT_PROFILE, Server
from certs.servers.snippets import Snippet, snippet


def installation_of(cert_id: str) -> Snippet | None:
    """Return the steps for the server that the requester named, as the page of the request shows them.

    None for a key in the vault, which is nothing to install, and where no server was named.
    """
    certificate = Certificate.objects.select_related("renewed_from").filter(cert_id=cert_id, key__isnull=True).first()
    server = _server(certificate) if certificate else None
    if certificate is None or server is None:
        return None
    return snippet(server, list(certificate.names.order_by("pk").values_list("name", flat=True)))


def _server(certificate: Certificate) -> Server | None:
    return CLIENT if certificate.profile == CLIENT_PROFILE else server_of(certificate)
