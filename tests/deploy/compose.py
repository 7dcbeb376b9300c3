"""`docker-compose.yml` as Compose reads it: variables put in, and what each service is started with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
HOST = "pki.example.com"
REQUIRED = {
    "PKI_PORTAL_HOST": HOST,
    "PKI_BASE_URL": f"http://{HOST}",
    "PKI_OPERATOR_EMAILS": "operators@example.com",
}
_VARIABLE = re.compile(r"\$(?:(\$)|\{([A-Z_]+)(?::?([-?])((?:[^{}]|\{[^{}]*\})*))?\})")


class VariableMissing(KeyError):
    """What `docker compose` prints and ends with when a required variable is not set."""


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """`$$`, `${NAME}`, `${NAME:-default}` and `${NAME:?message}`, also within one another."""

    def put_in(match: re.Match[str]) -> str:
        dollar, name, kind, rest = match.groups()
        if dollar:
            return "$"
        if value := variables.get(name):
            return value
        if kind == "?":
            raise VariableMissing(f"{name}: {rest}")
        return interpolated(rest, variables) if kind == "-" else ""

    return _VARIABLE.sub(put_in, text)


def compose(**variables: str) -> dict[str, Any]:
    """The parsed file, with the required variables and these."""
    parsed: dict[str, Any] = _walk(yaml.safe_load(FILE.read_text()), {**REQUIRED, **variables})
    return parsed


def _walk(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        # Templates (x-...) are put in where they are used.
        return {key: _walk(value, variables) for key, value in node.items() if not str(key).startswith("x-")}
    if isinstance(node, list):
        return [_walk(value, variables) for value in node]
    return interpolated(node, variables) if isinstance(node, str) else node
