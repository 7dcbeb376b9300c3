"""The published CRL, as relying parties fetch it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from certs.models import CRL, CRLPoint
from certs.status.crl.publish import entries_of


@dataclass(frozen=True, slots=True)
class ServedCRL:
    """A published CRL: what the HTTP headers need, and the bytes, piece by piece."""

    number: int
    length: int
    etag: str
    this_update: datetime
    next_update: datetime
    _crl: CRL

    def pieces(self) -> Iterator[bytes]:
        """Yield the DER. Segments are kept for an hour after their last CRL, so that a slow reader of an older one gets all of it."""
        yield bytes(self._crl.head)
        yield from entries_of(self._crl.segments)
        yield bytes(self._crl.tail)


def published_crl(slug: str, shard: int) -> ServedCRL | None:
    """Return the newest CRL of an issuer's shard; None where none is published."""
    point = CRLPoint.objects.select_related("published").filter(issuer__slug=slug, shard=shard, published__isnull=False).first()
    if point is None or point.published is None:
        return None
    crl = point.published
    return ServedCRL(crl.number, crl.length, f'"{crl.number}-{crl.tbs_sha256[:16]}"', crl.this_update, crl.next_update, crl)
