"""The OpenAPI document shows people what to send and what comes back: an example of each, and no invented member."""

from __future__ import annotations

from typing import Any

import pytest

from certs.api import api, audit, bulk_schemas, schemas
from certs.api.schemas import Closed

PATHS = api.get_openapi_schema()["paths"]
COMPONENTS: dict[str, Any] = api.get_openapi_schema()["components"]["schemas"]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return COMPONENTS[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def answers() -> list[tuple[str, dict[str, Any]]]:
    found = []
    for path, verbs in PATHS.items():
        for verb, operation in verbs.items():
            for status, response in operation["responses"].items():
                content = response.get("content", {}).get("application/json")
                if content:
                    found.append((f"{verb} {path} {status}", resolved(content["schema"])))
    return found


def invented(schema: Any, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a documentation tool makes up a member, such as additionalProp1, somewhere in it."""
    if isinstance(schema, list):
        return any(invented(one, seen) for one in schema)
    if not isinstance(schema, dict):
        return False
    name = schema.get("$ref", "")
    if name:
        return name not in seen and invented(resolved(schema), seen | {name})
    return schema.get("additionalProperties", False) is not False or any(invented(one, seen) for one in schema.values())


@pytest.mark.parametrize(("name", "schema"), answers(), ids=[name for name, _ in answers()])
def test_answer_has_named_members_with_an_example_of_each(name: str, schema: dict[str, Any]) -> None:
    """R6: answers were typed `additionalProp1`."""
    assert not invented(schema), name
    required = {member: resolved(schema["properties"][member]) for member in schema.get("required", [])}
    said = ("examples", "enum", "properties", "items", "anyOf", "const")
    assert [member for member, one in required.items() if not any(key in one for key in said)] == []


def bodies() -> list[str]:
    found = set()
    for verbs in PATHS.values():
        for operation in verbs.values():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content:
                found.add(content["schema"]["$ref"].rpartition("/")[2])
    return sorted(found)


@pytest.mark.parametrize("name", bodies())
def test_body_has_an_example_that_its_own_type_accepts(name: str) -> None:
    (example,) = COMPONENTS[name]["examples"]
    model: type[Closed] = next(getattr(one, name) for one in (schemas, bulk_schemas, audit) if hasattr(one, name))
    assert isinstance(model.model_validate(example), model)


def test_document_leads_to_the_guide_and_back_to_the_portal() -> None:
    description = api.get_openapi_schema()["info"]["description"]
    assert "(/guide/api/)" in description
    assert "[Back to the portal](/)" in description
