"""Bulk uploads: read a file into lines of a bulk order, in a child process with limits on time and memory."""

from __future__ import annotations

from collections.abc import Sequence

from certs.spec import IntakeDefaults
from certs.uploads.formats.columns import Mapped
from certs.uploads.formats.detect import too_large
from certs.uploads.formats.templates import template_csv, template_xlsx
from certs.uploads.formats.zip_archive import shown
from certs.uploads.limits import Limits, Rules
from certs.uploads.line import Line
from certs.uploads.sandbox.parent import read_in_process

__all__ = ["Limits", "Line", "read_upload", "template_csv", "template_xlsx"]


def read_upload(
    data: bytes,
    *,
    filename: str,
    defaults: IntakeDefaults,
    domains: tuple[str, ...],
    limits: Limits | None = None,
    mapped: Mapped | None = None,
) -> Sequence[Line]:
    """Read a CSV or XLSX table, a zip of CSRs, or CSRs in PEM or DER. Returns a line for each requested certificate, usable or not.

    The kind is recognised by the content; `filename` only names a single CSR in the result.
    `domains`: those inside which the CSR gate accepts names. `mapped`: what a person said the column
    titles mean. The lines are kept in a temporary file and read from it on access.

    Raises ColumnsNotKnown where a person has to say what the columns mean; InputRefused (field
    "file") for a file that cannot be used at all; CSRRefused (`secret_pasted`) for a private key or
    token anywhere in the file.
    """
    limits = limits or Limits()
    if len(data) > limits.max_bytes:
        raise too_large(len(data), limits)
    return read_in_process(data, Rules(defaults, domains, limits, shown(filename), mapped or {}))
