"""Problem documents (RFC 9457), made in this one place: every refusal of the API leaves through here."""

from __future__ import annotations

import json
import logging
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, AuthorizationError, HttpError, ValidationError

from certs.errors import Busy, NotUnderstood, PolicyRefused, PortalError
from certs.workflow.bulk.ordering import LinesRefused
from policy.errors import PolicyError

log = logging.getLogger(__name__)

TYPE_PREFIX = "urn:pki-portal:error:"


def problem(status: int, kind: str, detail: str, **more: Any) -> HttpResponse:
    """An application/problem+json answer; `more` are extension members such as field, suggestion, position."""
    document = {
        "type": TYPE_PREFIX + kind,
        "title": kind,
        "status": status,
        "detail": detail,
        **{k: v for k, v in more.items() if v not in ("", None)},
    }
    response = HttpResponse(json.dumps(document, ensure_ascii=False), status=status, content_type="application/problem+json")
    if status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="PKI Portal"'
    return response


def add_problem_handlers(api: NinjaAPI) -> None:
    """Turn every exception that an operation may raise into a problem document."""

    @api.exception_handler(PortalError)
    def portal_error(_request: HttpRequest, exc: PortalError) -> HttpResponse:
        response = problem(exc.status, exc.problem, exc.message, field=exc.field, next_step=exc.next_step, **_more(exc))
        if isinstance(exc, Busy):
            response["Retry-After"] = str(exc.retry_after)
        return response

    @api.exception_handler(PolicyError)
    def policy_error(_request: HttpRequest, exc: PolicyError) -> HttpResponse:
        return problem(503, "policy_missing", str(exc))

    @api.exception_handler(ValidationError)
    def invalid(_request: HttpRequest, exc: ValidationError) -> HttpResponse:
        errors = [{"field": ".".join(str(part) for part in e["loc"][1:]) or str(e["loc"][0]), "reason": e["msg"]} for e in exc.errors]
        first = errors[0] if errors else {"field": "", "reason": "invalid"}
        return problem(422, "malformed", f"{first['field']}: {first['reason']}", field=first["field"], errors=errors)

    @api.exception_handler(AuthenticationError)
    def unauthenticated(_request: HttpRequest, _exc: AuthenticationError) -> HttpResponse:
        return problem(401, "unauthorized", "A valid bearer token is needed. Make one in the portal under API tokens.")

    @api.exception_handler(AuthorizationError)
    def forbidden(_request: HttpRequest, exc: AuthorizationError) -> HttpResponse:
        return problem(403, "unauthorized", str(exc) or "This token may not do that.")

    @api.exception_handler(RequestDataTooBig)
    def too_big(_request: HttpRequest, _exc: RequestDataTooBig) -> HttpResponse:
        return problem(
            413,
            "too_large",
            "The request is larger than the portal reads.",
            next_step="Send one CSR of at most 64 kB; large orders go to /api/v1/bulk/upload.",
        )

    @api.exception_handler(Http404)
    def missing(_request: HttpRequest, _exc: Http404) -> HttpResponse:
        return problem(404, "notFound", "There is no such thing, or it is not yours to see.")

    @api.exception_handler(HttpError)
    def http_error(_request: HttpRequest, exc: HttpError) -> HttpResponse:
        return problem(exc.status_code, "malformed" if exc.status_code == 400 else "error", str(exc))


def _more(exc: PortalError) -> dict[str, Any]:
    """Extension members of particular refusals."""
    match exc:
        case NotUnderstood():
            return {"position": exc.position, "example": exc.example}
        case LinesRefused():
            return {"outcomes": exc.judged["outcomes"], "problems": exc.judged["problems"]}
        case PolicyRefused():
            return {"policy_version": exc.policy_version, "suggestion": exc.next_step}
    return {}
