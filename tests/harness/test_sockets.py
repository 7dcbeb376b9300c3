"""Tests cannot leave the machine."""

from __future__ import annotations

import socket

import pytest

from tests.harness.plugin.sockets import OutgoingConnectionError


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "203.0.113.7"])
def test_connection_elsewhere_is_refused(address: str) -> None:
    with socket.socket() as outgoing, pytest.raises(OutgoingConnectionError):
        outgoing.connect((address, 443))


def test_datagram_elsewhere_is_refused() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as outgoing, pytest.raises(OutgoingConnectionError):
        outgoing.sendto(b"?", ("192.0.2.1", 53))


@pytest.mark.parametrize("name", ["example.com", "localhost.example.com", "127.0.0.1.example.com"])
def test_look_up_of_a_foreign_name_is_refused(name: str) -> None:
    with pytest.raises(OutgoingConnectionError):
        socket.getaddrinfo(name, 443)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_loopback_is_reached(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection((name, server.getsockname()[1]), timeout=5) as here:
        assert here.getpeername() == server.getsockname()


def test_handlers_of_errors_do_not_swallow_the_refusal() -> None:
    assert not issubclass(OutgoingConnectionError, Exception)
