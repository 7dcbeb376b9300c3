"""Between a rule's JSON and the fields of a form, by the rule's description. Pure.

Names in a form are `rule.path`, such as `allowed_keys.rsa.min_bits`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policy.rules.base import Fault
from policy.rules.fields import Field, Kind
from policy.texts.descriptions import DESCRIPTIONS, Description

Sent = Callable[[str], Sequence[str]]  # all values sent under a name
MOST_STEPS = 50


@dataclass(frozen=True, slots=True)
class Shown:
    """A field as a form shows it: `value` as typed, `values` of those that have several."""

    field: Field
    name: str
    value: str = ""
    values: tuple[str, ...] = ()
    steps: tuple[tuple[str, str], ...] = ()
    faults: tuple[str, ...] = ()


def shown_fields(description: Description, params: Mapping[str, Any], faults: Sequence[Fault] = ()) -> list[Shown]:
    """Return the fields of a rule with its parameters in them."""
    rule = description.rule.name
    return [_shown(field, rule, _at(params, field.path), faults) for field in description.fields]


def _at(params: Mapping[str, Any], path: str) -> Any:
    value: Any = params
    for part in filter(None, path.split(".")):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _shown(field: Field, rule: str, value: Any, faults: Sequence[Fault]) -> Shown:
    name = f"{rule}.{field.path}".rstrip(".")
    mine = tuple(one.message for one in faults if _concerns(one.where, f"rules.{name}"))
    match field.kind:
        case Kind.SIZES:
            return Shown(field, name, values=tuple(map(str, value or ())), faults=mine)
        case Kind.SWITCH:
            return Shown(field, name, value="on" if value else "", faults=mine)
        case Kind.LINES:
            return Shown(field, name, value="\n".join(map(str, value or ())), faults=mine)
        case Kind.STEPS:
            steps = tuple((str(step.get("from", "")), str(step.get("days", ""))) for step in value or ())
            return Shown(field, name, steps=(*steps, ("", ""), ("", "")), faults=mine)
        case Kind.PROFILES:
            lines = [f"{profile}: {', '.join(map(str, ekus))}" for profile, ekus in (value or {}).items()]
            return Shown(field, name, value="\n".join(lines), faults=mine)
        case _:
            return Shown(field, name, value="" if value is None else str(value), faults=mine)


def _concerns(where: str, name: str) -> bool:
    return where == name or where.startswith((f"{name}.", f"{name}["))


def read_params(description: Description, sent: Sent) -> dict[str, Any]:
    """Return a rule's parameters from a form, as typed: what cannot be read stays as it is, for the rule to refuse."""
    rule, params = description.rule.name, dict[str, Any]()
    for field in description.fields:
        name = f"{rule}.{field.path}".rstrip(".")
        value = _read(field, name, sent)
        if field.kind is Kind.OPTIONAL_NUMBER and value is None:
            continue
        *outer, last = field.path.split(".")
        if last == "":
            params.update(value)
            continue
        place = params
        for part in outer:
            place = place.setdefault(part, {})
        place[last] = value
    return params


def _read(field: Field, name: str, sent: Sent) -> Any:
    first = next(iter(sent(name)), "").strip()
    match field.kind:
        case Kind.NUMBER:
            return _number(first)
        case Kind.OPTIONAL_NUMBER:
            return _number(first) if first else None
        case Kind.SWITCH:
            return bool(first)
        case Kind.SIZES:
            return [_number(one) for one in sent(name)]
        case Kind.LINES:
            return [line.strip() for line in first.splitlines() if line.strip()]
        case Kind.STEPS:
            starts, days = sent(f"{name}.from")[:MOST_STEPS], sent(f"{name}.days")[:MOST_STEPS]
            rows = [(start.strip(), number.strip()) for start, number in zip(starts, days, strict=False)]
            # In the order of their dates, in whatever order they were typed.
            return [{"from": start, "days": _number(number)} for start, number in sorted(rows) if start or number]
        case Kind.PROFILES:
            found: dict[str, list[str]] = {}
            for line in filter(str.strip, first.splitlines()):
                profile, _, ekus = line.partition(":")
                found[profile.strip()] = [one.strip() for one in ekus.split(",") if one.strip()]
            return found
        case _:
            return first


def _number(text: str) -> int | str:
    """Return a number where the text is one; else the text, which no rule accepts as a number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def rules_from_form(sent: Sent) -> dict[str, Any]:
    """Return a policy's JSON from a form. Nothing is refused here: `ruleset_from_dict` names every fault."""

    def first(name: str) -> str:
        return next(iter(sent(name)), "").strip()

    rules = {
        name: read_params(description, sent)
        for name, description in DESCRIPTIONS.items()
        if not description.may_be_left_out or first(f"{name}.on")
    }
    terms = {name: first(f"approval.{name}") for name in ("approvers", "time_limit_days", "confirmation")}
    approval = {name: value if name == "confirmation" else _number(value) for name, value in terms.items() if value}
    return {
        **({"approval": approval} if approval else {}),
        "version": first("version"),
        "defaults": {
            "key": first("defaults.key"),
            "validity_days": _number(first("defaults.validity_days")),
            "profile": first("defaults.profile"),
        },
        "approval_valid_days": _number(first("approval_valid_days")),
        "rules": rules,
    }
