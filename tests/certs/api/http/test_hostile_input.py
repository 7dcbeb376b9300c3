"""What no field may hold is refused in every field of every operation: never a 500, never HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import product
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certs.api import api
from certs.api.schemas import Closed
from certs.models import BulkOrder
from tests.certs.api.test_issue import pem_csr
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
HOSTILE = ("a\x00b", "\ud800", "x" * 9_000_000, "cn=" * 1365, "a.." * 1360, "dns:" * 1000)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, address and JSON schema of the body of every operation that reads JSON."""
    document = api.get_openapi_schema()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                schema = content["application/json"]["schema"]
                yield method, path, _resolved(document, schema)


def _resolved(document: Any, schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def call(client: Client, token: str, method: str, path: str, body: object) -> Any:
    for name in ("cert_id", "public_id", "resume_id", "bulk_id"):
        path = path.replace(f"{{{name}}}", "cert-20250118143215-1a2b3c4d5e")
    data = body if isinstance(body, bytes) else json.dumps(body)
    return client.generic(method.upper(), path, data, "application/json", headers={"Authorization": f"Bearer {token}"})


def assert_refusal(response: Any) -> None:
    assert 400 <= response.status_code < 500, response.content[:500]
    assert response["Content-Type"] == "application/problem+json"
    assert json.loads(response.content)["status"] == response.status_code


def test_no_text_field_takes_what_cannot_be_stored(portal: Portal) -> None:
    """S13: a lone surrogate in `csr` and a NUL in a comment were 500."""
    client, token, seen = Client(), portal.token(), 0
    for method, path, schema in operations():
        for field, described in schema["properties"].items():
            for text in HOSTILE:
                value: object = [text] if described.get("type") == "array" else text
                assert_refusal(call(client, token, method, path, {field: value}))
                seen += 1
        assert_refusal(call(client, token, method, path, {"\ud800" * 1000: 1}))
    assert seen > 80


def test_every_text_says_how_long_it_may_be() -> None:
    for model in _closed(Closed):
        schema = model.model_json_schema()
        for where in (schema, *schema.get("$defs", {}).values()):
            for name, field in where.get("properties", {}).items():
                for described in (field, field.get("items", {}), *field.get("anyOf", ())):
                    if described.get("type") == "string" and "format" not in described:
                        assert "maxLength" in described, (model.__name__, name)


def _closed(model: type[Closed]) -> Iterator[type[Closed]]:
    for one in model.__subclasses__():
        yield one
        yield from _closed(one)


def test_numbers_and_truths_are_not_converted_into_each_other(portal: Portal) -> None:
    """S22: `validity_days: true` was one day."""
    client, token = Client(), portal.token()
    wrong: dict[str, tuple[object, ...]] = {
        "integer": (True, "90", 90.0, "true", None, [], 10**400),
        "boolean": (1, 0, "true", "yes", None),
        "string": (1, True, None, {}),
    }
    for method, path, schema in operations():
        for field, described in schema["properties"].items():
            for value in wrong.get(described.get("type", ""), ()):
                refused = call(client, token, method, path, {field: value})
                assert_refusal(refused)
                # Named as the client wrote it, not with the name of our parameter before it.
                document = refused.json()
                assert field in {one["field"].partition(".")[0] for one in document.get("errors", [document])}


def test_a_time_is_a_text_with_a_zone(portal: Portal) -> None:
    path, token = "/api/v1/certificates/{cert_id}/revoke", portal.token()
    for moment in [0, True, "2026-11-28", "0001-01-01T00:00:00+23:59", "x"]:
        assert_refusal(call(Client(), token, "post", path, {"revocation_date": moment}))


BODIES = [
    (b"{", "application/json", 400),
    (b"\xff\xfe\xff", "application/json", 400),
    (b'{"text": "\xff"}', "application/json", 400),
    (b"[" * 100_000, "application/json", 400),
    (b'{"text": ' + b"9" * 5000 + b"}", "application/json", 400),
    (b"NaN", "application/json", 400),
    (b'{"text": Infinity}', "application/json", 400),
    (b'{"plan_only": true, "plan_only": false}', "application/json", 400),
    (b'{"items": [{"name": "a", "name": "b"}]}', "application/json", 400),
    (b"", "application/json", 422),
    (b"null", "application/json", 422),
    (b'"text"', "application/json", 422),
    (b"text=issue", "application/x-www-form-urlencoded", 415),
    (b"--b\r\n", "multipart/form-data; boundary=b", 415),
    (b"{}", "multipart/form-data", 415),
    (b"{}", "text/plain", 415),
    (b"<a/>", "application/xml", 415),
    (b"{}", "", 422),
]


def test_a_body_that_is_no_json_is_a_problem(portal: Portal) -> None:
    """S13: `multipart/form-data` at JSON operations was 500."""
    headers = {"Authorization": f"Bearer {portal.token()}"}
    paths = ("/api/v1/requests/words", "/api/v1/bulk", "/api/v1/certificates/issue")
    for path, (body, content_type, status) in product(paths, BODIES):
        response = Client().generic("POST", path, body, content_type, headers=headers)
        assert_refusal(response)
        assert response.status_code == status, response.content


def test_field_that_is_there_twice_is_named(portal: Portal) -> None:
    """Whatever checked the order on its way may have read the other one of the two (RFC 8259 4)."""
    body = '{"text": "Issue certificate for a.example.com", "plan_only": true, "text": "Issue certificate for b.example.com"}'
    headers = {"Authorization": f"Bearer {portal.token()}"}
    response = Client().generic("POST", "/api/v1/requests/words", body, "application/json", headers=headers)
    document = json.loads(response.content)
    assert (response.status_code, document["field"], document["next_step"]) == (400, "text", "Send each field once.")


def part(name: str, value: str) -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def file_part(content: str) -> bytes:
    return part('file"; filename="a.csv', content)


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ([file_part("name\na.example.com\n"), part("plan_only", "true"), part("plan_only", "false")], "plan_only"),
        ([file_part("name\na.example.com\n"), file_part("name\nb.example.com\n"), part("plan_only", "true")], "file"),
    ],
    ids=["an option", "the file"],
)
def test_part_of_an_upload_that_is_there_twice_is_named_and_nothing_is_ordered(parts: list[bytes], field: str, portal: Portal) -> None:
    body, headers = b"".join(parts) + b"--b--\r\n", {"Authorization": f"Bearer {portal.token()}"}
    response = Client().generic("POST", "/api/v1/bulk/upload", body, "multipart/form-data; boundary=b", headers=headers)
    assert (response.status_code, json.loads(response.content)["field"]) == (400, field)
    assert not BulkOrder.objects.exists()


def test_parameter_that_is_there_twice_is_named(portal: Portal) -> None:
    response = Client().get("/api/v1/requests?limit=1&limit=2", headers={"Authorization": f"Bearer {portal.token()}"})
    assert (response.status_code, json.loads(response.content)["field"]) == (400, "limit")


UPLOADS = [
    (b"--b\r\n", "multipart/form-data; boundary=b"),
    (b"no boundary", "multipart/form-data"),
    (b"x" * 100, "multipart/form-data; boundary=" + "b" * 300),
    (b"plan_only=true", "application/x-www-form-urlencoded"),
    (b"{}", "application/json"),
    (b"&".join(b"a%d=1" % n for n in range(2000)), "application/x-www-form-urlencoded"),
    (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a\x00.csv"\r\n\r\nx\r\n--b--\r\n',
        "multipart/form-data; boundary=b",
    ),
    (
        b'--b\r\nContent-Disposition: form-data; name="plan_only"\r\n\r\na\x00b\r\n--b--\r\n',
        "multipart/form-data; boundary=b",
    ),
]


def test_an_upload_that_cannot_be_read_is_a_problem(portal: Portal) -> None:
    headers = {"Authorization": f"Bearer {portal.token()}"}
    for body, content_type in UPLOADS:
        path = "/api/v1/bulk/upload"
        assert_refusal(Client().generic("POST", path, body, content_type, headers=headers))


def test_an_address_that_cannot_be_read_is_a_problem(portal: Portal) -> None:
    headers = {"Authorization": f"Bearer {portal.token()}"}
    for path in ("certificates/a%00b", "ca/chain?issuer=a%00", "certificates/%FF"):
        assert_refusal(Client().get(f"/api/v1/{path}", headers=headers))


def test_an_idempotency_key_is_printable_ascii_everywhere(portal: Portal) -> None:
    token = portal.token()
    orders: tuple[tuple[str, dict[str, str]], ...] = (("requests/words", {"text": "issue"}), ("requests", {}), ("bulk", {}))
    for key, (path, body) in product(["\u00fc", "a" * 200, "a\tb", "\u2028"], orders):
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
        response = Client().post(f"/api/v1/{path}", json.dumps(body), "application/json", headers=headers)
        assert_refusal(response)
        assert "idempotency" in response.content.decode().lower()


NONSENSE = (
    "",
    "-1",
    "0",
    "9" * 19,
    "9" * 5000,
    "\u00b2",
    "1e9",
    "\u202e\x1b[2K",
    "%00",
    "[" * 3000,
    "' OR 1=1",
    "*.",
    "0001-01-01",
    "http://[",
)


def test_nonsense_in_a_parameter_of_an_address_is_no_fault_of_ours(portal: Portal) -> None:
    client, token, sent = Client(), portal.token(), 0
    headers = {"Authorization": f"Bearer {token}"}
    for path, methods in api.get_openapi_schema()["paths"].items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", ()):
                for value in NONSENSE:
                    address = re.sub(r"\{[^}]*\}", quote(value, safe="") if parameter["in"] == "path" else "cert-0", path)
                    query = {parameter["name"]: value} if parameter["in"] == "query" else {}
                    response = client.generic(method.upper(), f"{address}?{urlencode(query)}", b"{}", "application/json", headers=headers)
                    assert response.status_code < 500, (path, parameter["name"], value[:40], response.content[:300])
                    sent += 1
    assert sent > 300


def test_a_cursor_that_was_changed_or_is_of_another_list_is_refused(portal: Portal) -> None:
    client, headers = Client(), {"Authorization": f"Bearer {portal.token()}"}
    for name in ("a.example.com", "b.example.com"):
        body = json.dumps({"csr": pem_csr(name)})
        assert client.post("/api/v1/certificates/issue", body, "application/json", headers=headers).status_code == 200
    for name in ("certificates", "requests"):
        first = client.get(f"/api/v1/{name}?limit=1", headers=headers).json()
        cursor = first["next"]
        assert cursor, name
        assert client.get(f"/api/v1/{name}?limit=1&cursor={cursor}", headers=headers).status_code == 200
        changed = [cursor[:-1] + ("A" if cursor[-1] != "A" else "B"), cursor[1:], f"{cursor}:x", ":", cursor * 20, "9" * 900]
        others = [f"{cursor}&q=a.example", f"{cursor}&q=b"]
        for text in [*changed, *others]:
            assert_refusal(client.get(f"/api/v1/{name}?limit=1&cursor={text}", headers=headers))


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def test_any_json_at_any_operation_is_no_fault_of_ours(portal: Portal) -> None:
    client, token = Client(), portal.token()
    found = list(operations())

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(found), st.data())
    def check(operation: tuple[str, str, dict[str, Any]], data: st.DataObject) -> None:
        method, path, schema = operation
        fields = st.dictionaries(st.sampled_from(sorted(schema["properties"])), ANY_JSON)
        body = json.dumps(data.draw(fields))
        response = call(client, token, method, path, body.encode())
        assert response.status_code < 500, response.content
        json.loads(response.content)

    check()
