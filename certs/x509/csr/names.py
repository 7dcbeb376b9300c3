"""The names that a CSR requests: every one is checked, none is silently left out. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from certs.enums import RefusalClass as R
from certs.errors import CSRRefused
from certs.x509.asn1.reader import SEQUENCE, Node, NotDER
from certs.x509.dns_names import check_ownership, name_from_text, parse_dns_name, parse_ip_address

# GeneralName (RFC 5280 4.2.1.6): context tags
_DNS, _IP = 0x82, 0x87
_KINDS = {
    0xA0: "an otherName, such as a user principal name",
    0x81: "an e-mail address",
    0xA3: "an X.400 address",
    0xA4: "a directory name",
    0xA5: "an EDI name",
    0x86: "a URI",
    0x88: "a registered identifier",
}


@dataclass(frozen=True, slots=True)
class RequestedNames:
    """In normal form; the common name, where there is one, is the first of its kind."""

    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    notes: tuple[str, ...]


def read_names(san: Node | None, common_names: Sequence[str], *, domains: Sequence[str], max_names: int) -> RequestedNames:
    """Return the DNS names and IP addresses of a request. Whether a team may have an address is the policy's business.

    Raises CSRRefused, or NotDER for a malformed SubjectAltName.
    """
    # 1. The names as they were written. A common name takes their place only where there is no SAN at all, as in requests of
    #    old tools; the certificate has the name in its SAN, where clients look.
    written = _names(san, max_names) if san is not None else []
    notes: list[str] = []
    if san is None:
        written = _from_common_name(common_names)
        notes.append("there is no subject alternative name; the common name takes its place")
    elif not written:
        raise NotDER("its subject alternative name is empty (RFC 5280 4.2.1.6: at least one name)")
    # 2. Each one checked, in normal form. One that may not be certified refuses the request: a certificate without it would
    #    look like what was ordered, and fail on one host.
    names = [text if is_ip else parse_dns_name(text).ascii for is_ip, text in written]
    for name, (is_ip, _) in zip(names, written, strict=True):
        if not is_ip:
            check_ownership(name, domains)
    # 3. Each name once, the common name first: it becomes the common name of the certificate.
    unique = list(dict.fromkeys(names))
    if unique != [text for _, text in written]:
        notes.append("names were brought into their normal form")
    ordered, as_written = _common_name_first(unique, common_names)
    if not as_written:
        notes.append("the common name was brought into its normal form")
    addresses = {name for name, (is_ip, _) in zip(names, written, strict=True) if is_ip}
    dns = tuple(name for name in ordered if name not in addresses)
    return RequestedNames(dns, tuple(name for name in ordered if name in addresses), tuple(notes))


def _names(san: Node, max_names: int) -> list[tuple[bool, str]]:
    """Return for each name whether it is an IP address, and its text."""
    if san.tag != SEQUENCE:
        raise NotDER("the subject alternative name is not a list of names")
    if len(san.children) > max_names:
        raise too_many(len(san.children), max_names)
    return [(name.tag == _IP, _text(name)) for name in san.children]


def too_many(count: int, max_names: int) -> CSRRefused:
    return CSRRefused(
        R.TOO_MANY_NAMES,
        f"It asks for {count} names, more than {max_names}.",
        field="san",
        next_step="Spread them over several certificates.",
    )


def _text(name: Node) -> str:
    if name.tag == _IP:
        if len(name.content) not in (4, 16):
            raise NotDER("an IP address has neither 4 nor 16 octets")
        return str(ipaddress.ip_address(name.content))
    if name.tag != _DNS:
        kind = _KINDS.get(name.tag)
        if kind is None:
            raise NotDER("a name is of no known kind")
        raise CSRRefused(
            R.FORBIDDEN_NAME,
            f"It asks for {kind}; certificates of this portal hold DNS names and IP addresses only.",
            field="san",
            next_step="Make the request again with DNS names only. A Windows template or certmonger adds"
            " other names on its own: take them out of its configuration.",
        )
    try:
        return name.content.decode("ascii")
    except UnicodeDecodeError as exc:
        raise CSRRefused(
            R.BAD_NAME,
            "A DNS name is not ASCII; write it with A-labels (xn--).",
            field="san",
            next_step="For example xn--bcher-kva.example.com.",
        ) from exc


def _from_common_name(common_names: Sequence[str]) -> list[tuple[bool, str]]:
    """Return the name of an old CSR without SAN: its common name, when it is a DNS name or an IP
    address.
    """
    if not common_names:
        raise CSRRefused(
            R.NO_IDENTITY,
            "It names nothing: no common name, no subject alternative name.",
            field="san",
            next_step="Put the DNS name into the SAN.",
        )
    written = []
    for text in common_names:
        address = parse_ip_address(text)
        if address is None and "." not in text:
            raise CSRRefused(
                R.NO_IDENTITY,
                "Its common name is not a DNS name, and it has no subject alternative name.",
                field="san",
                next_step="Put the DNS name into the SAN.",
            )
        written.append((address is not None, address or name_from_text(text)))
    return written


def _common_name_first(names: list[str], common_names: Sequence[str]) -> tuple[list[str], bool]:
    """Return the names with the common name first, and whether the common name was in its normal form.

    Each common name must be one of the names (BR 7.1.4.3).
    """
    first = []
    for text in common_names:
        name = parse_ip_address(text) or name_from_text(text)
        if name not in names:
            raise CSRRefused(
                R.BAD_NAME,
                "Its common name is not among its subject alternative names.",
                field="common_name",
                next_step="Put it among them, or leave it out.",
            )
        first.append(name)
    rest = [name for name in names if name not in first[:1]]
    return first[:1] + rest, list(common_names) == first
