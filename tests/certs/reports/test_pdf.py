"""A report as PDF: an extra that may be missing, and a document that fetches nothing."""

from __future__ import annotations

import importlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client

from certs.models import ComplianceReport
from certs.reports.documents import as_pdf, pdf_of
from certs.reports.keeping import keep_report
from certs.reports.weeks import Week
from db.clock import database_now
from tests.portal.fixtures import PASSWORD, Portal

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def report(portal: Portal) -> ComplianceReport:
    return keep_report(Week.of(database_now()).plus(-1))


@pytest.fixture
def officer(portal: Portal) -> Client:
    client = Client()
    assert client.login(username="carol", password=PASSWORD)
    return client


def without_weasyprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python find no such package, as where the extra was not installed."""
    monkeypatch.setitem(sys.modules, "weasyprint", None)


def without_pango(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the package be there and fail as it does where the system has no Pango."""
    (tmp_path / "weasyprint").mkdir()
    failing = "raise OSError(\"cannot load library 'libpango-1.0-0'\")\n"
    (tmp_path / "weasyprint" / "__init__.py").write_text(failing)
    for name in [name for name in sys.modules if name.partition(".")[0] == "weasyprint"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()


@pytest.mark.parametrize("missing", ["WeasyPrint", "Pango"])
def test_where_the_extra_is_missing_command_and_page_say_what_to_install(
    report: ComplianceReport, officer: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "WeasyPrint":
        without_weasyprint(monkeypatch)
    else:
        without_pango(monkeypatch, tmp_path)
    file, out = tmp_path / "report.pdf", StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("compliance_report", "--week", report.week, "--output", str(file), "--json", stdout=out)
    answer = json.loads(out.getvalue())
    assert (ended.value.code, answer["success"], answer["field"]) == (1, False, "output")
    assert missing in answer["error"]
    assert "requirements-pdf.txt" in answer["next_step"]
    assert not file.exists()
    refused = officer.get(f"/reports/{report.week}/compliance.pdf")
    assert 400 <= refused.status_code < 500
    assert "requirements-pdf.txt" in refused.content.decode()
    for suffix in (".html", ".json"):
        assert officer.get(f"/reports/{report.week}/compliance{suffix}").status_code == 200


def test_page_offers_pdf_where_weasyprint_is_installed_only(
    report: ComplianceReport, officer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"/reports/{report.week}/compliance.pdf"
    assert address in officer.get(f"/reports/{report.week}/").content.decode()
    with monkeypatch.context() as patch:
        without_weasyprint(patch)
        assert address not in officer.get(f"/reports/{report.week}/").content.decode()
    got = officer.get(address)
    assert (got.status_code, got["Content-Type"], got.content[:5]) == (200, "application/pdf", b"%PDF-")


@pytest.fixture
def foreign() -> Iterator[ThreadingHTTPServer]:
    """A host that notes what it is asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Write nothing."""

    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = asked  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_pdf_fetches_nothing_that_the_document_names(foreign: ThreadingHTTPServer, tmp_path: Path) -> None:
    """Pictures, SVG, styles, fonts and attachments; from a foreign host, and from files of this machine."""
    secret = tmp_path / "secret.txt"
    secret.write_text("a password")
    host, file = f"http://127.0.0.1:{foreign.server_address[1]}", secret.as_uri()
    parts = [
        f'<link rel="stylesheet" href="{host}/style.css"><link rel="attachment" href="{host}/link"><link rel="attachment" href="{file}">',
        f'<style>@import "{host}/imported.css"; @font-face {{ font-family: x; src: url({host}/font.woff2) }}</style>',
        f"<style>p {{ font-family: x; background: url({host}/background.png); list-style-image: url({file}) }}</style>",
        f'<img src="{host}/picture.png" alt="a"><img src="{host}/picture.svg" alt="b"><img src="{file}" alt="c">',
        f'<object data="{host}/object.svg"></object><embed src="{host}/embed.svg">',
        f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{host}/in.png"/><use href="{host}/other.svg#a"/></svg>',
        f'<svg xmlns="http://www.w3.org/2000/svg"><style>@import "{host}/svg.css";</style></svg>',
        f'<p>Text</p><a rel="attachment" href="{host}/a">a</a><a rel="attachment" href="{file}">f</a>',
    ]
    pdf = pdf_of(f'<html lang="en"><title>t</title>{"".join(parts)}</html>')
    assert pdf.startswith(b"%PDF-")
    assert foreign.asked == []  # type: ignore[attr-defined]
    assert b"EmbeddedFile" not in pdf


def test_report_in_pdf_names_nothing_to_fetch(report: ComplianceReport, caplog: pytest.LogCaptureFixture) -> None:
    assert as_pdf(report).startswith(b"%PDF-")
    assert [line for line in caplog.records if line.name.startswith("weasyprint")] == []
