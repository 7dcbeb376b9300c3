"""The limits of an upload, and the rules by which it is read. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from certs.spec import IntakeDefaults
from certs.uploads.formats.columns import Mapped

MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits, each checked before the work that it bounds. Sizes in bytes; `seconds` of wall time, and of CPU time for each process.

    `max_zip_ratio`: the largest compression ratio of an entry above 100 kB; deflate reaches 1,032.
    `max_unzipped_ratio`: the same for the whole file beyond `always_unzipped_bytes`, so that the work
    (about 70 ns of CPU for an unpacked byte) is proportional to the size of the upload. CSRs shrink
    to a half, tables to a tenth. `memory_bytes`: the address space of the process (RLIMIT_AS),
    libraries included.
    """

    max_bytes: int = 20 * MB
    max_lines: int = 10_000
    max_unzipped_bytes: int = 100 * MB
    max_zip_entries: int = 100_000
    max_zip_ratio: int = 200
    max_unzipped_ratio: int = 20
    always_unzipped_bytes: int = 10 * MB
    max_csr_bytes: int = 64 * 1024
    max_names: int = 100
    seconds: int = 60
    memory_bytes: int = 1024 * MB


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules for one upload: defaults for gaps, the team's domains for the CSR gate, and the limits.

    `label`: the name of a single CSR in the result, which is the file's name. `mapped`: what a person
    said the column titles mean.
    """

    defaults: IntakeDefaults
    domains: tuple[str, ...]
    limits: Limits
    label: str = ""
    mapped: Mapped = field(default_factory=dict)
