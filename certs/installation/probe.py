"""Look at one TLS server from outside: its certificate chain, protocol and cipher. No database.

One call looks at one address once. It ends within the seconds given, reads a bounded number of
bytes, sends nothing but a TLS handshake (after the word that STARTTLS needs), follows no redirect
and believes nothing: what the server sent is returned as it came. docs/decisions/0037 says why this
is OpenSSL's own client in a process of its own.
"""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certs.access.networks import Address, Network, addresses_of, is_allowed
from certs.models import PlaceOutcome, StartTLS
from keys.bounded import BoundedCalls

SECONDS = 3.0  # in all: name, connection, STARTTLS and handshake
MOST_BYTES = 1 << 20  # of output; OpenSSL takes at most 100 kB of certificates from a server
MOST_CERTIFICATES = 20
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_PROTOCOL = re.compile(rb"^\s*Protocol(?: version)?\s*:\s*(\S{1,16})\s*$", re.MULTILINE)
_CIPHER = re.compile(rb"^New, (\S{1,16}), Cipher is (\S{1,64})\s*$", re.MULTILINE)
_look_ups = BoundedCalls(most=16)


@dataclass(frozen=True, slots=True)
class Target:
    """What to look at. `server_name` is sent as SNI (RFC 6066 3); empty: none is sent."""

    host: str
    port: int
    starttls: StartTLS
    server_name: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What the server sent. `chain`: certificates in DER, in its order, its own first."""

    address: str
    protocol: str
    cipher: str
    chain: tuple[bytes, ...]


class NotSeen(Exception):
    """No certificate was seen. `outcome` says how far it went, the message why."""

    def __init__(self, outcome: PlaceOutcome, message: str, *, address: str = "") -> None:
        super().__init__(message)
        self.outcome = outcome
        self.address = address


def look(target: Target, networks: Sequence[Network], *, seconds: float = SECONDS) -> Seen:
    """Connect to the target and return what it sent. Raises NotSeen.

    The name is looked up once, and the connection goes to the first of its addresses that is in
    `networks`: nothing looks the name up again.
    """
    until = time.monotonic() + seconds
    address = _resolve(target, networks, seconds)
    output, said, ended = _run(_command(target, address), until)
    # What follows may be the server's own words, sent after the handshake.
    sent = output.partition(b"\n---\nServer certificate\n")[0]
    blocks = [match.group() for match in _BLOCK.finditer(sent)][:MOST_CERTIFICATES]
    if not blocks:
        raise _why(target, address, said, ended=ended, seconds=seconds)
    try:
        chain = tuple(_der(block) for block in blocks)
    except ValueError:
        raise NotSeen(PlaceOutcome.NO_TLS, "What the server sent as its certificate cannot be read.", address=str(address)) from None
    protocol, cipher = _connection(output)
    return Seen(str(address), protocol, cipher, chain)


def _connection(output: bytes) -> tuple[str, str]:
    """Return protocol and cipher. Only OpenSSL's own paragraph is read: the server's words may follow it."""
    found = _CIPHER.search(output)
    if found is None:
        return "", ""
    paragraph = output[found.start() :].partition(b"\n---\n")[0]
    # The first line has the version in which the cipher appeared; up to TLS 1.2 that says less than the session does.
    session = _PROTOCOL.search(paragraph)
    protocol = session.group(1) if session else found.group(1)
    return protocol.decode("ascii", "replace"), found.group(2).decode("ascii", "replace")


def _resolve(target: Target, networks: Sequence[Network], seconds: float) -> Address:
    try:
        found = _look_ups.run(lambda: addresses_of(target.host, target.port), seconds=seconds)
    except requests.exceptions.Timeout:
        raise NotSeen(PlaceOutcome.UNREACHABLE, f"The DNS did not answer for {target.host} in time.") from None
    except (OSError, UnicodeError):
        raise NotSeen(PlaceOutcome.UNREACHABLE, f"{target.host} has no address in the DNS that the portal asks.") from None
    allowed = [address for address in found if is_allowed(address, networks)]
    if not allowed:
        raise NotSeen(
            PlaceOutcome.NOT_ALLOWED,
            f"The portal may not connect to {target.host}: no administrator has allowed its network.",
        )
    return allowed[0]


def _command(target: Target, address: Address) -> list[str]:
    where = f"[{address}]:{target.port}" if address.version == 6 else f"{address}:{target.port}"
    command = ["openssl", "s_client", "-connect", where, "-showcerts", "-nocommands"]
    # Nothing secret is sent, so an old server is looked at too: its certificate is what is asked for.
    command += ["-cipher", "ALL:@SECLEVEL=0", "-legacy_server_connect"]
    command += ["-servername", target.server_name] if target.server_name else ["-noservername"]
    if target.starttls:
        command += ["-starttls", str(target.starttls)]
    if target.starttls == StartTLS.SMTP:
        command += ["-name", "pki-portal"]
    return command


def _run(command: Sequence[str], until: float) -> tuple[bytes, bytes, bool]:
    """Return what the client wrote to its output and its error output, and whether it ended by itself.

    Its environment is empty, so that no proxy and no configuration of this machine changes what it does.
    """
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "OPENSSL_CONF": os.devnull, "LC_ALL": "C"}
    try:
        client = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    except OSError as exc:
        raise NotSeen(PlaceOutcome.UNREACHABLE, f"The portal cannot run openssl ({exc.strerror}). Tell the operators.") from exc
    with client:
        try:
            return _read(client, until)
        finally:
            client.kill()


def _read(client: subprocess.Popen[bytes], until: float) -> tuple[bytes, bytes, bool]:
    """Read both pipes until the client closes them, the time is over, or it wrote too much."""
    parts: dict[str, bytearray] = {"out": bytearray(), "err": bytearray()}
    with selectors.DefaultSelector() as waiting:
        for name, pipe in (("out", client.stdout), ("err", client.stderr)):
            if pipe is not None:
                waiting.register(pipe, selectors.EVENT_READ, name)
        while waiting.get_map() and (left := until - time.monotonic()) > 0:
            for ready, _ in waiting.select(left):
                data = os.read(ready.fd, 65536)
                parts[ready.data] += data
                if not data or len(parts[ready.data]) > MOST_BYTES:
                    waiting.unregister(ready.fileobj)
        ended = not waiting.get_map()
    return bytes(parts["out"]), bytes(parts["err"]), ended


def _der(block: bytes) -> bytes:
    return x509.load_pem_x509_certificate(block).public_bytes(Encoding.DER)


def _why(target: Target, address: Address, said: bytes, *, ended: bool, seconds: float) -> NotSeen:
    """Return what OpenSSL's words mean. They are not passed on: they are no help to a reader."""
    where = f"port {target.port} of {target.host}"
    text = said.decode("utf-8", "replace")
    if "Connection refused" in text:
        return _unreachable(f"Nothing listens on {where}.", address)
    if "connect:errno=" in text or "Name or service" in text:
        return _unreachable(f"No connection to {where} from the portal's machine.", address)
    if not ended and ":error:" not in text:
        return _unreachable(f"No complete answer from {where} within {seconds:g} seconds.", address)
    return NotSeen(PlaceOutcome.NO_TLS, f"Something listens on {where}, but it completes no TLS handshake.", address=str(address))


def _unreachable(message: str, address: Address) -> NotSeen:
    return NotSeen(PlaceOutcome.UNREACHABLE, message, address=str(address))


def is_address(host: str) -> bool:
    """Whether the host is an IP address and not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
