"""S7: a domain that a team owns has one spelling, and covers nobody else's names."""

from __future__ import annotations

import re

import pytest

from certs.errors import InputRefused
from certs.x509.dns_names import parse_ip_address
from certs.x509.domains import NORMAL_FORM, normalise_domain

LONG_LABEL = "a" * 63


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Finance.Alpha.Example", "finance.alpha.example"),
        ("example.com.", "example.com"),
        ("  example.com\n", "example.com"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("straße.example", "xn--strae-oqa.example"),
        (f"{LONG_LABEL}.example", f"{LONG_LABEL}.example"),
        ("corp.internal", "corp.internal"),
    ],
)
def test_domain_is_kept_as_lower_case_a_labels(typed: str, kept: str) -> None:
    """S7."""
    assert normalise_domain(typed) == kept
    assert normalise_domain(kept) == kept
    assert re.search(NORMAL_FORM, kept)


@pytest.mark.parametrize(
    "typed",
    [
        *("", ".", " ", "*", "*.w.example", "w.*.example", "a..example", ".example.com"),
        *("ex ample.com", "example.com:443", "http://example.com", "10.0.0.1", "::1", "a_b.com"),
        *(f"a{LONG_LABEL}.example", ".".join([LONG_LABEL] * 4 + ["com"]), "-a.example"),
        *("xn--.example", "xn--a.example", "ab--c.example", "example.123", "a\x00b.com"),
        *("com", "COM.", "co.uk", "github.io", "xn--p1ai", "рф", "internal", "localhost"),
        *("e\u202example.com", "\ud800.com"),
    ],
)
def test_what_is_no_domain_of_one_owner_is_refused(typed: str) -> None:
    """S7: the error names the field and what to write."""
    with pytest.raises(InputRefused) as refused:
        normalise_domain(typed, field="domain")
    assert refused.value.field == "domain"
    assert refused.value.next_step


def test_public_suffix_is_a_domain_only_where_the_setting_names_it() -> None:
    """S7."""
    assert normalise_domain("Internal", private_suffixes=["internal"]) == "internal"
    with pytest.raises(InputRefused):
        normalise_domain("com", private_suffixes=["internal"])


@pytest.mark.parametrize("text", ["fe80::1%eth0", "[fe80::1%25eth0]", "::1%1"])
def test_address_with_a_zone_is_no_address_of_a_certificate(text: str) -> None:
    """A zone means something on one host alone (RFC 4007 11)."""
    assert parse_ip_address(text) is None
    assert parse_ip_address("FE80:0:0::1") == "fe80::1"
