"""Which addresses the portal may connect to for somebody: a list of networks, and what no wide network means.

A person who names a host must not reach with it what only the portal's machine can reach: its own
loopback, metadata services of clouds, neighbours on its link (server-side request forgery, CWE-918).
A name is looked up once, its addresses are checked, and the caller connects to exactly the address
that was checked: a second look-up could give another one (DNS rebinding).
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Inside and outside alike, and nothing of SPECIAL.
ANYWHERE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
# Allowed only by a network that lies inside the same range: `10.0.0.0/8` and `0.0.0.0/0` do not mean these.
SPECIAL: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this host (RFC 1122 3.2.1.3)
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local; metadata services of most clouds
        "192.0.0.0/24",  # protocol assignments (RFC 6890); metadata service of Oracle
        "100.100.100.200/32",  # metadata service of Alibaba
        "168.63.129.16/32",  # the platform's own service in Azure
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the limited broadcast
        "::/96",  # unspecified, loopback, and IPv4-compatible addresses (RFC 4291 2.5.5.1)
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local (RFC 3879)
        "ff00::/8",  # multicast
        "fd00:ec2::/32",  # metadata service of Amazon
        "fd20:ce::254/128",  # metadata service of Google
        # An IPv4 address travels inside these, so a gateway leads to addresses that nobody checked.
        "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765)
        "64:ff9b::/96",  # NAT64 (RFC 6052)
        "64:ff9b:1::/48",  # NAT64 of one site (RFC 8215)
        "2002::/16",  # 6to4 (RFC 3056)
        "2001::/32",  # Teredo (RFC 4380)
    )
)


def plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address only writes in another form (RFC 4291 2.5.5.2)."""
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Whether the address is in one of the networks, and means no special range that the network does not mean."""
    address = plain(address)
    special = [one for one in SPECIAL if _within(address, one)]
    return any(_within(address, network) and all(_inside(network, one) for one in special) for network in networks)


def addresses_of(host: str, port: int) -> list[Address]:
    """Return the addresses of a host: itself, or the result of the resolver. Looks a name up.

    Raises OSError or UnicodeError where the name has none. An address with a zone (`fe80::1%eth0`)
    is returned without it, and so cannot be connected to.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [plain(ip_address(str(entry[4][0]).partition("%")[0])) for entry in found]


def _within(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network


def _inside(network: Network, other: Network) -> bool:
    if isinstance(network, IPv4Network) and isinstance(other, IPv4Network):
        return network.subnet_of(other)
    return isinstance(network, IPv6Network) and isinstance(other, IPv6Network) and network.subnet_of(other)
