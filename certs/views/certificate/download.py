"""The files of a certificate."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from certs.inventory.download import content_of, file_stem, take
from certs.views.access import authority_of, page
from certs.views.certificate.certificate_page import certificate_seen_by


@page
@require_safe
def download(request: HttpRequest, cert_id: str, form: str) -> HttpResponse:
    """A certificate or its chain; not one whose revocation was requested. Each download is in the audit log."""
    row = certificate_seen_by(request, cert_id)
    give = content_of if request.method == "HEAD" else take
    content, content_type = give(row, form, authority=authority_of(request))
    response = HttpResponse(content, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{file_stem(row)}-{form}"'
    return response
