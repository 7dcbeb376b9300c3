"""A report as a file: HTML that needs nothing from elsewhere, JSON, and PDF where WeasyPrint is installed."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Callable
from typing import Any

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
    """Return the report as PDF/UA. Raises InputRefused where WeasyPrint cannot be used."""
    return pdf_of(as_html(row).decode())


def pdf_of(html: str) -> bytes:
    """Return an HTML document as PDF/UA (ISO 14289-1).

    Fetches nothing: pictures, styles, fonts and files that the document names by an address are left out.
    Raises InputRefused where WeasyPrint is not installed, or Pango, which it needs from the system.
    """
    try:
        from weasyprint import HTML  # noqa: PLC0415 - an extra requirement
        from weasyprint.urls import URLFetcher  # noqa: PLC0415 - as above
    except (ImportError, OSError) as exc:
        missing = "WeasyPrint" if isinstance(exc, ImportError) else "the system library Pango for WeasyPrint"
        raise InputRefused(
            f"No PDF can be made here: {missing} is not installed.",
            field="output",
            next_step="Install it with `pip install -r requirements-pdf.txt` (and Pango from the operating "
            "system), or take .html: browsers print it to PDF.",
        ) from exc
    logging.getLogger("weasyprint").setLevel(logging.ERROR)  # it warns of each rule that is for screens
    nothing = URLFetcher(allowed_protocols=(), allow_redirects=False)
    pdf: bytes = HTML(string=html, url_fetcher=nothing).write_pdf(pdf_variant="pdf/ua-1")
    return pdf


FORMATS: dict[str, Callable[[ComplianceReport], bytes]] = {".html": as_html, ".json": as_json, ".pdf": as_pdf}


def page_context(row: ComplianceReport) -> dict[str, Any]:
    """Return the context of page and document; `base` is put before each link."""
    return {"report": row, "facts": row.facts, "sentence": sentence(row.facts), "charts": charts(row.facts), "base": ""}
