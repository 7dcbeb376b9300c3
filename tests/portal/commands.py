"""Management commands as an operator's script runs them: with --json, and their exit code."""

from __future__ import annotations

import io
import json
from typing import Any

from django.core.management import call_command


def run(name: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the printed JSON."""
    out, code = io.StringIO(), 0
    try:
        call_command(name, *arguments, "--json", stdout=out)
    except SystemExit as exc:
        code = int(exc.code or 0)
    return code, json.loads(out.getvalue())
