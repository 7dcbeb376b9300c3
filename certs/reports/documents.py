"""A report as a file: HTML that needs nothing from elsewhere, JSON, and PDF where WeasyPrint is installed."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Callable
from typing import Any, NoReturn

from django.conf import settings
from django.template.loader import render_to_string

from certs.errors import InputRefused
from certs.models import ComplianceReport
from certs.reports.charts import charts
from certs.reports.words import sentence


def as_json(row: ComplianceReport) -> bytes:
    """Return the stored facts."""
    return (json.dumps(row.facts, indent=2, ensure_ascii=False) + "\n").encode()


def as_html(row: ComplianceReport) -> bytes:
    """Return one file with its styles and its charts in it; its links lead to the portal."""
    return render_to_string("reports/document.html", page_context(row) | {"base": settings.PKI_PORTAL_URL}).encode()


def has_pdf() -> bool:
    """Return whether WeasyPrint is installed."""
    return importlib.util.find_spec("weasyprint") is not None


def as_pdf(row: ComplianceReport) -> bytes:
    """Return the HTML document as PDF/UA. Fetches nothing. Raises InputRefused where WeasyPrint is not installed."""
    if not has_pdf():
        raise InputRefused(
            "PDF needs WeasyPrint, which is not installed.",
            field="output",
            next_step="Install it with `pip install -r requirements-pdf.txt` (and Pango from the operating "
            "system), or take .html: browsers print it to PDF.",
        )
    from weasyprint import HTML  # noqa: PLC0415 - an extra requirement

    logging.getLogger("weasyprint").setLevel(logging.ERROR)  # it warns of each rule that is for screens
    document = HTML(string=as_html(row).decode(), url_fetcher=_refuse)
    pdf: bytes = document.write_pdf(pdf_variant="pdf/ua-1")
    return pdf


def _refuse(url: str, *_args: Any, **_options: Any) -> NoReturn:
    raise ValueError(f"a report loads nothing: {url[:100]}")


FORMATS: dict[str, Callable[[ComplianceReport], bytes]] = {".html": as_html, ".json": as_json, ".pdf": as_pdf}


def page_context(row: ComplianceReport) -> dict[str, Any]:
    """Return the context of page and document; `base` is put before each link."""
    return {"report": row, "facts": row.facts, "sentence": sentence(row.facts), "charts": charts(row.facts), "base": ""}
