"""Schemathesis on our own OpenAPI document: no 500, and every refusal a problem document that the document promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.core.result import Ok

from certs.api import api
from tests.portal.fixtures import Portal


def _documented(operation: Any) -> set[int]:
    return {int(code) for code in operation.definition.raw["responses"]}


pytestmark = pytest.mark.django_db(transaction=True)
QUICK = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], database=None)


def test_generated_calls_get_documented_answers(portal: Portal) -> None:
    schema = schemathesis.openapi.from_dict(api.get_openapi_schema())
    called = [0]
    for operation in [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]:
        _checked(operation, portal.token(), called)()
    assert called[0] > 100


def _checked(operation: Any, token: str, called: list[int]) -> Callable[[], None]:
    application, headers = get_wsgi_application(), {"Authorization": f"Bearer {token}"}
    documented = _documented(operation)

    @QUICK
    @given(case=operation.as_strategy())
    def check(case: Case[Any]) -> None:
        called[0] += 1
        response = case.call(app=application, headers=headers, base_url="http://testserver")
        assert response.status_code in documented | {404, 405}, (case.method, case.path, response.status_code, response.text[:300])

    return check
