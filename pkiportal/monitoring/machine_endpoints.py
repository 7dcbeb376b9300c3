"""`/healthz`, `/readyz` and `/metrics`: the first middleware, before Django's host and HTTPS rules.

An orchestrator calls a container by its address and monitoring by a service name, over plain HTTP;
neither is in ALLOWED_HOSTS, and a redirect to https would lead outside, where these are closed.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed

from certs.api.http.problems import problem
from pkiportal.monitoring.health import healthz, readyz
from pkiportal.monitoring.metrics import metrics
from pkiportal.web.served import Serve, serves

ENDPOINTS: dict[str, Callable[[HttpRequest], HttpResponse]] = {
    "/healthz": healthz,
    "/readyz": readyz,
    "/metrics": metrics,
}


class MachineEndpoints:
    """Serve the machine endpoints under any Host header. Other requests pass on."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        endpoint = ENDPOINTS.get(request.path_info)
        if endpoint is None:
            return self.get_response(request)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return endpoint(request)


class OwnPaths:
    """404 for paths that another service serves (`PKI_SERVE`), before a session or a form is read."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if serves(Serve(settings.PKI_SERVE), request.path_info):
            return self.get_response(request)
        text = "This address is served by another service of the portal."
        if request.path_info.startswith("/api/"):
            return problem(404, "not_found", text)
        return HttpResponse(f"{text}\n", status=404, content_type="text/plain; charset=utf-8")
