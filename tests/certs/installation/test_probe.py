"""A look at a server: what it shows, and that nothing a server does makes it long, large or wrong."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certs.installation.checks import check_openssl
from certs.installation.probe import NotSeen, Target, look
from certs.models import PlaceOutcome, StartTLS
from tests.certs.installation import servers
from tests.harness.packages import nginx
from tests.harness.processes import free_port

LOOPBACK = [ip_network("127.0.0.0/8")]
HOST = "shop.example.com"


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A DNS in which every name is this machine. Returns the names that were looked up."""
    return servers.answer_names(monkeypatch, "127.0.0.1")


@pytest.fixture
def server() -> Iterator[tuple[bytes, int]]:
    chain, key = servers.stranger(HOST)
    with servers.serving(chain, key) as port:
        yield der_of(chain), port


def der_of(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def target(port: int, starttls: StartTLS = StartTLS.NONE, name: str = HOST) -> Target:
    return Target(name, port, starttls, name)


def refusal(port: int, starttls: StartTLS = StartTLS.NONE, *, seconds: float = 0.7) -> NotSeen:
    begun = time.monotonic()
    with pytest.raises(NotSeen) as caught:
        look(target(port, starttls), LOOPBACK, seconds=seconds)
    assert time.monotonic() - begun < seconds + 5  # these servers would go on for ever
    return caught.value


def test_certificate_protocol_and_cipher_of_a_server_are_seen(server: tuple[bytes, int], asked: list[str]) -> None:
    seen = look(target(server[1]), LOOPBACK)
    assert (seen.chain, seen.address, seen.protocol) == ((server[0],), "127.0.0.1", "TLSv1.3")
    assert seen.cipher.startswith("TLS_")
    assert asked == [HOST]  # once: the connection goes to the address that was checked


def test_server_of_tls_1_2_alone_is_seen(server: tuple[bytes, int]) -> None:
    chain, key = servers.stranger(HOST)
    context = servers.context_of(chain, key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with servers.serving(chain, key, context=context) as port:
        seen = look(target(port), LOOPBACK)
    assert (seen.protocol, seen.chain) == ("TLSv1.2", (der_of(chain),))


def test_server_name_decides_which_certificate_is_shown() -> None:
    """RFC 6066 3: two sites on one address."""
    first, first_key = servers.stranger("a.example.com")
    second, second_key = servers.stranger("b.example.com")
    other = servers.context_of(second, second_key)
    context = servers.context_of(first, first_key)

    def choose(connection: ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
        if name == "b.example.com":
            connection.context = other

    context.sni_callback = choose  # type: ignore[assignment] # the stub knows SSLObject alone
    with servers.serving(first, first_key, context=context) as port:
        shown = [look(target(port, name=name), LOOPBACK).chain[0] for name in ("a.example.com", "b.example.com")]
    assert shown == [der_of(first), der_of(second)]


def test_all_certificates_of_a_long_chain_are_kept_in_the_order_of_the_server() -> None:
    leaf, key = servers.stranger(HOST)
    others = [servers.stranger(*(f"{n}-{m}.{'x' * 50}.example.com" for m in range(60)))[0] for n in range(8)]
    with servers.serving(leaf + b"".join(others), key) as port:
        seen = look(target(port), LOOPBACK)
    assert seen.chain == tuple(der_of(one) for one in (leaf, *others))


def test_certificates_above_the_limit_of_openssl_end_the_look() -> None:
    leaf, key = servers.stranger(HOST)
    many = b"".join(servers.stranger(*(f"{m}.{'x' * 60}.{'y' * 60}.example.com" for m in range(100)))[0] for _ in range(10))
    with servers.serving(leaf + many, key) as port:
        assert refusal(port, seconds=2).outcome == PlaceOutcome.NO_TLS


@pytest.mark.parametrize("protocol", list(servers.WORDS))
def test_starttls_is_spoken_before_tls(protocol: str) -> None:
    chain, key = servers.stranger(HOST)
    with servers.serving(chain, key, before=servers.WORDS[protocol]) as port:
        assert look(target(port, StartTLS(protocol)), LOOPBACK).chain == (der_of(chain),)


def test_nginx_is_seen(tmp_path: Path) -> None:
    chain, key = servers.stranger(HOST)
    port = free_port()
    files = {name: servers.written(tmp_path, name, content) for name, content in (("c.pem", chain), ("k.pem", servers.pem_of_key(key)))}
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {tmp_path}/{kind}; " for kind in kinds)
    text = f"""daemon off; pid {tmp_path}/pid; error_log stderr; worker_processes 1;
events {{}}
http {{
  access_log off; {folders}
  server {{
    listen 127.0.0.1:{port} ssl; server_name {HOST};
    ssl_certificate {files["c.pem"]}; ssl_certificate_key {files["k.pem"]};
    return 301 https://example.org/;
  }}
}}
"""
    config = servers.written(tmp_path, "nginx.conf", text.encode())
    with running([str(nginx()), "-c", str(config), "-p", str(tmp_path)], port):
        assert look(target(port), LOOPBACK).chain == (der_of(chain),)


def test_openssl_server_is_seen(tmp_path: Path) -> None:
    chain, key = servers.stranger(HOST)
    files = [servers.written(tmp_path, name, content) for name, content in (("c.pem", chain), ("k.pem", servers.pem_of_key(key)))]
    port = free_port()
    with running(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(files[0]), "-key", str(files[1]), "-www"], port):
        assert look(target(port), LOOPBACK).chain == (der_of(chain),)


class running:  # noqa: N801 - reads as a statement
    """A server program, from when it listens to the end of the block."""

    def __init__(self, command: list[str], port: int) -> None:
        self.port = port
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self) -> None:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("the server did not start")

    def __exit__(self, *_exc: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)


# --- what is no server ---


def test_closed_port_is_not_reachable() -> None:
    found = refusal(free_port())
    assert (found.outcome, found.address) == (PlaceOutcome.UNREACHABLE, "127.0.0.1")
    assert "Nothing listens" in str(found)


@pytest.mark.parametrize(
    ("serve", "starttls", "outcome"),
    [
        (servers.silent, StartTLS.NONE, PlaceOutcome.UNREACHABLE),
        (servers.silent, StartTLS.SMTP, PlaceOutcome.UNREACHABLE),
        (servers.silent, StartTLS.POSTGRES, PlaceOutcome.UNREACHABLE),
        (servers.nonsense, StartTLS.NONE, PlaceOutcome.NO_TLS),
        (servers.flooding, StartTLS.SMTP, PlaceOutcome.UNREACHABLE),
        (servers.flooding, StartTLS.NONE, PlaceOutcome.NO_TLS),
        (servers.dripping_greeting, StartTLS.SMTP, PlaceOutcome.UNREACHABLE),
    ],
)
def test_server_that_is_slow_or_speaks_nonsense_ends_in_time(serve: Any, starttls: StartTLS, outcome: PlaceOutcome) -> None:
    with servers.listening(serve) as port:
        found = refusal(port, starttls)
    assert found.outcome == outcome
    assert "example.com" in str(found)


def test_server_that_floods_after_the_handshake_adds_nothing() -> None:
    chain, key = servers.stranger(HOST)
    with servers.flooding_after_handshake(chain, key) as port:
        begun = time.monotonic()
        seen = look(target(port), LOOPBACK, seconds=2)
    assert time.monotonic() - begun < 3
    assert seen.chain == (der_of(chain),)
    assert seen.protocol in {"TLSv1.3", ""}


def test_no_client_is_left_behind() -> None:
    with servers.listening(servers.silent) as port:
        refusal(port)
    listed = subprocess.run(["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=True).stdout
    assert "s_client" not in listed


# --- where it may go ---


def test_connection_outside_the_allowed_networks_is_not_made(server: tuple[bytes, int]) -> None:
    with pytest.raises(NotSeen) as caught:
        look(target(server[1]), [ip_network("0.0.0.0/0")])
    assert caught.value.outcome == PlaceOutcome.NOT_ALLOWED


def test_name_with_allowed_and_other_addresses_leads_to_an_allowed_one(server: tuple[bytes, int], monkeypatch: pytest.MonkeyPatch) -> None:
    servers.answer_names(monkeypatch, "169.254.169.254", "::1", "127.0.0.1")
    assert look(target(server[1]), LOOPBACK).address == "127.0.0.1"


def test_name_without_an_address_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_args: Any, **_more: Any) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    assert "has no address" in str(refusal(443))


def test_slow_dns_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_args: Any, **_more: Any) -> list[Any]:
        time.sleep(2)
        return []

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    assert "in time" in str(refusal(443, seconds=0.3))


def test_settings_of_this_machine_do_not_reach_the_client(server: tuple[bytes, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("OPENSSL_CONF", "/nowhere")
    assert look(target(server[1]), LOOPBACK).chain == (server[0],)


def test_missing_openssl_is_said_at_the_start_and_at_a_look(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings.PKI_LIVE_NETWORKS = LOOPBACK
    assert check_openssl(None) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [one.id for one in check_openssl(None)] == ["certs.W001"]
    found = refusal(free_port())
    assert (found.outcome, "cannot run openssl" in str(found)) == (PlaceOutcome.UNREACHABLE, True)
    settings.PKI_LIVE_NETWORKS = []
    assert check_openssl(None) == []
