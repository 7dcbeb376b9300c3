"""Domains that a team owns: normalised, or refused with the reason. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from certs.errors import InputRefused
from certs.x509.dns_names import is_public_suffix, is_within, looks_like_ip, parse_dns_name

EXAMPLE = "Write the domain as example.com: labels joined by dots, without a star or a port."
# The same form as SQL checks: A-labels in lower case, at most 63 octets a label (RFC 1035 2.3.4).
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
NORMAL_FORM = rf"\A(?=.{{1,253}}\Z){LABEL}(\.{LABEL})*\Z"
_SHOWN = re.compile(r"[\w.*:/ -]{1,100}")


def normalise_domain(text: str, *, private_suffixes: Collection[str] = (), field: str = "name") -> str:
    """Return the domain as lower-case A-labels without a final dot (RFC 5890 2.3.2.1).

    Unicode is converted by UTS 46. Blanks around the domain are dropped. `private_suffixes` are
    names that the organisation itself runs as a registry, such as `internal`; every other name at
    or above a public suffix is refused, because it would cover domains of strangers.

    Raises InputRefused, which names `field` and the reason.
    """
    bare = text.strip().rstrip("。．｡").removesuffix(".")
    shown = f"Domain {bare}" if _SHOWN.fullmatch(bare) else "This domain"
    if "*" in bare:
        why = "has a star: a domain covers every name beneath it without one"
        raise InputRefused(f"{shown} {why}.", field=field, next_step=EXAMPLE)
    if looks_like_ip(bare):
        raise InputRefused(f"{shown} is an IP address.", field=field, next_step=EXAMPLE)
    try:
        name = parse_dns_name(bare, allow_unicode=True, field=field).ascii
    except InputRefused as exc:
        why = "is not a DNS domain of labels with at most 63 octets"
        raise InputRefused(f"{shown} {why}.", field=field, next_step=EXAMPLE) from exc
    if name not in private_suffixes and is_public_suffix(name):
        raise InputRefused(
            f"{shown} is a public suffix: it would cover domains of other organisations.",
            field=field,
            next_step="Name a domain beneath the suffix. A suffix that your organisation runs "
            "itself is added to the setting PKI_PRIVATE_SUFFIXES.",
        )
    return name


def is_inside(name: str, domains: Collection[str]) -> bool:
    """Return whether the name is one of the domains or beneath one, compared label by label."""
    return any(is_within(name, domain) for domain in domains)
