"""DNS names and IP addresses: normalised, or refused with the reason; and their owners. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import idna
from publicsuffixlist import PublicSuffixList

from certs.enums import RefusalClass as R
from certs.errors import CSRRefused

MAX_NAME, MAX_LABEL = 253, 63  # RFC 1035 2.3.4, without the root's dot
EXAMPLE = "For example api.example.com."
_PREFIX = re.compile(r"(?:DNS|dNSName|IP|IP ?Address|iPAddress)\s*[:=]\s*(?=[^:\s])", re.IGNORECASE)
# what an editor, a browser or a table program puts around a name without showing it
_BLANKS = " \t\r\n\u00a0\u200b\u200c\u200d\u2060\ufeff\u202f\u2007"
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
# Names that mean something else on every network (RFC 6761, RFC 6762, RFC 9476, ICANN's `internal`)
_INTERNAL = {
    "local",
    "localhost",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "private",
    "localdomain",
    "invalid",
    "onion",
    "alt",
    "arpa",
}


@dataclass(frozen=True, slots=True)
class DNSName:
    """`ascii`: lower-case A-labels, with `*.` in front for a wildcard."""

    ascii: str
    wildcard: bool


def parse_dns_name(text: str, *, allow_unicode: bool = False, field: str = "san") -> DNSName:
    """Return a host name, or a wildcard for one whole label (RFC 5280 4.2.1.6, RFC 9525 6.3). Raises CSRRefused(bad_name).

    `allow_unicode`: a name that a person wrote (`name_from_text`), with letters of any script. Without it,
    a dNSName of a CSR: ASCII, and without the dot of the root, which RFC 5280 does not provide for.
    """
    name = _from_people(text, field) if allow_unicode else without_prefix(text).lower()
    wildcard = name.startswith("*.")
    host = name.removeprefix("*.")
    problem = _problem(name, host)
    if problem:
        raise _bad(text, problem, field)
    return DNSName(name, wildcard)


_URL = re.compile(r"(?i)https?://([^\s/:@?#]+)(?::\d{1,5})?(?:[/?#]\S*)?")


def name_from_text(text: str) -> str:
    """Return the name that a person means: in lower case, without blanks around it, without the kind that OpenSSL
    and keytool write before it (`DNS:`, `DNS=`, `dNSName=`), and without the dot of the root (RFC 1034 3.1).

    The one rule for every channel: sentences, tables, forms, REST, commands and common names.
    """
    name = without_prefix(text.strip(_BLANKS).lower())
    return name.removesuffix(".") if not name.endswith("..") else name


def without_prefix(text: str) -> str:
    """Return the text without the kind of name that some tools write before the name itself."""
    return text[match.end() :] if (match := _PREFIX.match(text)) else text


def host_from_url(text: str) -> str:
    """Return the host of an `https://` address, which people paste for the name; any other text as it is.

    For what a person typed: a CSR or a table of names that holds an address was made for something
    else.
    """
    match = _URL.fullmatch(text.strip(_BLANKS))
    return match[1] if match else text


def is_dns_name(name: str) -> bool:
    """Return whether it is a host name, or a wildcard for one, in its normal form."""
    return name == name.lower() and not _problem(name, name.removeprefix("*."))


def _from_people(text: str, field: str) -> str:
    name = name_from_text(text)
    if name.isascii():
        return name
    star, host = ("*.", name[2:]) if name.startswith("*.") else ("", name)
    try:
        return star + idna.encode(host, uts46=True).decode()
    except idna.IDNAError as exc:
        raise _bad(text, "it is not a valid international name", field) from exc


# What people and tools often write into a name, the commonest first, each with the reason that helps to mend it.
_FAULTS = (
    (re.compile(r"[:/@]"), "it has a scheme, port, path or user, and a host name has none"),
    (re.compile(r"_"), "it has an underscore, which the name of a host never has (RFC 1123 2.1)"),
    (re.compile(r"\s"), "it has a blank or a line end"),
    (re.compile(r"^(?!\.)(?!.*\.\.).*\.$"), "it ends with a dot, which a certificate leaves out (RFC 5280 4.2.1.6)"),
    (re.compile(r"^\.|\.\.|\.$"), "it has an empty label"),
)


def _problem(name: str, host: str) -> str:
    """Return why this is no host name; empty when it is one."""
    if not host or not name.isascii():
        return "it is empty" if not host else "it is not ASCII"
    if "*" in host:
        return "a star stands for one whole label, the first"
    if parse_ip_address(host) is not None:
        return "an IP address is not a DNS name"
    if looks_like_ip(host):
        return "it is no IP address as standards write it (four numbers up to 255, without leading zeros), and no DNS name"
    fault = next((reason for pattern, reason in _FAULTS if pattern.search(host)), "")
    if fault:
        return fault
    if len(name) > MAX_NAME:
        return f"it has more than {MAX_NAME} characters"
    labels = host.split(".")
    if any(len(label) > MAX_LABEL or not _LABEL.fullmatch(label) for label in labels):
        return f"a name is labels of letters, digits and hyphens, joined by dots; a label has at most {MAX_LABEL} and no hyphen at its ends"
    if labels[-1].isdigit():
        return "its last label is a number"
    if not all(_is_plain_or_a_label(label) for label in labels):
        return "a label with hyphens in third and fourth place must be a valid A-label (xn--)"
    return ""


@lru_cache(maxsize=4096)
def _is_plain_or_a_label(label: str) -> bool:
    """Return whether a label is plain or a valid A-label.

    Hyphens in third and fourth place are reserved (RFC 5890 2.3.1). An A-label must survive the round trip: two spellings of
    one name would have two owners.
    """
    if label[2:4] != "--":
        return True
    if not label.startswith("xn--"):
        return False
    try:
        return bool(idna.encode(idna.decode(label)).decode() == label)
    except (idna.IDNAError, UnicodeError):
        return False


def _bad(text: str, why: str, field: str) -> CSRRefused:
    return CSRRefused(R.BAD_NAME, f"{_shown(text)}: {why}.", field=field, next_step=EXAMPLE)


def _shown(text: str) -> str:
    """Return a name for a message, if it cannot break the line, the page or the log."""
    return text if 0 < len(text) <= 100 and re.fullmatch(r"[A-Za-z0-9.*_:/-]+", text) else "A name"


def looks_like_ip(text: str) -> bool:
    return parse_ip_address(text) is not None or bool(re.fullmatch(r"[0-9]+(\.[0-9]+)+", text))


def parse_ip_address(text: str) -> str | None:
    """Return the canonical text of an IP address, or None when it is none."""
    text = without_prefix(text.strip(_BLANKS)).strip().strip("[]")
    if "%" in text:  # a zone names a link of one host (RFC 4007); a certificate cannot
        return None
    if ":" not in text and not text[-1:].isdigit():  # a host name, as nearly always; to have it refused below costs ten times more
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def is_within(name: str, domain: str) -> bool:
    """Return whether the name is the domain or beneath it, label by label: evilexample.test is not within example.test."""
    host = name.removeprefix("*.")
    return host == domain or host.endswith("." + domain)


def owning_domain(name: str, domains: Iterable[str]) -> str | None:
    """Return the longest of the domains that holds the name, or None."""
    return max((domain for domain in domains if is_within(name, domain)), key=len, default=None)


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def is_public_suffix(host: str) -> bool:
    """Return whether it is a registry's own name such as com or co.uk, or a single label that the list does not know."""
    return _suffixes().privatesuffix(host) is None


def check_ownership(name: str, domains: Iterable[str], *, field: str = "san") -> None:
    """Raises CSRRefused(forbidden_name) unless the name lies within one of the domains, and is no wildcard of a whole one."""
    # A domain of the team first: an organisation may run a suffix such as `internal` itself. The reasons after it are for names
    # that no team can own.
    host = name.removeprefix("*.")
    owner = owning_domain(name, domains)
    if owner is not None:
        if name.startswith("*.") and host == owner:
            raise _forbidden(
                f"*.{owner} would cover the whole domain",
                "That needs an approval of its own: ask for the names you need, or use the request form.",
                field,
            )
        return
    if name.startswith("*.") and "." not in host:
        raise _forbidden(f"{_shown(name)} would cover every name of a registry", "Use a name beneath a domain of your team.", field)
    if host.rpartition(".")[2] in _INTERNAL or "." not in host:
        raise _forbidden(f"{_shown(name)} is an internal name", "Use a name beneath a domain of your team.", field)
    if is_public_suffix(host):
        raise _forbidden(f"{_shown(name)} is at or above a public suffix", "Use a name beneath a domain of your team.", field)
    raise _forbidden(
        f"{_shown(name)} is outside your team's domains", f"Your team has: {', '.join(sorted(domains)[:10]) or 'none'}.", field
    )


def _forbidden(message: str, next_step: str, field: str) -> CSRRefused:
    return CSRRefused(R.FORBIDDEN_NAME, message + ".", field=field, next_step=next_step)
