"""One line of a bulk order as it was read, usable or not. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from certs.intake.spec import CertificateSpec


@dataclass(frozen=True, slots=True)
class Line:
    """One wanted certificate of an upload.

    `number` counts rows as a person does (the header of a table is row 1), CSRs by position. `spec` is None for a line that
    cannot be used; then `problem` says why and what would pass, `field` the column or "csr", `problem_class` the
    RefusalClass of a refused CSR.
    """

    number: int
    source: str
    spec: CertificateSpec | None
    owner: str = ""
    notes: tuple[str, ...] = ()
    problem: str = ""
    field: str = ""
    problem_class: str = ""
