"""R1 and R2: from the first page to https on a real nginx, with nothing but what the pages say."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from certs.models import Certificate
from tests.certs.servers.running import nginx_with
from tests.harness.processes import free_port
from tests.journeys.conftest import Visitor
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]
MOST_CLICKS = 12


class Person:
    """Somebody in front of the pages and a shell. Counts the clicks; a choice of a file is one."""

    def __init__(self, visitor: Visitor, folder: Path) -> None:
        self.visitor, self.page, self.folder, self.clicks = visitor, visitor.page, folder, 0
        folder.mkdir()

    def click(self, target: Locator) -> None:
        self.clicks += 1
        target.click()

    def begin(self) -> None:
        """The way from the first page to the place where one asks."""
        self.visitor.open("/")
        link = self.page.get_by_role("link", name="New certificate")
        if link.count():
            self.click(link.first)
        expect(self.page.get_by_role("heading", name="Where will the certificate be used?")).to_be_visible()

    def run(self, text: str) -> None:
        """Paste a command of the page into the shell."""
        subprocess.run(["bash", "-euc", text], cwd=self.folder, check=True, capture_output=True)

    def send(self, file: str) -> None:
        self.clicks += 1
        self.page.get_by_label("CSR file").set_input_files(self.folder / file)

    def download(self, link: Locator) -> str:
        with self.page.expect_download() as downloading:
            self.click(link)
        name = downloading.value.suggested_filename
        downloading.value.save_as(self.folder / name)
        return str(name)

    def copied(self, label: str) -> str:
        return self.page.get_by_label(label).inner_text()


def install_on_nginx(person: Person, tmp_path: Path) -> tuple[str, int]:
    """Do what the request page says; return the site, on a loopback port and below the test's folder."""
    page, port = person.page, free_port()
    expect(page.get_by_text("Signed. Now put it on your server: two files and one reload.")).to_be_visible(timeout=20_000)
    assert person.download(page.get_by_role("link", name="Download shop.example.com-fullchain.pem")) == "shop.example.com-fullchain.pem"
    person.click(page.get_by_text("Other files"))
    assert person.download(page.get_by_role("link", name="Root")) == "shop.example.com-root.pem"
    person.run(person.copied("nginx: Put both files in place").replace("sudo ", "").replace("/etc/nginx", str(tmp_path / "nginx")))
    site = person.copied("nginx: Name them in the server block").replace("/etc/nginx", str(tmp_path / "nginx"))
    return site.replace("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl; return 200 padlock;"), port


def assert_padlock(person: Person, site: str, port: int, tmp_path: Path) -> None:
    with nginx_with(site, port, tmp_path):
        there = ["--resolve", f"shop.example.com:{port}:127.0.0.1", f"https://shop.example.com:{port}/"]
        done = subprocess.run(
            ["curl", "-sS", "--cacert", "shop.example.com-root.pem", *there],
            cwd=person.folder,
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == "padlock"
    assert person.clicks <= MOST_CLICKS


def test_r1_from_a_sentence_to_the_padlock(visit: Visit, portal: Portal, tmp_path: Path) -> None:
    person = Person(visit(), tmp_path / "person")
    person.begin()
    person.page.get_by_label("Or say it").fill("I need https on shop.example.com on my nginx server")
    person.click(person.page.get_by_role("button", name="Go on"))
    person.run(person.copied("Command for Linux, macOS (openssl)"))
    person.send("shop.example.com.csr")
    person.click(person.page.get_by_role("button", name="Send the CSR"))
    expect(person.page.get_by_text("Nothing has been made yet")).to_be_visible()
    person.click(person.page.get_by_role("button", name="Get the certificate"))
    site, port = install_on_nginx(person, tmp_path)
    assert_padlock(person, site, port, tmp_path)
    expect(person.page.get_by_text("the files were downloaded")).to_have_count(0)
    person.page.reload()
    expect(person.page.get_by_text("the files were downloaded")).to_be_visible()


def test_r1_by_tiles_with_names_that_are_typed(visit: Visit, portal: Portal, tmp_path: Path) -> None:
    """The command is rewritten while the names are typed, without a click."""
    person = Person(visit(), tmp_path / "person")
    person.begin()
    person.click(person.page.get_by_role("button", name="A web server I run"))
    person.page.get_by_label("Names").press_sequentially("shop")
    person.click(person.page.get_by_role("button", name=".example.com"))
    person.click(person.page.get_by_label("nginx"))
    command = person.page.get_by_label("Command for Linux, macOS (openssl)")
    expect(command).to_contain_text("subjectAltName=DNS:shop.example.com")
    address = person.page.url
    person.visitor.open("/words/")
    person.page.go_back()
    person.page.reload()
    assert person.page.url == address
    expect(person.page.get_by_label("Names")).to_have_value("shop.example.com")
    expect(person.page.get_by_label("nginx")).to_be_checked()
    person.run(command.inner_text())
    person.send("shop.example.com.csr")
    person.click(person.page.get_by_role("button", name="Send the CSR"))
    person.click(person.page.get_by_role("button", name="Get the certificate"))
    site, port = install_on_nginx(person, tmp_path)
    assert_padlock(person, site, port, tmp_path)


def test_r2_with_a_csr_that_is_there(visit: Visit, portal: Portal, tmp_path: Path) -> None:
    person = Person(visit(), tmp_path / "person")
    person.run("openssl req -new -newkey rsa:3072 -nodes -keyout shop.example.com.key -out own.csr -subj /CN=shop.example.com")
    person.begin()
    person.click(person.page.get_by_role("link", name="I have a CSR"))
    person.send("own.csr")
    person.click(person.page.get_by_role("button", name="Show the plan"))
    person.click(person.page.get_by_role("button", name="Get the certificate"))
    site, port = install_on_nginx(person, tmp_path)
    assert_padlock(person, site, port, tmp_path)
    assert Certificate.objects.get().key is None


def test_without_javascript_every_step_works(portal: Portal, worker: None, live_server: object, browser: object, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)  # type: ignore[attr-defined]
    page, base = context.new_page(), live_server.url  # type: ignore[attr-defined]
    try:
        page.goto(f"{base}/login/")
        page.get_by_label("User name").fill("alice")
        page.get_by_label("Password").fill("correct horse battery")
        page.get_by_role("button", name="Sign in").click()
        page.goto(f"{base}/new/")
        page.get_by_role("button", name="A web server I run").click()
        page.get_by_label("Names").fill("shop")
        page.get_by_role("button", name=".example.com").click()
        expect(page.get_by_label("Names")).to_have_value("shop.example.com")
        page.get_by_label("HAProxy").check()
        page.get_by_role("button", name="Write the command").click()
        command = page.get_by_label("Command for Linux, macOS (openssl)").inner_text()
        subprocess.run(["bash", "-euc", command], cwd=tmp_path, check=True, capture_output=True)
        page.get_by_label("or paste its text").fill((tmp_path / "shop.example.com.csr").read_text())
        page.get_by_role("button", name="Send the CSR").click()
        page.get_by_role("button", name="Get the certificate").click()
        for _ in range(100):
            if page.get_by_text("Signed. Now put it on your server").count():
                break
            page.wait_for_timeout(100)
            page.reload()
        expect(page.get_by_label("HAProxy: Name the certificate in the frontend")).to_be_visible()
    finally:
        context.close()
