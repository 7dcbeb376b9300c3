"""Calls to addresses that certificates name: those of CRLs and OCSP responders.

A CA elsewhere chose them, or somebody in its name. They are not trusted to lead anywhere: the
portal's machine reaches addresses that outsiders do not (server-side request forgery, CWE-918).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests
from django.conf import settings
from requests.adapters import HTTPAdapter

from certs.access.networks import ANYWHERE, Address, addresses_of, is_allowed

_PORTS = {"http": 80, "https": 443}


def http_address(names: Sequence[str]) -> str:
    """Return the first of the names that is an address of HTTP; an empty text where none is."""
    return next((name for name in names if name.lower().startswith(("http://", "https://"))), "")


@contextmanager
def session_to(address: str) -> Iterator[tuple[requests.Session, str, dict[str, str]]]:
    """Yield a session, the URL with the address to connect to, and the header with the name in the certificate.

    The name is looked up once, and the connection goes to what was looked up and checked: a second
    look-up could give another address (DNS rebinding). Raises ValueError for an address that is none
    or leads where nothing is asked for, OSError where the name is not found.
    """
    # A name and password in the address would be sent to whoever answers there.
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    if not host or not port or parts.username is not None or parts.password is not None:
        raise ValueError("is no address")
    found = _allowed(host, port)
    literal = f"[{found}]" if found.version == 6 else str(found)
    with requests.Session() as session:  # without the token that the CA's API is asked with
        session.trust_env = False
        session.mount("https://", _Named(host))
        url = parts._replace(netloc=f"{literal}:{port}").geturl()
        yield session, url, {"Host": parts.netloc}


def _allowed(host: str, port: int) -> Address:
    try:
        allowed = [one for one in addresses_of(host, port) if is_allowed(one, (*ANYWHERE, *settings.PKI_CA_NETWORKS))]
    except UnicodeError as exc:
        raise ValueError("is no host name") from exc
    if not allowed:
        raise ValueError("leads to this machine, its link or a metadata service, which PKI_CA_NETWORKS does not name")
    return allowed[0]


class _Named(HTTPAdapter):
    """TLS with the certificate of a name, on a connection to its address."""

    def __init__(self, host: str) -> None:
        self._host = host
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, server_hostname=self._host, assert_hostname=self._host, **options)
