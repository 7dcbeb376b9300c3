"""Bulk uploads: bytes in, lines out. A file is read in a process of its own, which may not use more than it is given."""

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
    """A CSV or XLSX table, a zip of CSRs, or CSRs in PEM or DER -> a line for each certificate asked for, usable or not. They stay in a
    file of their own, and each is read when it is asked for.

    The kind is recognised by the content; `filename` only names a single CSR in the answer. `domains` are those that the gate lets CSRs
    ask for. `mapped`: what a person said the titles of the table mean. Raises ColumnsNotKnown where that has to be asked, else
    InputRefused (field "file") for a file that is of no use as a whole, and CSRRefused(secret_pasted) when a
    private key or token is anywhere in it.
    """
    limits = limits or Limits()
    if len(data) > limits.max_bytes:
        raise too_large(len(data), limits)
    return read_in_process(data, Rules(defaults, domains, limits, shown(filename), mapped or {}))
