"""Problem documents (RFC 9457), made in this one place: every refusal of the API leaves through here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, AuthorizationError, HttpError, ValidationError

from certs.api.http.failures import RETRY_AFTER, failure_of, log_failure
from certs.bulk.order_now import LinesRefused
from certs.errors import Busy, NotUnderstood, PolicyRefused, PortalError, TooMany
from certs.language.secret_scan import find_secret
from policy.errors import PolicyError

_SCHEMAS = "The fields of every operation are described at /api/v1/openapi.json."
MOST_ERRORS = 20  # of one request, in its problem document
_REMOVED = "(not repeated here, for it looks like a secret)"
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
    document = {name: _harmless(value) for name, value in document.items()}
    # A name of the caller's may stand in a text, with half a surrogate pair in it.
    content = json.dumps(document, ensure_ascii=False).encode(errors="replace")
    response = HttpResponse(content, status=status, content_type="application/problem+json")
    if status == 503:
        response["Retry-After"] = RETRY_AFTER
    if status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="PKI Portal"'
    return response


def _harmless(value: Any) -> Any:
    """The value without texts that repeat a secret of the caller's, who may keep the document in a log."""
    match value:
        case str():
            return _REMOVED if find_secret(value) else value
        case dict():
            return {name: _harmless(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_harmless(inner) for inner in value]
    return value


def add_problem_handlers(api: NinjaAPI) -> None:
    """Turn every exception that an operation may raise into a problem document."""
    for kind, handler in _HANDLERS.items():
        api.add_exception_handler(kind, handler)


def _portal_error(_request: HttpRequest, exc: PortalError) -> HttpResponse:
    response = problem(exc.status, exc.problem, exc.message, field=exc.field, next_step=exc.next_step, **_more(exc))
    if isinstance(exc, Busy | TooMany):
        response["Retry-After"] = str(exc.retry_after)
    return response


def _policy_error(_request: HttpRequest, exc: PolicyError) -> HttpResponse:
    return problem(503, "policy_missing", str(exc))


def _invalid(_request: HttpRequest, exc: ValidationError) -> HttpResponse:
    errors = [{"field": _field(e["loc"]), "reason": e["msg"]} for e in exc.errors[:MOST_ERRORS]]
    first = errors[0] if errors else {"field": "", "reason": "invalid"}
    return problem(422, "malformed", f"{first['field']}: {first['reason']}", field=first["field"], next_step=_SCHEMAS, errors=errors)


def _unauthenticated(_request: HttpRequest, _exc: AuthenticationError) -> HttpResponse:
    return problem(401, "unauthorized", "A valid bearer token is needed. Make one in the portal under API tokens.")


def _forbidden(_request: HttpRequest, exc: AuthorizationError) -> HttpResponse:
    return problem(403, "unauthorized", str(exc) or "This token may not do that.")


def _too_big(_request: HttpRequest, _exc: RequestDataTooBig) -> HttpResponse:
    return problem(
        413,
        "too_large",
        "The request is larger than the portal reads.",
        next_step="Send one CSR of at most 64 kB; large orders go to /api/v1/bulk/upload.",
    )


def _missing(_request: HttpRequest, _exc: Http404) -> HttpResponse:
    return problem(404, "notFound", "There is no such thing, or it is not yours to see.")


def _http_error(request: HttpRequest, exc: HttpError) -> HttpResponse:
    if isinstance(exc.__cause__, PortalError):  # ninja wraps what the parser of bodies raises
        return _portal_error(request, exc.__cause__)
    return problem(exc.status_code, "malformed" if exc.status_code == 400 else "error", str(exc))


def _failed(request: HttpRequest, exc: Exception) -> HttpResponse:
    return failure_problem(request, exc)


def failure_problem(request: HttpRequest, exc: BaseException) -> HttpResponse:
    """The problem document for an exception that no operation foresees; logs it once."""
    failure = failure_of(exc, request)
    response = problem(
        failure.status,
        failure.kind,
        failure.detail,
        next_step=failure.next_step,
        error_id=failure.error_id,
    )
    log_failure(failure, exc, request, response)
    return response


def not_found_problem() -> HttpResponse:
    """The answer of an address under /api/ that is no operation."""
    return problem(
        404,
        "notFound",
        "There is no such address in the API.",
        next_step="See the list of operations at /api/v1/openapi.json. No address ends with a slash.",
    )


def too_large_problem(detail: str) -> HttpResponse:
    """The answer to a body that is not read because of its length."""
    return problem(413, "too_large", detail, next_step="Send the order in parts.")


def _field(location: Sequence[object]) -> str:
    """`sans.3`, as the client wrote it: without the place (`query`, `body`) and, for a body, without
    the name that the operation's own code has for it. As long as a person reads it.
    """
    place, *names = (str(part) for part in location)
    # The parameters of a list may be one object of the code, as a body always is.
    if place == "body" or (place == "query" and len(names) > 1):
        names = names[1:]
    return (".".join(names) or place)[:200]


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


_HANDLERS: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
    PortalError: _portal_error,
    PolicyError: _policy_error,
    ValidationError: _invalid,
    AuthenticationError: _unauthenticated,
    AuthorizationError: _forbidden,
    RequestDataTooBig: _too_big,
    Http404: _missing,
    HttpError: _http_error,
    Exception: _failed,
}
