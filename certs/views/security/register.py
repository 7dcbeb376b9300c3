"""The register for auditors: a page of it, and the whole of it as CSV."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from certs.errors import InputRefused
from certs.inventory import CertificateFilter, Page
from certs.inventory.key_places import place_of
from certs.inventory.register import (
    has_current_owner,
    own_cas,
    register_csv,
    register_filter,
    register_page,
)
from certs.models import Certificate
from certs.views.access import authority_of, page
from certs.views.inventory.filter_form import chips, filter_form
from certs.views.numbers import id_of
from db.clock import database_now


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """One page of the register, newest first. The filters are those of the inventory."""
    now, authority, wrong = database_now(), authority_of(request), None
    try:
        sought = CertificateFilter.from_query(request.GET)
    except InputRefused as exc:
        sought, wrong = CertificateFilter(), exc
    past = request.GET.get("past") == "yes"
    before = id_of(request.GET.get("before"))
    found: Page[Certificate] = Page([], 0)
    if wrong is None:
        found = register_page(authority, register_filter(sought, past=past), before=before, now=now)
    query = sought.to_query() | ({"past": "yes"} if past else {})
    fields = filter_form(request, sought, authority.sees())
    form = [field for field in fields.selects if field.name in _FIELDS]
    shown = {field.name for field in form} | {"critical", "past"}
    context = {
        "rows": [(row, place_of(row.key), has_current_owner(row)) for row in found.rows],
        "cas": own_cas(),
        "older": f"?{urlencode(query | {'before': str(found.older)})}" if found.older else "",
        "csv": f"?{urlencode(query)}" if query else "",
        "sought": sought,
        "past": past,
        "wrong": wrong,
        "form": form,
        "kept": [(name, value) for name, value in sought.to_query().items() if name not in shown],
        "chips": chips(sought, fields, base=request.path),
        "now": now,
    }
    return render(request, "portal/register.html", context, status=400 if wrong else 200)


_FIELDS = ("team", "owner", "issuer", "key")


@page
@require_safe
def download(request: HttpRequest) -> StreamingHttpResponse:
    """The register as CSV, made while it is sent. Refused with 422 where a filter cannot be read."""
    now = database_now()
    sought = register_filter(CertificateFilter.from_query(request.GET), past=request.GET.get("past") == "yes")
    lines = register_csv(authority_of(request), sought, now=now)
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="register-{now:%Y-%m-%d}.csv"'
    return response
