"""Reading what a client sends: one JSON reader for all operations, which refuses what no field may hold."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from django.http import HttpRequest, QueryDict
from django.utils.datastructures import MultiValueDict
from ninja.parser import Parser

from certs.api.schemas import storable
from certs.errors import InputRefused

_JSON = "application/json"


class WrongContentType(InputRefused):
    """The body is of a type that the operation does not read."""

    problem = "unsupported_media_type"
    status = 415


class FieldTwice(InputRefused):
    """An object of the body has two fields of the same name."""

    status = 400


class NotJSON(InputRefused):
    """The body is no JSON document that the portal reads."""

    status = 400


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object. Raises InputRefused for a name that is there twice (RFC 8259 4).

    What checked the order before the portal may have read the other one of the two.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _twice(Counter(name for name, _ in pairs).most_common(1)[0][0])
    return found


def _twice(name: str) -> FieldTwice:
    return FieldTwice(f"The field {name[:80]!r} is there twice.", field=name[:80], next_step="Send each field once.")


def _refuse_constant(name: str) -> Any:
    """NaN and Infinity, which Python reads although they are no JSON (RFC 8259 6)."""
    raise ValueError(name)


class ApiParser(Parser):
    """The parser of the API object."""

    def parse_body(self, request: HttpRequest) -> Any:
        """The JSON document of the body. Raises WrongContentType, NotJSON.

        A body without a content type is read as JSON (RFC 9110 8.3 leaves that to the server).
        """
        if request.content_type and request.content_type != _JSON:
            raise WrongContentType(
                f"This operation reads {_JSON}, not {request.content_type[:80]}.",
                field="Content-Type",
                next_step=f"Send a JSON document with the header Content-Type: {_JSON}.",
            )
        try:
            return json.loads(request.body, object_pairs_hook=_members, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as exc:  # UnicodeDecodeError is a ValueError
            raise NotJSON(
                "The body is not a JSON document (RFC 8259).",
                field="body",
                next_step="Send one JSON object in UTF-8, without deep nesting.",
            ) from exc

    def parse_querydict(self, data: MultiValueDict[str, Any], list_fields: list[str], request: HttpRequest) -> dict[str, Any]:
        """Fields of a query or form, or its files. Raises InputRefused for text that cannot be stored.

        Raises FieldTwice for a field that has one value and is there twice: Django would read the last
        one alone, and `plan_only=true` or a second file would be overlooked.
        """
        for name, several in data.lists():
            if len(several) > 1 and name not in list_fields:
                raise _twice(name)
        if isinstance(data, QueryDict):  # not the files of a form
            for name, values in data.lists():
                for text in (name, *values):
                    try:
                        storable(text)
                    except ValueError as exc:
                        raise InputRefused(f"{name[:80]!r}: {exc}", field=name[:80]) from exc
        found: dict[str, Any] = super().parse_querydict(data, list_fields, request)
        return found
