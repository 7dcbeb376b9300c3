"""The kind of server on which a certificate is installed, as its requester chose."""

from __future__ import annotations

from certs.models import Certificate
from certs.servers.kinds import Server, server_named
from db.sql import fetch

LONGEST_LINEAGE = 200  # certificates that are followed back


def server_of(certificate: Certificate) -> Server | None:
    """Return the server that the draft of its request named; None where none was chosen.

    A renewal goes where the certificates before it are: of several drafts the last one counts. One query.
    """
    rows = fetch(_CHOSEN, [certificate.pk, LONGEST_LINEAGE])
    return server_named(rows[0][0]) if rows else None


_CHOSEN = """
WITH RECURSIVE lineage(request_id, before_id, place) AS (
  SELECT request_id, renewed_from_id, 1 FROM certs_certificate WHERE id = %s
  UNION ALL
  SELECT c.request_id, c.renewed_from_id, lineage.place + 1
  FROM lineage JOIN certs_certificate c ON c.id = lineage.before_id WHERE lineage.place < %s)
SELECT d.server FROM lineage JOIN certs_requestdraft d ON d.request_id = lineage.request_id
WHERE d.server <> '' ORDER BY lineage.place, d.id DESC LIMIT 1
"""
