"""The public page: the roots, their files, the commands that install them, and mails before they change."""

from __future__ import annotations

import hashlib
import os
import plistlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from django.test import Client
from django.utils.html import strip_tags

from certs.models import Certificate, Issuer, OutgoingMail, TrustSubscription
from certs.trust import subscriptions
from certs.trust.roots import Root, roots
from certs.trust.subscriptions import notify_changes
from certs.trust.systems import SYSTEMS, download_for, text_for
from certs.x509.asn1.pem import pem_of
from certs.x509.certificate.chain import intermediates_of
from db.clock import database_now
from tests.certs.installation import servers
from tests.certs.life import brought, issued
from tests.certs.x509.certificate.chains import ROOT_DER
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True)]


@pytest.fixture
def root(portal: Portal) -> Root:
    (found,) = roots()
    return found


def test_page_is_public_and_shows_the_fingerprint_and_a_line_for_each_system(root: Root) -> None:
    """B16: the root could not be found, and every internal https ended red."""
    answer = Client().get("/trust/")
    text = answer.content.decode()
    assert answer.status_code == 200
    assert root.fingerprint in strip_tags(text)  # in groups that do not break within an octet
    for system in SYSTEMS:
        assert system.title in text
    assert "Sign in" in text


def test_files_are_the_root(root: Root) -> None:
    client = Client()
    files = {form: client.get(f"/trust/{root.slug}.{form}") for form in ("pem", "der", "mobileconfig")}
    assert files["der"].content == root.der
    assert x509.load_pem_x509_certificate(files["pem"].content).public_bytes(Encoding.DER) == root.der
    profile = plistlib.loads(files["mobileconfig"].content)
    (payload,) = profile["PayloadContent"]
    assert (payload["PayloadType"], payload["PayloadContent"]) == ("com.apple.security.root", root.der)
    assert profile == plistlib.loads(client.get(f"/trust/{root.slug}.mobileconfig").content)
    assert files["mobileconfig"]["Content-Type"] == "application/x-apple-aspen-config"
    assert client.get(f"/trust/{root.slug}.exe").status_code == 404
    assert client.get("/trust/other-00000000.pem").status_code == 404


def test_root_of_a_distrusted_ca_is_not_offered(root: Root) -> None:
    Issuer.objects.update(state=Issuer.State.DISTRUSTED)
    assert roots() == []
    assert "This portal has no CA yet" in Client().get("/trust/").content.decode()


# --- the commands, run ---


@pytest.fixture
def folder(root: Root, tmp_path: Path) -> Path:
    (tmp_path / f"{root.slug}.pem").write_bytes(root.pem)
    return tmp_path


@pytest.fixture
def site(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server with a certificate of the portal for localhost's stand-in, shop.example.com."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate: Certificate = issued(brought("shop.example.com", key=key), portal.requester())
    chain = (pem_of(bytes(certificate.body.der)) + intermediates_of(certificate.chain.pem)).encode()

    def serve(connection: Any) -> None:
        with servers.context_of(chain, key).wrap_socket(connection, server_side=True) as secured:
            secured.recv(4096)
            secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    with servers.listening(serve) as port:
        yield port


def text(name: str, root: Root) -> str:
    (system,) = [one for one in SYSTEMS if one.name == name]
    return text_for(system, root, base_url="http://portal.example.com")


def run(command: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **more}
    return subprocess.run(["sh", "-ec", command], cwd=folder, capture_output=True, text=True, env=environment, timeout=60, check=False)


def test_download_command_refuses_another_file(root: Root, tmp_path: Path, live_server: Any) -> None:
    command = download_for(root, base_url=live_server.url)
    done = run(command, tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{root.slug}.pem: OK\n")
    assert hashlib.sha256((tmp_path / f"{root.slug}.pem").read_bytes()).hexdigest() == root.pem_sha256
    forged = command.replace(root.pem_sha256, "0" * 64)
    assert run(forged, tmp_path).returncode != 0


def test_curl_trusts_the_site_with_the_command(root: Root, folder: Path, site: int) -> None:
    command = text("curl", root).replace("https://shop.example.com/", f"https://shop.example.com:{site}/")
    there = f" --resolve shop.example.com:{site}:127.0.0.1 -sS"
    assert run(command + there, folder).stdout == "ok"
    without = re.sub(r"--cacert \S+", "", command)
    assert run(without + there, folder).returncode == 60


def test_python_trusts_the_site_with_the_variables(root: Root, folder: Path, site: int) -> None:
    program = """
import socket, ssl, sys
context = ssl.create_default_context()
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as raw:
    with context.wrap_socket(raw, server_hostname="shop.example.com") as secured:
        secured.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
        print(secured.recv(100)[-2:].decode(), end="")
"""
    (folder / "your-program.py").write_text(program)
    command = text("python", root).replace("python your-program.py", f"python3 your-program.py {site}")
    assert run(command, folder).stdout == "ok"
    assert "CERTIFICATE_VERIFY_FAILED" in run(f"python3 your-program.py {site}", folder).stderr


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_node_trusts_the_site_with_the_variable(root: Root, folder: Path, site: int) -> None:
    program = """
const tls = require("tls");
const socket = tls.connect(Number(process.argv[2]), "127.0.0.1", {servername: "shop.example.com"});
socket.on("secureConnect", () => socket.write("GET / HTTP/1.1\\r\\n\\r\\n"));
socket.on("data", (data) => { process.stdout.write(data.toString().slice(-2)); socket.end(); });
socket.on("error", (error) => { process.stdout.write(error.code); });
"""
    (folder / "your-program.js").write_text(program)
    command = text("node", root).replace("your-program.js", f"your-program.js {site}")
    assert run(command, folder).stdout == "ok"
    assert "ok" not in run(f"node your-program.js {site}", folder).stdout


@pytest.mark.skipif(shutil.which("keytool") is None, reason="keytool is not installed")
def test_keytool_takes_the_root(root: Root, folder: Path) -> None:
    command = text("java", root).removeprefix("sudo ").replace("-cacerts", "-keystore store.p12 -storetype PKCS12")
    done = run(command, folder)
    assert done.returncode == 0, done.stdout
    listed = run("keytool -list -keystore store.p12 -storepass changeit", folder).stdout
    assert root.fingerprint in listed


@pytest.mark.skipif(shutil.which("certutil") is None, reason="libnss3-tools is not installed")
def test_chrome_takes_the_root_also_before_it_has_a_store(root: Root, folder: Path) -> None:
    done = run(text("chrome", root), folder)
    assert done.returncode == 0, done.stderr
    listed = run(f"certutil -d sql:{folder}/.pki/nssdb -L -n {root.slug} -a", folder).stdout
    assert listed.split() == root.pem.decode().split()


@pytest.mark.skipif(shutil.which("update-ca-certificates") is None, reason="ca-certificates is not installed")
def test_debian_takes_the_root(root: Root, folder: Path) -> None:
    for name in ("local", "etc"):
        (folder / name).mkdir()
    (folder / "ca.conf").write_text("")
    command = text("debian", root).replace("sudo ", "").replace("/usr/local/share/ca-certificates/", f"{folder}/local/")
    where = f" --localcertsdir {folder}/local --etccertsdir {folder}/etc --certsconf {folder}/ca.conf --hooksdir {folder}/none"
    done = run(command + where, folder)
    assert done.returncode == 0, done.stderr
    assert root.pem.decode().split()[2] in (folder / "etc" / "ca-certificates.crt").read_text()


# --- mails before it changes ---


@pytest.fixture
def alice(portal: Portal) -> Client:
    client = Client()
    client.force_login(portal.alice)
    return client


def link(kind: str, mail: OutgoingMail) -> str:
    found = re.search(rf"/trust/mails/{kind}/\S+/", mail.body)
    assert found is not None
    return found.group()


def test_subscription_is_confirmed_by_mail_and_ended_by_a_link(root: Root, alice: Client) -> None:
    alice.post("/trust/", {"do": "subscribe"})
    mail = OutgoingMail.objects.get()
    assert mail.recipient == "alice@example.com"
    assert notify_changes() == 0  # not confirmed
    anybody = Client()
    address = link("confirm", mail)
    assert "Confirm that alice@example.com" in anybody.get(address).content.decode()
    assert TrustSubscription.objects.get().confirmed_at is None  # GET changes nothing
    assert "You will be mailed" in anybody.post(address).content.decode()
    assert notify_changes() == 0  # nothing has changed

    Issuer.objects.filter(parent__isnull=True).update(trust_anchor_der=None)
    Issuer.objects.create(name="New", slug="new", alias="New", trust_anchor_der=ROOT_DER, created_at=database_now())
    assert (notify_changes(), notify_changes()) == (1, 0)
    changed = OutgoingMail.objects.latest("pk")
    assert Root(ROOT_DER).fingerprint in changed.body
    assert root.fingerprint in changed.body
    ended = anybody.post(link("end", changed))
    assert "The mails have ended" in ended.content.decode()
    assert not TrustSubscription.objects.exists()
    assert anybody.get(link("end", changed)).status_code == 404


def test_link_of_one_kind_is_none_of_the_other(root: Root, alice: Client) -> None:
    alice.post("/trust/", {"do": "subscribe"})
    address = link("confirm", OutgoingMail.objects.get())
    assert Client().post(address.replace("/confirm/", "/end/")).status_code == 404
    assert TrustSubscription.objects.count() == 1


def test_root_that_ends_is_announced_once_at_each_stage(root: Root, alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    alice.post("/trust/", {"do": "subscribe"})
    Client().post(link("confirm", OutgoingMail.objects.get()))
    monkeypatch.setattr(subscriptions, "database_now", lambda: root.not_after - timedelta(days=29))
    assert (notify_changes(), notify_changes()) == (1, 0)
    assert OutgoingMail.objects.latest("pk").subject.startswith(f"The root certificate {root.name} ends on ")


def test_account_without_an_address_is_told_whom_to_ask(root: Root, portal: Portal, alice: Client) -> None:
    portal.alice.email = ""
    portal.alice.save()
    answer = alice.post("/trust/", {"do": "subscribe"})
    assert answer.status_code == 422
    assert "Ask an administrator to add it." in answer.content.decode()


def test_person_is_not_mailed_without_end(root: Root, alice: Client) -> None:
    answers = [alice.post("/trust/", {"do": "subscribe"}).status_code for _ in range(4)]
    assert answers == [302, 302, 302, 429]
