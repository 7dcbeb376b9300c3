"""The list of certificates, and the files of one."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from certs.errors import InputRefused
from certs.inventory import CertificateFilter, Page, page_of, search_certificates, states_of
from certs.inventory.download import content_of, file_stem, take
from certs.models import Certificate
from certs.views.access import authority_of, page
from certs.views.certificate.certificate_page import certificate_seen_by
from certs.views.certificate.filter_form import chips, filter_form
from db.clock import database_now


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """The inventory, filtered by the address. A filter that cannot be read: 400, and no list."""
    now, wrong = database_now(), None
    try:
        sought = CertificateFilter.from_query(request.GET)
    except InputRefused as exc:
        sought, wrong = CertificateFilter(), exc
    given = request.GET.get("before", "0")
    before = int(given) if given.isdecimal() and len(given) < 19 else 0
    rows = search_certificates(request.user, sought, now=now).select_related("owner")
    found: Page[Certificate] = Page([], 0)
    if wrong is None:
        found = page_of(rows, before=before)
    states = states_of([row.pk for row in found.rows], now)
    form = filter_form(request, sought)
    shown = {"q", *(field.name for field in form)}
    context = {
        "rows": [(row, states[row.pk]) for row in found.rows],
        "older": _address(sought, before=found.older) if found.older else "",
        "sought": sought,
        "wrong": wrong,
        "form": form,
        # What the form has no field for stays in force when it is sent.
        "kept": [(name, value) for name, value in sought.to_query().items() if name not in shown],
        "chips": chips(sought, base=request.path),
        "now": now,
    }
    return render(request, "portal/certificates.html", context, status=400 if wrong else 200)


def _address(sought: CertificateFilter, *, before: int) -> str:
    return f"?{urlencode(sought.to_query() | {'before': str(before)})}"


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
