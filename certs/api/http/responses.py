"""The refusals that every operation documents."""

from __future__ import annotations

from typing import Any

from certs.api.answers import Problem

REFUSALS: dict[int, Any] = dict.fromkeys((400, 401, 403, 404, 409, 413, 415, 422, 500, 503), Problem)
