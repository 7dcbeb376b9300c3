"""A view of the inventory as CSV, in its order, a part at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import datetime

from certs.access.permissions import Authority
from certs.inventory.filters import CertificateFilter
from certs.inventory.listing.listed import view_of
from certs.inventory.register import COLUMNS, Echo, names_of, register_line, with_facts
from certs.models import Certificate
from certs.uploads.formats.cells import safe_cell

PART = 2000  # rows in memory at once


def view_csv(authority: Authority, sought: CertificateFilter, sort: str, *, now: datetime) -> Iterator[str]:
    """Return the lines of a view (RFC 4180), the heading first: the columns of the register.

    Raises InputRefused for an unknown order, before the first line.
    """
    view = view_of(authority.sees(), sought, sort, now=now)
    writer = csv.writer(Echo())

    def lines() -> Iterator[str]:
        yield writer.writerow(COLUMNS)
        for ids in view.parts(PART):
            rows = with_facts(Certificate.objects.filter(pk__in=ids), now)
            found, names = {row.pk: row for row in rows}, names_of(ids)
            for pk in ids:
                if pk in found:
                    line = register_line(found[pk], names.get(pk, []))
                    yield writer.writerow([safe_cell(str(value)) for value in line])

    return lines()
