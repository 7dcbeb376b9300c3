"""Every mail in a browser, as mail programs show its HTML part: phone and wide, light and dark.

`PKI_PICTURES=FOLDER` keeps the pictures.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from certs.models import OutgoingMail
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from tests.certs.notifications.album import pictures
from tests.certs.notifications.album_people import cast_of
from tests.journeys.conftest import axe_faults
from tests.twins.ca import TwinCAClient

pytestmark = pytest.mark.django_db(transaction=True)
MakeSpec = Callable[..., CertificateSpec]


@pytest.fixture
def windows(browser: Browser) -> Iterator[dict[str, Page]]:
    """A window for each width and colour scheme. Nothing may be loaded from anywhere."""
    opened = {}
    for width in (390, 1280):
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
            opened[f"{width}-{scheme}"] = context.new_page()
    yield opened
    for page in opened.values():
        page.context.close()


def test_each_mail_fits_a_phone_and_can_be_read_in_light_and_dark(
    twin_portal: Requester, make_spec: MakeSpec, twin_ca: TwinCAClient, settings: Any, windows: dict[str, Page]
) -> None:
    faults = []
    # One of each kind: the same mail to three people is one picture.
    mails: dict[str, str] = {}
    for scene, written in pictures(cast_of(twin_portal, make_spec, twin_ca, settings)):
        for mail in written:
            mails.setdefault(f"{scene}: {mail.subject}", _with_pictures(mail))
    for name, html in mails.items():
        for window, page in windows.items():
            page.set_content(html)
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > int(window.partition("-")[0]):
                faults.append(f"{name} ({window}): {width} pixels wide")
            faults += [f"{name} ({window}): {fault}" for fault in axe_faults(page)]
            _keep(page, f"{name}-{window}")
    assert not faults, "\n".join(faults)


def _with_pictures(mail: OutgoingMail) -> str:
    """Return the HTML part with the attached pictures in their places, as a mail program shows it."""
    html = mail.html
    for file in mail.attachments.exclude(content_id=""):
        html = html.replace(f"cid:{file.content_id}", f"data:{file.media_type};base64,{base64.b64encode(bytes(file.content)).decode()}")
    return html


def _keep(page: Page, name: str) -> None:
    if folder := os.environ.get("PKI_PICTURES"):
        page.screenshot(path=Path(folder) / (re.sub(r"[^A-Za-z0-9]+", "-", name) + ".png"), full_page=True)
