"""Which serial numbers of a CA are on record here."""

from __future__ import annotations

from collections.abc import Collection

from certs.models import Certificate, QuarantinedCertificate

AT_ONCE = 500  # serial numbers in one query


def known_serials(alias: str, serials: Collection[str]) -> set[str]:
    """Return those of `serials` (lower-case hex) that the CA of that alias issued and that are in the
    inventory or in quarantine. Other CAs may use the same numbers: they are compared with the
    certificates of this one only, by the index (issuer, serial number).
    """
    known: set[str] = set()
    listed = list(serials)
    for first in range(0, len(listed), AT_ONCE):
        part = listed[first : first + AT_ONCE]
        for model in (Certificate, QuarantinedCertificate):
            rows = model.objects.filter(issuer__alias=alias, serial_number__in=part)
            known.update(rows.values_list("serial_number", flat=True))
    return known
