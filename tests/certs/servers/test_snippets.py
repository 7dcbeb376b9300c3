"""Each snippet, put to the real server: the files step is run, the configuration is loaded, and a client that
trusts only the root reaches the server under its name.
"""

from __future__ import annotations

import os
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs.servers.commands import CSRContent, compose
from certs.servers.files import FileNames
from certs.servers.kinds import CLIENT, SERVERS, Server, Tool, server_named
from certs.servers.snippets import Snippet, snippet
from tests.certs.servers.conftest import NAMES, TestCA, pem
from tests.certs.servers.page import page
from tests.certs.servers.running import java_with, nginx_with, open_to_all, running, type_passwords
from tests.harness.packages import nginx
from tests.harness.postgres import Postgres
from tests.harness.processes import free_port, give_to, server_user

FILES = FileNames.of(NAMES)
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
Downloads = Callable[..., Path]


def program(name: str) -> str:
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def written(slug: str, folder: Path) -> Snippet:
    server = server_named(slug)
    assert server is not None
    return snippet(server, NAMES, folder=str(folder))


def put_files(shown: Snippet, downloads: Path) -> None:
    """Run the shell commands of the files step as the tests' user: no sudo, no change of owner."""
    text = re.sub(r" -o \w+ -g \w+", "", shown.steps[0].text).replace("sudo ", "")
    subprocess.run(["bash", "-euc", text], cwd=downloads, check=True, capture_output=True)


def configuration(shown: Snippet, number: int = 0) -> str:
    return [step for step in shown.steps if step.kind == "config"][number].text


def trusting(root: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(root))


def assert_served(port: int, root: Path) -> None:
    """A TLS client that knows only the root: the chain is complete and each name is in the certificate."""
    for name in NAMES:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            trusting(root).wrap_socket(plain, server_hostname=name) as connection,
        ):
            assert connection.version() in ("TLSv1.2", "TLSv1.3")


def test_nginx(downloads: Downloads, tmp_path: Path) -> None:
    if nginx() is None:
        pytest.skip("nginx is not installed")
    folder, port, shown = downloads(), free_port(), written("nginx", tmp_path / "tls")
    put_files(shown, folder)
    site = configuration(shown).replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    with nginx_with(site, port, tmp_path):
        assert_served(port, folder / FILES.root)


def test_apache(downloads: Downloads, tmp_path: Path) -> None:
    apache = program("apache2")
    folder, port, shown = downloads(), free_port(), written("apache", tmp_path / "tls")
    put_files(shown, folder)
    modules = ("mpm_event", "authz_core", "socache_shmcb", "ssl")
    loaded = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in modules)
    main = f"{loaded}\nServerName localhost\nServerRoot {tmp_path}\nPidFile {tmp_path}/pid\nErrorLog /dev/stderr\n"
    main += f"Mutex file:{tmp_path}\nDefaultRuntimeDir {tmp_path}\nUser nobody\nGroup nogroup\nListen 127.0.0.1:{port}\n"
    (tmp_path / "apache.conf").write_text(main + configuration(shown).replace("*:443", f"*:{port}"))
    command = [apache, "-f", str(tmp_path / "apache.conf")]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    with running([*command, "-D", "FOREGROUND"], port, tmp_path):
        assert_served(port, folder / FILES.root)


def test_haproxy(downloads: Downloads, tmp_path: Path) -> None:
    haproxy = program("haproxy")
    folder, port, shown = downloads(), free_port(), written("haproxy", tmp_path / "tls")
    put_files(shown, folder)
    site = configuration(shown).replace("bind :443", f"bind 127.0.0.1:{port}")
    limits = "defaults\n    timeout connect 1s\n    timeout client 5s\n    timeout server 5s\n"
    (tmp_path / "haproxy.cfg").write_text(f"{limits}{site}\nbackend web\n    mode http\n    http-request return status 200\n")
    command = [haproxy, "-f", str(tmp_path / "haproxy.cfg")]
    subprocess.run([*command, "-c"], check=True, capture_output=True)
    with running([*command, "-db"], port, tmp_path):
        assert_served(port, folder / FILES.root)


def test_caddy(downloads: Downloads, tmp_path: Path) -> None:
    caddy = program("caddy")
    folder, port, shown = downloads(), free_port(), written("caddy", tmp_path / "tls")
    put_files(shown, folder)
    options = f"{{\n    admin off\n    auto_https off\n    https_port {port}\n    storage file_system {tmp_path}/caddy\n}}\n"
    site = re.sub(r"(?<=example\.com)(?=[, ])", f":{port}", configuration(shown), count=2)
    (tmp_path / "Caddyfile").write_text(options + site)
    arguments = ["--config", str(tmp_path / "Caddyfile"), "--adapter", "caddyfile"]
    subprocess.run([caddy, "validate", *arguments], check=True, capture_output=True)
    with running([caddy, "run", *arguments], port, tmp_path):
        assert_served(port, folder / FILES.root)


def test_java_key_store_serves_in_java(test_ca: TestCA, tmp_path: Path) -> None:
    """From the composed keytool commands to a Java TLS server with the key store that the snippet made.

    Tomcat reads the key store with the same library. Its attributes in server.xml are checked by
    their structure.
    """
    program("keytool")
    program("java")
    folder, password, shown = tmp_path / "downloads", "changeit", written("tomcat", tmp_path / "tls")
    folder.mkdir()

    type_passwords(compose(Tool.KEYTOOL, CSRContent(NAMES, "ec-p256")), folder, password)
    csr = x509.load_pem_x509_csr((folder / FILES.csr).read_bytes())
    (folder / FILES.fullchain).write_bytes(pem(test_ca.sign(csr, usage=ExtendedKeyUsageOID.SERVER_AUTH)))
    (folder / FILES.root).write_bytes(pem([test_ca.root]))
    for line in re.sub(r" -o \w+ -g \w+", "", shown.steps[0].text).replace("sudo ", "").splitlines():
        type_passwords(line, folder, password)
    xml = configuration(shown)
    store = re.search(r'certificateKeystoreFile="([^"]+)"', xml)
    alias = re.search(r'certificateKeyAlias="([^"]+)"', xml)
    assert store is not None
    assert alias is not None
    port = free_port()
    with java_with(store[1], alias[1], port, tmp_path, password=password):
        assert_served(port, folder / FILES.root)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for sockets: a path of more than 107 octets is none for them."""
    with tempfile.TemporaryDirectory(prefix="dovecot-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_dovecot(downloads: Downloads, tmp_path: Path, short_folder: Path) -> None:
    dovecot = program("dovecot")
    if os.geteuid() != 0:
        pytest.skip("Dovecot starts as root only")
    folder, port, shown = downloads(), free_port(), written("mail", tmp_path / "tls")
    put_files(shown, folder)
    main = f"base_dir = {short_folder}\nstate_dir = {tmp_path}/state\nlog_path = /dev/stderr\nprotocols = imap\nlisten = 127.0.0.1\n"
    main += "service imap-login {\n  chroot =\n  inet_listener imap {\n    port = 0\n  }\n"
    main += f"  inet_listener imaps {{\n    port = {port}\n  }}\n}}\n"
    main += "passdb {\n  driver = static\n  args = nopassword=y\n}\n"
    (tmp_path / "dovecot.conf").write_text(main + configuration(shown, 1) + "\n")
    open_to_all(tmp_path)
    with running([dovecot, "-F", "-c", str(tmp_path / "dovecot.conf")], port, tmp_path):
        assert_served(port, folder / FILES.root)


def test_postfix(downloads: Downloads, tmp_path: Path) -> None:
    postfix = program("postfix")
    if os.geteuid() != 0:
        pytest.skip("Postfix starts as root only")
    folder, port, shown = downloads(), free_port(), written("mail", tmp_path / "tls")
    put_files(shown, folder)
    settings = tmp_path / "postfix"
    settings.mkdir()
    queue, data = tmp_path / "queue", tmp_path / "data"
    main = f"queue_directory = {queue}\ndata_directory = {data}\ncompatibility_level = 3.6\nmyhostname = shop.example.com\n"
    main += "inet_interfaces = 127.0.0.1\nmaillog_file = /dev/stdout\nalias_maps =\nlocal_recipient_maps =\nmynetworks_style = host\n"
    (settings / "main.cf").write_text(main + configuration(shown) + "\n")
    services = [
        f"127.0.0.1:{port} inet n - n - - smtpd",
        *(f"{name} {how} {kind} - n {wakeup} {most} {command}" for name, how, kind, wakeup, most, command in MASTER),
    ]
    (settings / "master.cf").write_text("\n".join(services) + "\n")
    queue.mkdir()
    data.mkdir()
    shutil.chown(data, "postfix")
    open_to_all(tmp_path)
    with running([postfix, "-c", str(settings), "start-fg"], port, tmp_path):
        try:
            with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
                client._host = "shop.example.com"  # type: ignore[attr-defined]  # noqa: SLF001 - what STARTTLS checks
                client.starttls(context=trusting(folder / FILES.root))
                assert client.noop()[0] == 250
        finally:
            subprocess.run([postfix, "-c", str(settings), "stop"], check=False, capture_output=True)


MASTER = (
    ("pickup", "unix", "n", "60", "1", "pickup"),
    ("cleanup", "unix", "n", "-", "0", "cleanup"),
    ("qmgr", "unix", "n", "300", "1", "qmgr"),
    ("tlsmgr", "unix", "-", "1000?", "1", "tlsmgr"),
    ("rewrite", "unix", "-", "-", "-", "trivial-rewrite"),
    ("anvil", "unix", "-", "-", "1", "anvil"),
    ("postlog", "unix-dgram", "n", "-", "1", "postlogd"),
)


def test_postgresql(downloads: Downloads, tmp_path: Path) -> None:
    psql = program("psql")
    folder, shown = downloads(), written("postgresql", tmp_path / "tls")
    put_files(shown, folder)
    open_to_all(tmp_path / "tls")
    for path in (tmp_path / "tls").iterdir():
        give_to(server_user(), path)
    server = Postgres(tmp_path / "cluster")
    server.create()
    with (tmp_path / "cluster" / "data" / "postgresql.conf").open("a") as file:
        file.write(configuration(shown) + "\n")
    server.start()
    try:
        root = folder / FILES.root
        address = server.url.replace("127.0.0.1", "shop.example.com")
        done = subprocess.run(
            [psql, f"{address}?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={root}", "-Atc", "SHOW ssl"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "on\n"
    finally:
        server.stop()


def test_client_with_curl(downloads: Downloads, tmp_path: Path) -> None:
    """A server that asks for a client certificate of this CA lets curl in with the files of the snippet."""
    if nginx() is None:
        pytest.skip("nginx is not installed")
    program("curl")
    folder, port = downloads(ExtendedKeyUsageOID.CLIENT_AUTH), free_port()
    shown = snippet(CLIENT, NAMES, folder=str(tmp_path / "tls"))
    put_files(shown, folder)
    (tmp_path / "own").mkdir()
    certificate, key = tmp_path / "own" / "c.pem", tmp_path / "own" / "k.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=server"]
    names = ["-addext", "subjectAltName=DNS:server.example.com", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names], check=True, capture_output=True)
    own = f"ssl_certificate {certificate}; ssl_certificate_key {key};"
    asks = f"ssl_client_certificate {folder / FILES.root}; ssl_verify_client on; ssl_verify_depth 3;"
    site = f"server {{ listen 127.0.0.1:{port} ssl; {own} {asks} return 200 $ssl_client_s_dn; }}"
    with nginx_with(site, port, tmp_path):
        text = configuration(shown).replace("https://server.example.com/", f"https://server.example.com:{port}/")
        own_trust = f" --cacert {certificate} --resolve server.example.com:{port}:127.0.0.1 -sS"
        done = subprocess.run(["bash", "-euc", text + own_trust], capture_output=True, text=True, check=True)
    assert done.stdout == "CN=shop.example.com"


def test_iis_names_the_files_and_the_host() -> None:
    """No Windows here: the structure alone."""
    files, config, _ = written("iis", Path()).steps
    assert files.text == "certreq.exe -accept 'shop.example.com-chain.p7b'"
    assert "-HostHeader 'shop.example.com' -SslFlags 1" in config.text
    assert "DnsNameList.Punycode -contains" in config.text  # the other property has international names decoded


@pytest.mark.parametrize("server", [*SERVERS, CLIENT], ids=lambda server: server.slug)
@pytest.mark.parametrize("names", [("*.example.com",), ("192.0.2.7", "2001:db8::7"), ("$(id)'`;.example.com", "a.example.com")])
def test_each_snippet_has_files_configuration_and_reload(server: Server, names: tuple[str, ...]) -> None:
    shown = snippet(server, names)
    assert [step.kind for step in shown.steps][:: len(shown.steps) - 1] == ["files", "reload"]
    assert all(step.title and (step.text or step.kind == "reload") for step in shown.steps)
    text = "\n".join(step.text for step in shown.steps)
    assert "$(id)" not in text
    assert "{{" not in text
    assert "&#" not in text


def test_document_is_made_of_the_snippets() -> None:
    """Written by `python -m tests.certs.servers.page`."""
    assert (Path(__file__).resolve().parents[3] / "docs" / "servers.md").read_text() == page()
