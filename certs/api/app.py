"""The API object, its authentication and its routers."""

from __future__ import annotations

from ninja import NinjaAPI

from certs.api import audit, bulk, ca, certificates, lifecycle, requests
from certs.api.http.auth import TokenAuth
from certs.api.http.bodies import ApiParser
from certs.api.http.problems import add_problem_handlers

api = NinjaAPI(
    title="PKI Portal",
    version="1",
    description=(
        "Certificates by request: in words, field by field, or from a CSR. Errors are problem documents (RFC 9457).\n\n"
        "**[Begin with the guide](/guide/api/)**: a token, and the first certificate in three commands. [Back to the portal](/)"
    ),
    urls_namespace="v1",
    auth=TokenAuth(),
    parser=ApiParser(),
    openapi_url="/openapi.json",
    docs_url="/docs",
)
api.add_router("/certificates", lifecycle.router, tags=["certificates"])  # before the next, which reads /{cert_id}
api.add_router("/certificates", certificates.router, tags=["certificates"])
api.add_router("/certificates", audit.certificates, tags=["audit log"])
api.add_router("/audit", audit.log, tags=["audit log"])
api.add_router("/requests", requests.router, tags=["requests"])
api.add_router("/bulk", bulk.router, tags=["bulk orders"])
api.add_router("/ca", ca.router, tags=["certification authority"])
add_problem_handlers(api)
