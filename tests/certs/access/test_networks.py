"""What an allowed network does not mean, in every form in which an address can be written."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from certs.access.networks import is_allowed


@pytest.mark.parametrize(
    ("address", "network", "allowed"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.2.0.0/16", False),
        ("127.0.0.1", "127.0.0.0/8", True),
        ("127.0.0.1", "64.0.0.0/2", False),
        ("169.254.169.254", "128.0.0.0/1", False),
        ("169.254.169.254", "169.254.169.254/32", True),
        ("100.100.100.200", "100.64.0.0/10", False),
        ("168.63.129.16", "0.0.0.0/0", False),
        ("192.0.0.192", "192.0.0.0/8", False),
        ("0.0.0.0", "0.0.0.0/1", False),  # noqa: S104 - an address, nothing listens
        ("224.0.0.1", "128.0.0.0/1", False),
        ("255.255.255.255", "0.0.0.0/0", False),
        ("::1", "::/0", False),
        ("::1", "::1/128", True),
        ("::", "::/0", False),
        ("fe80::1", "fc00::/6", False),
        ("fd00:ec2::254", "fc00::/7", False),
        ("2001:db8::1", "::/0", True),
        # An IPv4 address in another dress is judged as what it is.
        ("::ffff:127.0.0.1", "::/0", False),
        ("::ffff:127.0.0.1", "0.0.0.0/0", False),
        ("::ffff:169.254.169.254", "0.0.0.0/0", False),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("::127.0.0.1", "::/0", False),
        ("::ffff:0:127.0.0.1", "::/0", False),
        ("64:ff9b::7f00:1", "::/0", False),
        ("64:ff9b::a9fe:a9fe", "::/0", False),
        ("64:ff9b:1::a9fe:a9fe", "::/0", False),
        ("2002:7f00:1::", "2000::/3", False),
        ("2002:a9fe:a9fe::1", "::/0", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2000::/3", False),
        ("ff02::1", "::/0", False),
    ],
)
def test_wide_network_does_not_mean_special_addresses(address: str, network: str, allowed: bool) -> None:
    assert is_allowed(ip_address(address), [ip_network(network)]) is allowed


def test_address_is_allowed_by_any_of_the_networks() -> None:
    networks = [ip_network("0.0.0.0/0"), ip_network("127.0.0.1/32")]
    assert is_allowed(ip_address("127.0.0.1"), networks)
    assert not is_allowed(ip_address("127.0.0.2"), networks)
    assert not is_allowed(ip_address("10.0.0.1"), [])
