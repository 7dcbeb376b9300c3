"""What relying parties fetch: CA certificates. Public, by plain HTTP, cacheable."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from certs.models import Issuer


@require_safe
def ca_certificate(_request: HttpRequest, slug: str) -> HttpResponse:
    """The CA's certificate in DER, as id-ad-caIssuers wants it (RFC 5280 4.2.2.1)."""
    issuer = Issuer.objects.filter(slug=slug, certificate_der__isnull=False).first()
    if issuer is None:
        raise Http404
    response = HttpResponse(bytes(issuer.certificate_der or b""), content_type="application/pkix-cert")
    response["Cache-Control"] = "public, max-age=3600"
    return response
