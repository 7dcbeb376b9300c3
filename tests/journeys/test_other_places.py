"""From the first page to a Java server, and to a server that lets a client in by its certificate."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from certs.models import Certificate
from tests.certs.life import new_policy
from tests.certs.servers.running import java_with, nginx_with, type_passwords
from tests.harness.processes import free_port
from tests.journeys.conftest import Visitor
from tests.journeys.test_to_the_padlock import MOST_CLICKS, Person
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]
READY = "two files and one reload"


def get_certificate(person: Person, csr: str) -> None:
    person.send(csr)
    person.click(person.page.get_by_role("button", name="Send the CSR"))
    person.click(person.page.get_by_role("button", name="Get the certificate"))
    expect(person.page.get_by_role("heading", name="1. The two files")).to_be_visible(timeout=20_000)


def test_java_server_with_the_key_store_of_the_pages(visit: Visit, portal: Portal, tmp_path: Path) -> None:
    if shutil.which("keytool") is None or shutil.which("java") is None:
        pytest.skip("keytool and java are not installed")
    person = Person(visit(), tmp_path / "person")
    person.begin()
    person.page.get_by_label("Or say it").fill("certificate for shop.example.com for tomcat, P-256")
    person.click(person.page.get_by_role("button", name="Go on"))
    type_passwords(person.copied("Command for Java (keytool)"), person.folder)
    get_certificate(person, "shop.example.com.csr")
    person.download(person.page.get_by_role("link", name="Download shop.example.com-fullchain.pem"))
    person.download(person.page.get_by_role("link", name="Download shop.example.com-root.pem"))
    steps = person.copied("Tomcat, Java: Put the root and the certificate into the key store")
    for line in (
        steps.replace("sudo ", "").replace("-o tomcat -g tomcat ", "").replace("/etc/tomcat", str(tmp_path / "tomcat")).splitlines()
    ):
        type_passwords(line, person.folder)
    xml = person.copied("Tomcat, Java: Name the key store in conf/server.xml")
    file, alias = (re.findall(rf'certificateKey{name}="([^"]+)"', xml)[0] for name in ("storeFile", "Alias"))
    port = free_port()
    with java_with(file.replace("/etc/tomcat", str(tmp_path / "tomcat")), alias, port, tmp_path):
        there = ["--resolve", f"shop.example.com:{port}:127.0.0.1", f"https://shop.example.com:{port}/"]
        command = ["curl", "-sS", "--http0.9", "--cacert", "shop.example.com-root.pem", "-o", "answer", *there]
        subprocess.run(command, cwd=person.folder, check=True, capture_output=True)
    assert person.clicks <= MOST_CLICKS


def test_client_is_let_in_by_its_certificate(visit: Visit, portal: Portal, tmp_path: Path) -> None:
    new_policy("v2.4", allowed_profiles={"tls-server": ["serverAuth"], "tls-client": ["clientAuth"]})
    person = Person(visit(), tmp_path / "person")
    person.begin()
    person.page.get_by_label("Or say it").fill("mTLS client certificate for billing, P-256")
    person.click(person.page.get_by_role("button", name="Go on"))
    expect(person.page.get_by_role("heading", name="A client certificate")).to_be_visible()
    person.run(person.copied("Command for Linux, macOS (openssl)"))
    get_certificate(person, "billing.example.com.csr")
    person.download(person.page.get_by_role("link", name="Download billing.example.com-fullchain.pem"))
    person.click(person.page.get_by_text("Other files"))
    person.download(person.page.get_by_role("link", name="Root"))
    home = str(tmp_path / "home")
    person.run(person.copied("Client program: Put both files where the program finds them").replace("~", home))
    port, own = free_port(), tmp_path / "own"
    own.mkdir()
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server -keyout key -out cert"
    subprocess.run(["bash", "-euc", f"{made} -addext subjectAltName=DNS:server.example.com"], cwd=own, check=True, capture_output=True)
    asks = f"ssl_client_certificate {person.folder}/billing.example.com-root.pem; ssl_verify_client on; ssl_verify_depth 3;"
    files = f"ssl_certificate {own}/cert; ssl_certificate_key {own}/key;"
    site = f"server {{ listen 127.0.0.1:{port} ssl; {files} {asks} return 200 $ssl_client_s_dn; }}"
    with nginx_with(site, port, tmp_path):
        curl = person.copied("Client program: Name them in the program's settings").replace("~", home)
        here = curl.replace("https://server.example.com/", f"https://server.example.com:{port}/")
        trust = f" -sS --cacert {own}/cert --resolve server.example.com:{port}:127.0.0.1"
        done = subprocess.run(["bash", "-euc", here + trust], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("CN=billing.example.com")
    assert Certificate.objects.get().profile == "tls-client"
    assert person.clicks <= MOST_CLICKS
