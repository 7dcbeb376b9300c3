"""`make demo` goes on as the README says: what it serves also works, with worker and beat in the web process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from tests.journeys.test_embedded import ROOT, Home

LIMIT = 90.0  # seconds; it takes ten


@dataclass
class Demo:
    home: Home
    url: str
    lines: list[str] = field(default_factory=list)

    def read(self, output: object) -> None:
        self.lines += output  # type: ignore[arg-type] # an open pipe is its lines

    @property
    def password(self) -> str:
        return next(found[1] for line in self.lines if (found := re.search(r"login: demo   password: (\S+)", line)))


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PKI_", "DJANGO_"))}
    command = [sys.executable, str(ROOT / "manage.py"), "up", "--demo", "--port", str(port)]
    with subprocess.Popen(command, env={**env, "PKI_HOME": str(tmp_path)}, stdout=subprocess.PIPE, text=True) as server:
        running = Demo(Home(tmp_path), f"http://127.0.0.1:{port}")
        threading.Thread(target=running.read, args=(server.stdout,), daemon=True).start()
        try:
            within(lambda: answers(f"{running.url}/healthz"))
            yield running
        finally:  # else a start that takes too long is waited for permanently
            server.send_signal(signal.SIGTERM)


def within(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.2)


def answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=5).ok
    except requests.ConnectionError:
        return False


def post(browser: requests.Session, url: str, **fields: str) -> requests.Response:
    return browser.post(url, {"csrfmiddlewaretoken": browser.cookies["csrftoken"], **fields}, headers={"Referer": url}, timeout=30)


def test_what_the_demo_serves_issues_and_seals(demo: Demo) -> None:
    browser = requests.Session()
    browser.trust_env = False
    browser.get(f"{demo.url}/login/", timeout=30)
    assert post(browser, f"{demo.url}/login/", username="demo", password=demo.password).url == f"{demo.url}/"
    draft = post(browser, f"{demo.url}/new/", text="Certificate for shown.example.com in the vault, P-256, 30 days").url
    shown = re.search(r'name="shown" value="([^"]+)"', browser.get(f"{draft}plan/", timeout=30).text)
    assert shown is not None
    page = post(browser, f"{draft}submit/", shown=shown[1]).url
    within(lambda: "/certificates/cert-" in browser.get(page, timeout=30).text)
    within(lambda: demo.home.json("verify_audit")[1]["sealed"] > 0)
    # Mails that commands of other processes write link to where this one serves.
    assert (demo.home.folder / "portal_url").read_text().strip() == demo.url
    # The first start decides which address certificates name for CRL and OCSP: this one, at which they are found.
    assert (demo.home.folder / "base_url").read_text().strip() == demo.url
