"""How much an upload may be, and what it is read by. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from certs.spec import IntakeDefaults
from certs.uploads.formats.columns import Mapped

MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Each is checked before the work that it bounds. Sizes in bytes; `seconds` of wall time and of CPU time a process.

    `max_zip_ratio`: how many bytes one packed byte may become, for entries above 100 kB; deflate reaches 1,032.
    `max_unzipped_ratio`: the same for the whole file beyond `always_unzipped_bytes`, so that the work (about 70 ns of CPU
    for a byte that is unpacked) stays in proportion to what was sent. CSRs shrink by half, a table to a tenth.
    `memory_bytes` bounds the address space of a process that reads (RLIMIT_AS), libraries included.
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
    """What one upload is read by: the gaps' defaults, the team's domains for the gate of CSRs, and the limits.

    `label` is what a single CSR is called in the answer: the file's name as it may be shown.
    `mapped`: what a person said the titles of the table mean.
    """

    defaults: IntakeDefaults
    domains: tuple[str, ...]
    limits: Limits
    label: str = ""
    mapped: Mapped = field(default_factory=dict)
