"""What relying parties fetch: CA certificates. Public, by plain HTTP, cacheable."""

from __future__ import annotations

import hashlib
from datetime import datetime

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import condition, require_safe

from certs.models import Issuer


def _etag(_request: HttpRequest, slug: str) -> str | None:
    issuer = _issuer(slug)
    return f'"{hashlib.sha256(bytes(issuer.certificate_der or b"")).hexdigest()[:32]}"' if issuer else None


def _last_modified(_request: HttpRequest, slug: str) -> datetime | None:
    """A CA's certificate never changes, so it is as old as its row."""
    issuer = _issuer(slug)
    return issuer.created_at if issuer else None


def _issuer(slug: str) -> Issuer | None:
    return Issuer.objects.filter(slug=slug, certificate_der__isnull=False).first()


# Outside of `condition`: a 304 has the Cache-Control that the 200 would have (RFC 9110 15.4.5).
@require_safe
@cache_control(public=True, max_age=3600)
@condition(etag_func=_etag, last_modified_func=_last_modified)
def ca_certificate(_request: HttpRequest, slug: str) -> HttpResponse:
    """The CA's certificate in DER, as id-ad-caIssuers wants it (RFC 5280 4.2.2.1)."""
    issuer = _issuer(slug)
    if issuer is None:
        raise Http404
    return HttpResponse(bytes(issuer.certificate_der or b""), content_type="application/pkix-cert")
