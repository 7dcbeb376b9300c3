"""S5: an auditor finds a certificate's history, takes its proof along, and verifies it on a laptop without a login."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from audit.transparency.sealer import seal
from audit.transparency.signing_key import ensure_sealing_key
from tests.cast import person
from tests.certs.api.test_issue import Api, pem_csr
from tests.certs.evidence.go import KIT, go_program
from tests.journeys.conftest import Visitor
from tests.portal.fixtures import PASSWORD, Portal

pytestmark = [pytest.mark.django_db(transaction=True)]
Look = Callable[..., Visitor]


@pytest.fixture(autouse=True)
def _sealed(portal: Portal, settings: Any, tmp_path: Path) -> None:
    settings.AUDIT_HOME = tmp_path
    ensure_sealing_key()
    assert Api(portal.token()).post("/certificates/issue", {"csr": pem_csr("shop.example.com")})[0] == 200
    seal()


class Counted:
    """Clicks of a person, counted."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor, self.clicks = visitor, 0

    def follow(self, target: Locator) -> None:
        self.clicks += 1
        self.visitor.follow(target)

    def download(self, target: Locator, folder: Path) -> Path:
        self.clicks += 1
        with self.visitor.page.expect_download() as taken:
            target.click()
        path = folder / taken.value.suggested_filename
        taken.value.save_as(path)
        return path


def test_auditor_verifies_a_certificate_on_a_laptop_without_a_login(look: Look, portal: Portal, tmp_path: Path) -> None:
    """Was: a shell on the server. Is: two clicks, one line typed, and one command anywhere."""
    person("dora", "auditor", email="dora@example.com", password=PASSWORD)
    dora = Counted(look("dora"))
    page = dora.visitor.page
    dora.follow(page.get_by_role("navigation", name="Main").get_by_role("link", name="Audit"))
    expect(page.get_by_text("Sealed to ")).to_be_visible()
    page.get_by_label("Id, name, serial number, fingerprint or person").fill("shop.example.com")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.get_by_text("Internal-CA-Prod signed the certificate")).to_be_visible()
    found = dora.download(page.get_by_role("link", name="Download proof for this certificate"), tmp_path)
    assert dora.clicks == 2

    laptop = tmp_path / "laptop"
    with zipfile.ZipFile(found) as archive:
        archive.extractall(laptop)
    (folder,) = laptop.iterdir()
    for command in ([sys.executable, "-I", "verify.py"], [str(go_program(KIT))]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
        assert done.returncode == 0, done.stdout + done.stderr


def test_audit_pages_work_on_a_phone_in_the_dark_and_without_faults(look: Look, portal: Portal) -> None:
    faults: dict[str, list[str]] = {}
    widths: dict[str, int] = {}
    for dark, width in ((False, 1200), (True, 390)):
        carol = look("carol", dark=dark, width=width)
        for path in ("/audit/", "/audit/?q=shop.example.com&kind=keys", "/audit/?q=nothing-of-this-name&from=x", "/audit/consistency/"):
            carol.open(path)
            faults[f"{path} {width}"] = carol.axe()
            widths[f"{path} {width}"] = carol.width() - width
        carol.open("/audit/")
        carol.page.locator("details").filter(has_text="Raw").first.click()
        faults[f"raw {width}"] = carol.axe()
        carol.page.goto(f"{carol.base}/audit/consistency/")
        carol.page.get_by_label("Paste the checkpoint").fill("nonsense")
        carol.follow(carol.page.get_by_role("button", name="Compare checkpoint"))
        expect(carol.page.get_by_text("This is no checkpoint")).to_be_visible()
        faults[f"refused {width}"] = carol.axe()
    assert {path: found for path, found in faults.items() if found} == {}
    assert {path: more for path, more in widths.items() if more > 0} == {}
