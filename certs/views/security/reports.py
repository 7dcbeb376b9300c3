"""The compliance reports: a list, each as a page, and its files."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from certs.access.permissions import Permission, holds
from certs.models import ComplianceReport
from certs.reports.documents import FORMATS, has_pdf, page_context
from certs.reports.facts import list_lines
from certs.views.access import page
from db.clock import database_now

_TYPES = {".html": "text/html", ".json": "application/json", ".pdf": "application/pdf"}
_SHOWN = 60


def _reports(request: HttpRequest) -> list[ComplianceReport]:
    """Those with figures; for people who may see every team. For others the pages do not exist."""
    if not holds(request.user, Permission.SEE_EVERY_TEAM):
        raise Http404
    return list(ComplianceReport.objects.filter(as_of__isnull=False).defer("list_csv").order_by("-week")[:_SHOWN])


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    return render(request, "reports/index.html", {"reports": _reports(request)})


def _report(request: HttpRequest, week: str) -> ComplianceReport:
    _reports(request)
    return get_object_or_404(ComplianceReport, week=week, as_of__isnull=False)


@page
@require_safe
def detail(request: HttpRequest, week: str) -> HttpResponse:
    return render(request, "reports/detail.html", {**page_context(_report(request, week)), "pdf": has_pdf()})


@page
@require_safe
def file(request: HttpRequest, week: str, suffix: str) -> HttpResponse:
    row = _report(request, week)
    if suffix not in FORMATS:
        raise Http404
    response = HttpResponse(FORMATS[suffix](row), content_type=_TYPES[suffix])
    response["Content-Disposition"] = f'attachment; filename="compliance-{row.week}{suffix}"'
    return response


@page
@require_safe
def not_compliant(request: HttpRequest) -> StreamingHttpResponse:
    """The whole list of what does not comply now, as CSV."""
    _reports(request)
    response = StreamingHttpResponse(list_lines(now=database_now()), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="not-compliant.csv"'
    return response
