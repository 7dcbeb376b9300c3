"""The fields of a rule in a form: where each is in the rule's JSON, and how it is typed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a field is typed, and what its value is in JSON."""

    NUMBER = "number"
    OPTIONAL_NUMBER = "optional number"  # empty: no limit
    SWITCH = "switch"
    CHOICE = "choice"
    SIZES = "sizes"  # some of a few numbers
    LINES = "lines"  # one text a line
    STEPS = "steps"  # `2027-03-15 100` a line: from that day on at most so many days
    PROFILES = "profiles"  # `tls-server: serverAuth, clientAuth` a line


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a rule. `path` is its place in the rule's JSON, such as `rsa.min_bits`; "" for the whole object.

    `choices` are values with their labels; `unit` is shown after a number.
    """

    path: str
    label: str
    kind: Kind
    minimum: int = 0
    maximum: int = 0
    choices: tuple[tuple[str, str], ...] = ()
    unit: str = ""
    help: str = ""
