"""Proofs to take away: of a certificate, and of one event."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from audit.models import AuditEvent
from certs.access.permissions import Authority, Permission
from certs.evidence.archive import CONTENT_TYPE, archive_of, file_name
from certs.evidence.proof import Proof, proof_of_certificate, proof_of_event, record_download
from certs.views.access import authority_of, page
from certs.views.certificate.certificate_page import certificate_seen_by


@page
@require_GET
def of_certificate(request: HttpRequest, cert_id: str) -> HttpResponse:
    """The proof of everything that the log has of a certificate. 404 for one that the person may not see."""
    row = certificate_seen_by(request, cert_id)
    return _file(proof_of_certificate(row), authority_of(request))


@page
@require_GET
def of_event(request: HttpRequest, number: int) -> HttpResponse:
    """The proof of one event, for those who may read the whole log."""
    authority = authority_of(request)
    event = AuditEvent.objects.filter(pk=number).first() if number < 2**63 else None
    if event is None or not authority.holds(Permission.SEE_EVERY_TEAM):
        raise Http404
    return _file(proof_of_event(event), authority)


def _file(proof: Proof, authority: Authority) -> HttpResponse:
    record_download(proof, authority=authority)
    response = HttpResponse(archive_of(proof), content_type=CONTENT_TYPE)
    response["Content-Disposition"] = f'attachment; filename="{file_name(proof)}"'
    return response
