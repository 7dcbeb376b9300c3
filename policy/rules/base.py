"""What every rule shares: the case it looks at, the checks it returns, the repairs it knows, and strict reading of JSON."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar, NamedTuple, Self

from policy.facts import RequesterFacts, RequestFacts
from policy.rules.fields import Field

SECURITY_TEAM = "the security team"
TOP = "policy"  # what the messages call the whole text


class Fault(NamedTuple):
    """One thing that is wrong with a text: where (`rules.max_validity.days`), and what is allowed there."""

    where: str
    message: str


class RuleSetInvalid(ValueError):
    """A rule set that cannot be read; each fault names the rule, the field and what is allowed."""

    def __init__(self, *faults: Fault | str) -> None:
        self.faults = tuple(_fault(one) for one in faults)
        super().__init__("; ".join(f"{one.where}: {one.message}" if one.where else one.message for one in self.faults))


def _fault(given: Fault | str) -> Fault:
    if isinstance(given, Fault):
        return given
    where, separator, message = given.partition(": ")
    return Fault(where, message) if separator and " " not in where else Fault("", given)


@dataclass(frozen=True, slots=True)
class Case:
    """One request as the rules see it. `on` is the day of issuance (UTC), for rules with a calendar."""

    facts: RequestFacts
    requester: RequesterFacts
    on: date


class Check(NamedTuple):
    """One thing that was looked at. `needs_approval` with `passed` means: passes once somebody has approved it."""

    rule: str
    passed: bool
    message: str
    field: str = ""
    needs_approval: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the check as JSON."""
        return {
            "rule": self.rule,
            "passed": self.passed,
            "message": self.message,
            "field": self.field,
            "needs_approval": self.needs_approval,
        }


@dataclass(frozen=True, slots=True)
class Repair:
    """A change that would satisfy one rule. `cost` orders repairs: 1 for a small change, more for one that people feel."""

    text: str
    facts: RequestFacts
    cost: int = 1


class Rule(ABC):
    """One rule of a policy: parsed from JSON, evaluated for a case, able to propose what would satisfy it, and described.

    Subclasses are frozen dataclasses, listed in `policy.rules.ruleset.RULES`. `name` is its name in
    JSON, `label` what people read above the certificates that it refuses, `about` what it is for,
    `form` its fields in a form. `may_be_left_out`: a policy need not state it.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    about: ClassVar[str]
    form: ClassVar[tuple[Field, ...]] = ()
    may_be_left_out: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def from_params(cls, params: Params) -> Self:
        """Read the rule's parameters. Raises RuleSetInvalid."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the inverse of `from_params` as JSON, every parameter written out."""

    @abstractmethod
    def sentences(self) -> Sequence[str]:
        """Return the rule with its parameters, in sentences for people."""

    @abstractmethod
    def checks(self, case: Case) -> Iterator[Check]:
        """Yield at least one check, passed or not."""

    def repairs(self, case: Case) -> Iterator[Repair]:
        """Return changes that would satisfy this rule, smallest first; none by default. Only called when a
        check failed.
        """
        return iter(())

    def advice(self, case: Case) -> str:
        """Return whom to ask when no change passes."""
        return f"Ask {SECURITY_TEAM} for an exception or another policy."

    def _passed(self, message: str, field: str = "") -> Check:
        return Check(self.name, passed=True, message=message, field=field)

    def _failed(self, message: str, field: str) -> Check:
        return Check(self.name, passed=False, message=message, field=field)

    def _approval(self, message: str, field: str) -> Check:
        return Check(self.name, passed=True, message=message, field=field, needs_approval=True)


class Params:
    """A JSON object read field by field; `done()` refuses fields that nothing has read, so that a
    misspelt limit cannot be silently ignored.

    With a list of `faults` reading goes on after a fault, with a value that is allowed in its
    place, so that all of them are named at once. Without one the first fault is raised.
    """

    def __init__(self, where: str, data: Any, faults: list[Fault] | None = None) -> None:
        self.where = where
        self._faults = faults
        self._left: dict[str, Any] = {}
        if isinstance(data, Mapping):
            self._left = dict(data)
        else:
            found = "nothing" if data is None else "a list" if isinstance(data, list) else "a single value"
            self.refuse(f"expected an object, found {found}")

    def refuse(self, message: str, field: str = "") -> None:
        """Note a fault of the object, or of one of its fields; raise it where faults are not collected."""
        prefix = "" if self.where == TOP else f"{self.where}."
        fault = Fault(f"{prefix}{field}" if field else self.where, message)
        if self._faults is None:
            raise RuleSetInvalid(fault)
        self._faults.append(fault)

    def inner(self, field: str) -> Params:
        """Return the object in that field. A missing one has no fields."""
        prefix = "" if self.where == TOP else f"{self.where}."
        return Params(f"{prefix}{field}", self.take(field, {}), self._faults)

    def element(self, field: str, number: int, data: Any) -> Params:
        """Return an object of a list."""
        return Params(f"{self.where}.{field}[{number}]", data, self._faults)

    def has(self, field: str) -> bool:
        return field in self._left

    def take(self, field: str, instead: Any) -> Any:
        """Return the field's value; `instead` where it is missing, which is a fault."""
        if field not in self._left:
            self.refuse(f"field {field!r} is missing", field)
            return instead
        return self._left.pop(field)

    def integer(self, field: str, *, minimum: int, maximum: int, default: int | None = None) -> int:
        if default is not None and not self.has(field):
            return default
        value = self.take(field, minimum)
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            self.refuse(f"{field} must be a whole number from {minimum} to {maximum}, not {_quoted(value)}", field)
            return minimum
        return value

    def optional_integer(self, field: str, *, minimum: int, maximum: int) -> int | None:
        if self._left.get(field) is None:
            self._left.pop(field, None)
            return None
        return self.integer(field, minimum=minimum, maximum=maximum)

    def boolean(self, field: str, *, default: bool | None = None) -> bool:
        if default is not None and not self.has(field):
            return default
        value = self.take(field, instead=False)
        if not isinstance(value, bool):
            self.refuse(f"{field} must be true or false, not {_quoted(value)}", field)
            return False
        return value

    def choice(self, field: str, choices: tuple[str, ...], *, default: str | None = None) -> str:
        if default is not None and not self.has(field):
            return default
        value = self.take(field, choices[0])
        if not isinstance(value, str) or value not in choices:
            self.refuse(f"{field} must be one of {', '.join(choices)}, not {_quoted(value)}", field)
            return choices[0]
        return value

    def text(self, field: str) -> str:
        value = self.take(field, "-")
        if not isinstance(value, str) or not value.strip():
            self.refuse(f"{field} must be a text that is not empty, not {_quoted(value)}", field)
            return "-"
        return value

    def items(self, field: str) -> list[Any]:
        value = self.take(field, [])
        if not isinstance(value, list):
            self.refuse(f"{field} must be a list, not {_quoted(value)}", field)
            return []
        return value

    def date(self, field: str) -> date:
        value = self.take(field, "2000-01-01")
        try:
            return date.fromisoformat(value)
        except (TypeError, ValueError):
            self.refuse(f"{field} must be a date such as 2026-03-15, not {_quoted(value)}", field)
            return date(2000, 1, 1)

    def remaining(self) -> dict[str, Any]:
        """Return all that is left, for objects whose field names are data (profile names)."""
        left, self._left = self._left, {}
        return left

    def done(self) -> None:
        for name in sorted(self._left, key=str):
            self.refuse(f"unknown field {_quoted(name)}", str(name)[:40])


def _quoted(value: Any) -> str:
    """Return a value as messages quote it: short, whatever was given."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def day(moment: date) -> str:
    """Return a date as sentences have it: 15 Dec 2026."""
    return f"{moment.day} {moment:%b %Y}"


def plural(number: int, word: str) -> str:
    """Return `1 day`, `2 days`."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def listed(words: tuple[str, ...], conjunction: str = "or") -> str:
    """Return words as people list them: `a`, `a or b`, `a, b or c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {conjunction} {words[-1]}"
