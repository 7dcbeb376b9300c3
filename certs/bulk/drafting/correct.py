"""One line of a draft corrected by a person: read again as a table's row is, and judged by the policy again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.db import transaction

from certs.access.permissions import Authority
from certs.bulk.drafting.draft import draft_of
from certs.bulk.drafting.judge import Judge
from certs.bulk.drafting.upload import line_of_cells
from certs.bulk.lines import spec_of
from certs.errors import InputRefused, NotFound
from certs.models import BulkItem, BulkOrder
from certs.requests.submit import Requester
from certs.uploads.line import Line
from keys.spec import KeyFacts

# What the form of one line has. A line with a CSR has its names and its key from there.
CELLS = ("name", "sans", "key", "validity_days", "profile")
_WRITTEN = ("common_name", "spec", "given", "notes", "outcome", "reason", "suggestion", "duplicate")
_TWINS = 50  # lines with the same first name that are compared


def cells_of(item: BulkItem) -> dict[str, str]:
    """Return a line as cells of a table: as they were sent where it cannot be read, else as it was understood."""
    if item.spec is None:
        return {name: str((item.given or {}).get(name, "")) for name in CELLS}
    spec = spec_of(item)
    names = [*spec.dns_names, *spec.ip_addresses]
    return {
        "name": names[0],
        "sans": " ".join(names[1:]),
        "key": KeyFacts.from_name(spec.key).label,
        "validity_days": spec.validity.written,
        "profile": spec.profile,
    }


def correct_line(order: BulkOrder, number: int, cells: Mapping[str, str], *, authority: Authority) -> BulkItem:
    """Write one line of a draft anew from these cells, and judge it. Returns the line.

    Effects: the row. Raises NotPermitted, NotFound; Conflict for an order that was submitted;
    InputRefused, which names the cell, where the line still cannot be read: nothing is changed then;
    CSRRefused for a secret in a cell.
    """
    authority.check_may_act(order)
    item = order.items.select_related("team").filter(number=number).first()
    if item is None:
        raise NotFound("There is no such line.")
    # 1. Read the cells before the transaction: the refusal of a secret has a record, which a rollback would remove.
    line = _read(item, {name: str(cells.get(name, "")) for name in CELLS}, authority=authority, channel=order.door)
    # 2. Evaluate and write it while the draft is locked: it is not submitted with a line that was evaluated as another one.
    with transaction.atomic():
        draft_of(order)
        (judged,) = Judge(order, {"": item.team, item.team.slug: item.team}).items([(number, line)])
        for name in _WRITTEN:
            setattr(item, name, getattr(judged, name))
        # The judge has seen this line alone, so twins in the rest of the draft are looked up.
        item.duplicate = item.duplicate or _same_names(order, item)
        item.save(update_fields=_WRITTEN)
    return item


def _read(item: BulkItem, cells: Mapping[str, str], *, authority: Authority, channel: str) -> Line:
    # For the team of the line: `check_may_act` has checked that the person belongs to it.
    requester = Requester(authority.actor, item.team, channel)
    if item.spki_der:
        if not item.csr_der:
            raise InputRefused(
                "The CSR of this line was not kept, because it holds a password.",
                field="csr",
                next_step="Upload the CSR again without a challenge password.",
            )
        terms = {name: cells[name] for name in ("validity_days", "profile")}
        line = line_of_cells(item.number, {"csr": _pem(bytes(item.csr_der)), **terms}, requester=requester)
    else:
        line = line_of_cells(item.number, cells, requester=requester)
    if line.spec is None:
        raise InputRefused(line.problem, field=line.field, next_step="Nothing was changed. Correct the line and send it again.")
    return replace(line, source=item.source, notes=(*line.notes, "Corrected by a person after the upload."))


def _pem(der: bytes) -> str:
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()


def _same_names(order: BulkOrder, item: BulkItem) -> str:
    """Return where else in the order the same names are, in the words in which a draft points out duplicates."""
    names = _names_in(item)
    others = order.items.filter(common_name=item.common_name, team=item.team, spec__isnull=False).exclude(pk=item.pk)
    twin = next((one for one in others.order_by("number")[:_TWINS] if _names_in(one) == names), None)
    return f"same names as {twin.source}" if twin else ""


def _names_in(item: BulkItem) -> frozenset[str]:
    """Return the names of a line that can be read."""
    spec = spec_of(item)
    return frozenset((*spec.dns_names, *spec.ip_addresses))
