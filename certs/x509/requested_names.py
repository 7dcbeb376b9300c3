"""The names that a CSR asks for: every one is checked, none is silently left out. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from certs.errors import CSRRefused
from certs.terms import RefusalClass as R
from certs.x509.der import SEQUENCE, Node, NotDER
from certs.x509.names import check_ownership, looks_like_ip, parse_dns_name

# GeneralName (RFC 5280 4.2.1.6): context tags
_DNS, _IP = 0x82, 0x87
_KINDS = {
    0xA0: "otherName",
    0x81: "e-mail addresses",
    0xA3: "X.400 addresses",
    0xA4: "directory names",
    0xA5: "EDI names",
    0x86: "URIs",
    0x88: "registered identifiers",
}


def read_names(san: Node | None, common_names: Sequence[str], *, domains: Sequence[str], max_names: int) -> tuple[tuple[str, ...], bool]:
    """(DNS names in normal form, the common name first if there is one; whether something was brought into normal form).

    Raises CSRRefused, or NotDER for a malformed SubjectAltName.
    """
    texts = _dns_texts(san, max_names) if san is not None else []
    normalised = False
    if not texts:
        if san is not None:
            raise NotDER("its subject alternative name is empty (RFC 5280 4.2.1.6: at least one name)")
        texts, normalised = _from_common_name(common_names), True
    names = [parse_dns_name(text).ascii for text in texts]
    for name in names:
        check_ownership(name, domains)
    unique = list(dict.fromkeys(names))
    normalised = normalised or unique != texts
    return tuple(_common_name_first(unique, common_names)), normalised


def _dns_texts(san: Node, max_names: int) -> list[str]:
    if san.tag != SEQUENCE:
        raise NotDER("the subject alternative name is not a list of names")
    if len(san.children) > max_names:
        raise too_many(len(san.children), max_names)
    return [_dns_text(name) for name in san.children]


def too_many(count: int, max_names: int) -> CSRRefused:
    return CSRRefused(
        R.TOO_MANY_NAMES,
        f"It asks for {count} names, more than {max_names}.",
        field="san",
        next_step="Spread them over several certificates.",
    )


def _dns_text(name: Node) -> str:
    if name.tag == _IP:
        if len(name.content) not in (4, 16):
            raise NotDER("an IP address has neither 4 nor 16 octets")
        raise CSRRefused(
            R.FORBIDDEN_NAME, "It asks for an IP address; this profile takes DNS names only.", field="san", next_step="Ask for a DNS name."
        )
    if name.tag != _DNS:
        kind = _KINDS.get(name.tag)
        if kind is None:
            raise NotDER("a name is of no known kind")
        raise CSRRefused(
            R.FORBIDDEN_NAME, f"It asks for {kind}; this profile takes DNS names only.", field="san", next_step="Ask for DNS names."
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


def _from_common_name(common_names: Sequence[str]) -> list[str]:
    """An old CSR without SAN: its common name is taken when it is a DNS name."""
    if not common_names:
        raise CSRRefused(
            R.NO_IDENTITY,
            "It names nothing: no common name, no subject alternative name.",
            field="san",
            next_step="Put the DNS name into the SAN.",
        )
    for text in common_names:
        if "." not in text and not looks_like_ip(text):
            raise CSRRefused(
                R.NO_IDENTITY,
                "Its common name is not a DNS name, and it has no subject alternative name.",
                field="san",
                next_step="Put the DNS name into the SAN.",
            )
    return list(common_names)


def _common_name_first(names: list[str], common_names: Sequence[str]) -> list[str]:
    """Each common name must be one of the names (BR 7.1.4.3)."""
    first = []
    for text in common_names:
        if text.lower() not in names:
            raise CSRRefused(
                R.BAD_NAME,
                "Its common name is not among its subject alternative names.",
                field="common_name",
                next_step="Put it among them, or leave it out.",
            )
        first.append(text.lower())
    return first[:1] + [name for name in names if name not in first[:1]]
