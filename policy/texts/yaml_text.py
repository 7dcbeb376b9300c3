"""A policy as YAML: bounded, without aliases and tags, and every fault with its line. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from policy.rules.base import RuleSetInvalid
from policy.rules.ruleset import RuleSet, ruleset_from_dict, ruleset_to_dict

MOST_BYTES = 64 * 1024
MOST_DEPTH = 8
_YAML_DATE, _YAML_TEXT, _YAML_NUMBER = (f"tag:yaml.org,2002:{kind}" for kind in ("timestamp", "str", "int"))
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)")


class LineFault(NamedTuple):
    """One fault of a text. `line` counts from 1; 0 where none is known."""

    line: int
    where: str
    message: str

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        return f"{place}{self.where}: {self.message}" if self.where else f"{place}{self.message}"


class TextInvalid(ValueError):
    """A text that is no policy. `faults` are all that were found."""

    def __init__(self, *faults: LineFault) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


def ruleset_to_yaml(ruleset: RuleSet) -> str:
    """Return the policy as YAML, every parameter written out. `ruleset_from_yaml` reads it back."""
    return yaml.safe_dump(ruleset_to_dict(ruleset), sort_keys=False, allow_unicode=True, width=100)


def ruleset_from_yaml(data: str | bytes) -> RuleSet:
    """Read a policy from YAML or JSON. Raises TextInvalid with every fault and its line."""
    content, lines = _read(data)
    try:
        return ruleset_from_dict(content)
    except RuleSetInvalid as exc:
        raise TextInvalid(*(LineFault(_line_of(one.where, lines), one.where, one.message) for one in exc.faults)) from exc


def _read(data: str | bytes) -> tuple[Any, dict[str, int]]:
    """Return the content, and the line of each path in it."""
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(raw) > MOST_BYTES:
        raise TextInvalid(LineFault(0, "", f"The text is too long: a policy has at most {MOST_BYTES:,} bytes."))
    try:
        text = raw.decode("utf-8-sig")
        # Depth, aliases and tags are looked at before anything is built from the text.
        _check_events(text)
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            raise TextInvalid(LineFault(0, "", "The text is empty."))
        lines = dict(_lines(node, ""))
        _check_scalars(node)
        content = loader.construct_document(node)
    except UnicodeDecodeError as exc:
        raise TextInvalid(LineFault(0, "", "The text is not UTF-8.")) from exc
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 0
        raise TextInvalid(LineFault(line, "", f"This is not YAML: {exc.problem or exc.context}.")) from exc
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as exc:
        if isinstance(exc, TextInvalid):
            raise
        raise TextInvalid(LineFault(0, "", f"This is not YAML: {str(exc).splitlines()[0][:200]}.")) from exc
    return content, lines


def _check_events(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise TextInvalid(LineFault(line, "", "Anchors and aliases (& and *) are not allowed in a policy."))
        # Also the plain ones: `!!int` on what is no number is an error of the library's own kind.
        if getattr(event, "tag", None):
            raise TextInvalid(LineFault(line, "", "Tags (!) are not allowed in a policy."))
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MOST_DEPTH:
                raise TextInvalid(LineFault(line, "", f"The text is nested more than {MOST_DEPTH} deep."))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_scalars(node: yaml.Node) -> None:
    """Raise TextInvalid for a number that readers of YAML 1.1 and 1.2 read as two numbers.

    `0400` is 256 in one and 400 in the other, `10:30` is 630 in one and a text in the other. Dates
    become texts: the rules read them, and name the field of one that does not exist.
    """
    if isinstance(node, yaml.ScalarNode):
        if node.tag == _YAML_DATE:
            node.tag = _YAML_TEXT
        elif node.tag == _YAML_NUMBER and not _DECIMAL.fullmatch(node.value):
            line = node.start_mark.line + 1
            raise TextInvalid(LineFault(line, "", f"Write {node.value[:40]} as a decimal number, without zeros before it, such as 397."))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _check_scalars(key)
            _check_scalars(value)
    else:
        for item in node.value:
            _check_scalars(item)


def _lines(node: yaml.Node, path: str) -> Iterator[tuple[str, int]]:
    """Yield the line of each path. Raises TextInvalid for a field that is there twice."""
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            here = f"{path}.{name}" if path else name
            if name in seen or name == "<<":
                what = "The field is there twice." if name in seen else "Merge keys (<<) are not allowed."
                raise TextInvalid(LineFault(line, here[:120], what))
            seen.add(name)
            yield here, line
            yield from _lines(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _lines(item, f"{path}[{number}]")


def _line_of(where: str, lines: dict[str, int]) -> int:
    """Return the line of a path, or of the nearest thing around it."""
    path = "" if where == "policy" else where
    while path and path not in lines:
        shorter = re.sub(r"(\.[^.\[]*|\[\d+\])$", "", path)
        path = shorter if shorter != path else ""
    return lines.get(path, 0)
