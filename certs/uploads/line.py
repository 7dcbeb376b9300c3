"""A line of a bulk order as it was read from an upload, usable or not. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from certs.spec import CertificateSpec


@dataclass(frozen=True, slots=True)
class Line:
    """One requested certificate of an upload.

    `number` counts rows as a person does (the header of a table is row 1), CSRs by position. `spec` is None for a line that
    cannot be used; then `problem` has the reason and what would pass, `field` the column or "csr", `problem_class` the
    RefusalClass of a refused CSR. `completed` are the names that got the team's default domain.
    `given`: the cells of a table's row that cannot be used, by column and without a CSR, so that a person can correct them.
    """

    number: int
    source: str
    spec: CertificateSpec | None
    owner: str = ""
    notes: tuple[str, ...] = ()
    problem: str = ""
    field: str = ""
    problem_class: str = ""
    completed: tuple[str, ...] = ()
    given: tuple[tuple[str, str], ...] = ()


class Changed(Collection[Line]):
    """Lines with a change that is applied on each access, so that the changed lines are not kept in memory."""

    def __init__(self, lines: Collection[Line], change: Callable[[Line], Line]) -> None:
        self._lines, self._change = lines, change

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Line]:
        return map(self._change, self._lines)

    def __contains__(self, line: object) -> bool:
        return any(one == line for one in self)
