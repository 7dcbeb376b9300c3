"""No test leaves the machine: connections and look-ups of anything but loopback raise, in the pytest process.

An audit hook (PEP 578) rather than a patched socket class: it sees every Python caller, however it imported `socket`. What it does not
see: C libraries (libpq, the PKCS#11 module) and child processes.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from typing import Any


class OutgoingConnectionError(BaseException):
    """A test tried to leave the machine. Not an `Exception`: code under test must not take it for an unreachable server."""


_LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
_CONNECTIONS = {"socket.connect", "socket.sendto", "socket.sendmsg"}


def close_outgoing_sockets() -> None:
    """For the rest of this process; an audit hook cannot be taken back."""
    sys.addaudithook(_refuse_outgoing)


def _refuse_outgoing(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _LOOKUPS:
        host = arguments[0]
    elif event in _CONNECTIONS:
        address = arguments[1]
        if not isinstance(address, tuple):  # a Unix socket's path; or None, where sendmsg() goes to a connected peer
            return
        host = address[0]
    else:
        return
    if not _stays_here(host):
        raise OutgoingConnectionError(f"{event} to {host!r}: tests reach loopback only. Start what you need there, or pass its address in.")


def _stays_here(host: str | bytes | None) -> bool:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host or ""
    # The machine's own name is asked for when a message gets its Message-ID; it is answered from the hosts file.
    if name in {"", "localhost", socket.gethostname()}:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
