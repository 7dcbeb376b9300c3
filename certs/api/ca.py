"""The portal's own CA, as a client of it sees it."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import Router

from certs.api.http.responses import REFUSALS
from certs.ca.base import CAUnreachable
from certs.ca.registry import get_ca_client
from certs.errors import PortalError
from certs.requests.submit import active_issuer
from certs.x509.asn1.pem import pem_of

router = Router()


class AuthorityUnavailable(PortalError):
    problem = "ca_unavailable"
    status = 503
    retryable = True


@router.get("/chain", response={200: None, **REFUSALS}, operation_id="ca_chain")
def chain(request: HttpRequest, issuer: str = "") -> HttpResponse:  # noqa: ARG001 - ninja passes it by name
    """The issuing CA's certificate and everything above it, in PEM, root last."""
    row = active_issuer(issuer or settings.PKI_DEFAULT_CA)
    try:
        links = get_ca_client(row.alias).chain()
    except CAUnreachable as exc:
        raise AuthorityUnavailable(f"The chain of {row.name} cannot be read now: {exc}", next_step="Try again in a minute.") from exc
    return HttpResponse("".join(pem_of(der) for der in links), content_type="application/pem-certificate-chain")
