"""What every rule shares: the case it looks at, the checks it returns, the repairs it knows, and strict reading of JSON."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar, NamedTuple, Self

from policy.facts import RequesterFacts, RequestFacts

SECURITY_TEAM = "the security team"


class RuleSetInvalid(ValueError):
    """A rule set that cannot be read; the message names the rule, the field and what is allowed."""


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
        """JSON-able."""
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
    """One rule of a policy: parsed from JSON, evaluated for a case, able to propose what would satisfy it.

    Subclasses are frozen dataclasses, listed in `policy.rules.ruleset.RULES`. `name` is its name in
    JSON, `label` what people read above the certificates that it refuses.
    """

    name: ClassVar[str]
    label: ClassVar[str]

    @classmethod
    @abstractmethod
    def from_params(cls, params: Params) -> Self:
        """Read the rule's parameters. Raises RuleSetInvalid."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Inverse of `from_params`: JSON-able, every parameter written out."""

    @abstractmethod
    def checks(self, case: Case) -> Iterator[Check]:
        """At least one check, passed or not."""

    def repairs(self, case: Case) -> Iterator[Repair]:
        """Changes that would satisfy this rule, smallest first; none by default. Only called when a
        check failed.
        """
        return iter(())

    def advice(self, case: Case) -> str:
        """Whom to ask when no change passes."""
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
    """

    def __init__(self, where: str, data: Any) -> None:
        if not isinstance(data, Mapping):
            raise RuleSetInvalid(f"{where}: expected an object, found {type(data).__name__}")
        self.where = where
        self._left: dict[str, Any] = dict(data)

    def has(self, field: str) -> bool:
        return field in self._left

    def take(self, field: str) -> Any:
        if field not in self._left:
            raise RuleSetInvalid(f"{self.where}: field {field!r} is missing")
        return self._left.pop(field)

    def integer(self, field: str, *, minimum: int, maximum: int, default: int | None = None) -> int:
        if default is not None and not self.has(field):
            return default
        value = self.take(field)
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise RuleSetInvalid(f"{self.where}: {field} must be a whole number from {minimum} to {maximum}, not {value!r}")
        return value

    def optional_integer(self, field: str, *, minimum: int, maximum: int) -> int | None:
        if self._left.get(field) is None:
            self._left.pop(field, None)
            return None
        return self.integer(field, minimum=minimum, maximum=maximum)

    def boolean(self, field: str, *, default: bool | None = None) -> bool:
        if default is not None and not self.has(field):
            return default
        value = self.take(field)
        if not isinstance(value, bool):
            raise RuleSetInvalid(f"{self.where}: {field} must be true or false, not {value!r}")
        return value

    def choice(self, field: str, choices: tuple[str, ...], *, default: str | None = None) -> str:
        if default is not None and not self.has(field):
            return default
        value = self.take(field)
        if not isinstance(value, str) or value not in choices:
            raise RuleSetInvalid(f"{self.where}: {field} must be one of {', '.join(choices)}, not {value!r}")
        return value

    def text(self, field: str) -> str:
        value = self.take(field)
        if not isinstance(value, str) or not value.strip():
            raise RuleSetInvalid(f"{self.where}: {field} must be a text that is not empty, not {value!r}")
        return value

    def items(self, field: str) -> list[Any]:
        value = self.take(field)
        if not isinstance(value, list):
            raise RuleSetInvalid(f"{self.where}: {field} must be a list, not {value!r}")
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        values = self.items(field)
        if not values or not all(isinstance(value, str) and value for value in values):
            raise RuleSetInvalid(f"{self.where}: {field} must be a list of texts that is not empty, not {values!r}")
        return tuple(values)

    def date(self, field: str) -> date:
        value = self.take(field)
        try:
            return date.fromisoformat(value)
        except (TypeError, ValueError) as error:
            raise RuleSetInvalid(f"{self.where}: {field} must be a date such as 2026-03-15, not {value!r}") from error

    def remaining(self) -> dict[str, Any]:
        """All that is left, for objects whose field names are data (profile names)."""
        left, self._left = self._left, {}
        return left

    def done(self) -> None:
        if self._left:
            raise RuleSetInvalid(f"{self.where}: unknown field {', '.join(repr(name) for name in sorted(self._left))}")


def listed(words: tuple[str, ...], conjunction: str = "or") -> str:
    """Words as people list them: `a`, `a or b`, `a, b or c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {conjunction} {words[-1]}"
