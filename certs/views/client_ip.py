"""Whose address a request comes from, where proxies stand between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from django.conf import settings
from django.http import HttpRequest

Networks = Sequence[IPv4Network | IPv6Network]


def client_address(request: HttpRequest) -> str:
    """Return the address of a request's client; see `address_in`."""
    return address_in(request.META)


def address_in(environ: Mapping[str, Any]) -> str:
    """Return the first address, going back from the portal, that is no proxy of PKI_TRUSTED_PROXIES.

    X-Forwarded-For is read from right to left, as each proxy appends whom it heard: what stands further left may have been
    written by the client itself, and is believed only as far as trusted proxies vouch for it.
    """
    address = str(environ.get("REMOTE_ADDR", ""))
    trusted: Networks = settings.PKI_TRUSTED_PROXIES
    heard = str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",")
    while _is_in(address, trusted) and heard:
        before = _without_port(heard.pop().strip())
        if not _is_address(before):
            break
        address = before
    return address


def _without_port(text: str) -> str:
    """`[2001:db8::1]:443` and `192.0.2.1:443`, as some proxies write it."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_in(text: str, networks: Networks) -> bool:
    return _is_address(text) and any(_plain(text) in network for network in networks)


def _plain(text: str) -> IPv4Address | IPv6Address:
    """The address; one of IPv4 also where a server that listens on IPv6 shows it as `::ffff:192.0.2.1`."""
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address
