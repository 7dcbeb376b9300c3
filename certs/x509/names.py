"""DNS names and IP addresses: brought into their normal form or refused. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

import idna

from certs.errors import CSRRefused
from certs.terms import RefusalClass

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class DNSName:
    """`ascii` in lower-case A-labels, with `*.` in front for a wildcard."""

    ascii: str
    wildcard: bool


def parse_dns_name(text: str, *, allow_unicode: bool = False, field: str = "san") -> DNSName:
    """Raises CSRRefused(bad_name)."""
    name = text.strip().lower() if allow_unicode else text.lower()
    if allow_unicode and not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode()
        except idna.IDNAError as exc:
            raise _bad(text, "it is not a valid international name", field) from exc
    wildcard = name.startswith("*.")
    labels = name.removeprefix("*.").split(".")
    if len(name) > 253 or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _bad(text, "a name is labels of letters, digits and hyphens, joined by dots", field)
    if labels[-1].isdigit():
        raise _bad(text, "an IP address is not a DNS name", field)
    for label in labels:
        _check_a_label(label, text, field)
    return DNSName(name, wildcard)


def _check_a_label(label: str, text: str, field: str) -> None:
    if label[2:4] != "--":
        return
    try:
        if not label.startswith("xn--") or idna.encode(idna.decode(label)).decode() != label:
            raise _bad(text, "a label with hyphens in its third and fourth place must be a valid A-label", field)
    except idna.IDNAError as exc:
        raise _bad(text, "a label with hyphens in its third and fourth place must be a valid A-label", field) from exc


def _bad(text: str, why: str, field: str) -> CSRRefused:
    shown = text if len(text) <= 80 and text.isprintable() else "this name"
    return CSRRefused(RefusalClass.BAD_NAME, f"{shown}: {why}.", field=field, next_step="For example api.example.com.")


def parse_ip_address(text: str) -> str | None:
    """The canonical text of an IP address, or None when it is none."""
    try:
        return str(ipaddress.ip_address(text.strip().strip("[]")))
    except ValueError:
        return None
