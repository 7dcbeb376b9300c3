"""Environment variables, read once when the settings are loaded.

Every process loads the settings first, so a bad value stops it before the first lasting effect. The error names the
setting and what would be accepted, and never repeats the value: a password may be part of it.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Collection, Sequence
from email.utils import parseaddr
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email

from audit.transparency.checkpoint import NoteRefused
from audit.transparency.cosignature import WitnessKey
from certs.enums import ADMINISTRATOR, Role

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}
_LABEL = r"[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?", re.IGNORECASE)
# What is not printable cannot be stored (octets that are no UTF-8) or is invisible to a person who looks for the mistake.
_PRINTABLE = "must be one line of printable text in UTF-8."
# The variables that this process has read, whatever they are set to: others that look like settings are misspelt or of no use
# (`pkiportal.start_notes`).
READ: set[str] = set()
ENCODE = "In a user name or password write / as %2F, ? as %3F, # as %23, @ as %40 and % as %25."


def refused(name: str, expected: str) -> ImproperlyConfigured:
    """Return the error for a bad value: the setting's name and what is accepted, without the value."""
    return ImproperlyConfigured(f"{name} {expected}")


def leads_to_itself(host: str) -> bool:
    """Return whether a host of a URL leads each client to its own machine: localhost (RFC 6761 6.3), a loopback address, or none at all."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return host.lower().rsplit(".", 1)[-1] == "localhost"
    return address.is_loopback or address.is_unspecified


def is_host(text: str) -> bool:
    """Return whether this is a DNS name in A-label form or an IP address (IPv6 in brackets), without a port."""
    if text.startswith("["):
        return text.endswith("]") and _is_address(text[1:-1], version=6)
    if re.fullmatch(r"[0-9.]+", text):
        return _is_address(text, version=4)
    return len(text) <= 253 and _HOST.fullmatch(text) is not None


def _is_address(text: str, *, version: int) -> bool:
    try:
        # A zone (RFC 4007 11) has a meaning on one machine only.
        return "%" not in text and ip_address(text).version == version
    except ValueError:
        return False


def _given(name: str, default: str = "") -> str:
    READ.add(name)
    return os.environ.get(name, default)


def env_str(name: str, default: str = "") -> str:
    """Return a line of text."""
    return _line(name, _given(name, default))


def _line(name: str, text: str) -> str:
    """Return text of one line without outer spaces.

    In quotes it is refused: a shell takes them away, `docker run --env-file` and a secret's file do not. A name in quotes
    would stand in certificates permanently, and a key in quotes is another key.
    """
    value = text.strip()
    if not value.isprintable():
        raise refused(name, _PRINTABLE)
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        raise refused(name, "must be written without quotes around it.")
    return value


def env_name(name: str, default: str = "") -> str:
    """Return a name of at most 64 characters, as X.509 limits a common name (RFC 5280 A.1); not empty where there is a default."""
    value = env_str(name, default)
    if len(value) > 64 or (default and not value):
        raise refused(name, "must be a name of 1 to 64 characters.")
    return value


def env_other_name(name: str, default: str, *, taken: Collection[str]) -> str:
    """Return what `env_name` does; a name that something else has is refused."""
    value = env_name(name, default)
    if value in taken:
        raise refused(name, "must differ from the names of the other CAs.")
    return value


def env_vault_path(name: str, default: str = "") -> str:
    """Return the path of a mount or namespace in Vault; may be empty where there is no default."""
    value = env_str(name, default).strip("/")
    if (value or default) and not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", value, re.ASCII):
        raise refused(name, f"must be a path in Vault, such as {default or 'team/pki'}.")
    return value


def env_vault_role(name: str) -> str:
    """Return the name of a role in Vault, or empty."""
    value = env_str(name)
    if value and not re.fullmatch(r"\w[\w.-]{0,63}", value, re.ASCII):
        raise refused(name, "must be the name of a role in Vault: letters, digits, dots, hyphens and underscores.")
    return value


def env_bool(name: str, *, default: bool = False) -> bool:
    """Return true or false; an empty value is the default."""
    value = _given(name).strip().lower()
    if value in _TRUE | _FALSE:
        return value in _TRUE
    if value:
        raise refused(name, "must be true or false.")
    return default


def env_int(name: str, default: int, *, minimum: int = 0, maximum: int = 2**31 - 1) -> int:
    raw = _given(name, str(default)).strip()
    if not re.fullmatch(r"[0-9]{1,10}", raw) or not minimum <= int(raw) <= maximum:
        raise refused(name, f"must be a whole number from {minimum} to {maximum}.")
    return int(raw)


def env_choice(name: str, default: str, *, choices: Sequence[str]) -> str:
    """Return one of `choices`, whatever its case."""
    value = _given(name, default).strip().casefold()
    for choice in choices:
        if choice.casefold() == value:
            return choice
    raise refused(name, f"must be one of {', '.join(choices)}.")


def env_list(name: str, default: str = "") -> list[str]:
    """Return items separated by commas."""
    return [item.strip() for item in env_str(name, default).split(",") if item.strip()]


def env_roles(name: str, default: str = "") -> list[str]:
    """Return names of roles, separated by commas; `administrator` are superusers.

    A misspelt role would leave the rule that the setting makes without effect, and nobody would notice.
    """
    known = {str(role): str(role) for role in (*Role, ADMINISTRATOR)}
    items = env_list(name, default)
    if not all(item.casefold() in known for item in items):
        raise refused(name, f"must list roles, separated by commas. There are: {', '.join(known)}.")
    return [known[item.casefold()] for item in items]


def env_scopes(name: str, default: str) -> list[str]:
    """Return scopes of OpenID Connect, separated by commas; `openid` is one of them."""
    scopes = env_list(name, default)
    # Without `openid` the provider sends no ID token (OpenID Connect Core 1.0, 3.1.2.1), so nobody could sign in.
    if "openid" not in scopes or not all(re.fullmatch(r"[!#-\[\]-~]+", scope) for scope in scopes):
        raise refused(name, f"must list scopes, openid among them, separated by commas, such as {default}.")
    return scopes


def env_networks(name: str, default: str = "", *, trusted: bool = True) -> list[IPv4Network | IPv6Network]:
    """Return addresses and networks, such as 10.0.0.5 or 10.1.0.0/16, separated by commas.

    `trusted`: addresses in it are trusted, so the whole internet (0.0.0.0/0) is refused.
    """
    expected = "must list addresses or networks, such as 10.0.0.5 or 10.1.0.0/16, separated by commas."
    try:
        networks = [ip_network(item) for item in env_list(name, default)]
    except ValueError:
        raise refused(name, f"{expected} A network has no bits set behind its prefix.") from None
    if trusted and any(not network.prefixlen for network in networks):
        raise refused(name, f"{expected} Not the whole internet: anybody could then claim any address.")
    if any(network.version == 6 and network.network_address.ipv4_mapped for network in networks):
        raise refused(name, f"{expected} Write IPv4 addresses in IPv4 form.")
    return networks


def env_hosts(name: str, default: str = "") -> list[str]:
    """Return host names for Django's ALLOWED_HOSTS, separated by commas; `.example.com` means all names beneath it."""
    hosts = env_list(name, default)
    # Django takes the final dot off the Host header before it compares, so a name with one would match nothing.
    if not all(host == "*" or (is_host(host.removeprefix(".")) and not host.endswith(".")) for host in hosts):
        expected = "must list host names, such as pki.example.com, separated by commas, without scheme, port or path."
        raise refused(name, f"{expected} Write an IDN as its A-label (xn--...).")
    return hosts


def env_domains(name: str, default: str) -> list[str]:
    """Return DNS domains, separated by commas; at least one."""
    domains = [domain.lower() for domain in env_list(name, default)]
    if not domains or not all(_is_domain(domain) and "." in domain for domain in domains):
        raise refused(name, "must list at least one DNS domain, such as example.com, separated by commas.")
    return domains


def env_suffixes(name: str) -> list[str]:
    """Return names above which nobody else has a domain, such as `internal` or `corp`, separated by commas."""
    suffixes = [suffix.lower() for suffix in env_list(name)]
    if not all(_is_domain(suffix) for suffix in suffixes):
        raise refused(name, "must list names, such as internal or corp.example, separated by commas, without a leading dot.")
    return suffixes


def _is_domain(text: str) -> bool:
    return is_host(text) and not text.endswith(".") and re.fullmatch(r"[0-9.]+|\[.*", text) is None


def env_origins(name: str) -> list[str]:
    """Return origins for Django's CSRF_TRUSTED_ORIGINS, separated by commas: scheme, host and a port that is not the usual one.

    In the form in which browsers send them (RFC 6454 6.2), for they are compared as text.
    """
    origins = [re.sub(r"^(https://[^/]*):443$|^(http://[^/]*):80$", r"\1\2", origin.rstrip("/").lower()) for origin in env_list(name)]
    for origin in origins:
        url = split_url(name, origin.replace("://*.", "://", 1), ("https", "http"), example="https://pki.example.com")
        if url.path or url.query or url.username is not None:
            raise refused(name, "must list origins, such as https://pki.example.com, without a path, separated by commas.")
    return origins


def env_emails(name: str, default: str = "", *, least: int = 1) -> list[str]:
    """Mail addresses, separated by commas; at least so many."""
    addresses = env_list(name, default)
    if len(addresses) < least or not all(is_email(address) for address in addresses):
        raise refused(name, "must list at least one mail address, such as pki@example.com, separated by commas (no ; and no blanks).")
    return addresses


def env_sender(name: str, default: str) -> str:
    """Return one mail address, with or without a name before it: `PKI Portal <pki@example.com>`."""
    value = env_str(name, default)
    address = parseaddr(value)[1]
    # The parser forgives what a mail server does not: a bracket that is not closed, a second address.
    whole = value == address or (value.endswith(f"<{address}>") and len(re.findall("[<>,]", value)) == 2)
    if not (whole and is_email(address)):
        raise refused(name, "must be a mail address, such as pki@example.com or PKI Portal <pki@example.com>.")
    return value


def is_email(address: str) -> bool:
    """Return whether this is a mail address without a name before it."""
    try:
        validate_email(address)
    except ValidationError:
        return False
    return True


def host_of(url: str) -> str:
    """Return the host of a URL as Django's ALLOWED_HOSTS writes it: without a port or final dot, IPv6 in brackets."""
    return re.sub(r":[0-9]+$", "", urlsplit(url).netloc).rstrip(".")


def env_address(name: str, default: str = "", *, schemes: Sequence[str], example: str) -> str:
    """Return the address of a server that has no path, without a slash at its end; an empty value is the default."""
    value = env_str(name) or default
    if value:
        url = split_url(name, value, schemes, example=example)
        if url.path.strip("/") or url.query or url.username is not None:
            raise refused(name, f"must have neither credentials nor path nor query, as in {example}.")
    return value.rstrip("/")


def env_endpoint(name: str, *, example: str) -> str:
    """Return the address of a service elsewhere, with or without a path; "" where it is not set. Credentials are a setting of their own."""
    value = env_str(name)
    if value:
        url = split_url(name, value, ("https", "http"), example=example)
        if url.query or url.username is not None:
            raise refused(name, f"must have neither credentials nor a query, as in {example}.")
    return value.rstrip("/")


def env_witnesses(name: str) -> list[str]:
    """Return witnesses of the audit log, each as `<verifier key> <address>`, separated by semicolons."""
    expected = "must list witnesses as <verifier key> <address>, separated by semicolons, such as witness.example/w1+aabbccdd+BA... "
    witnesses = [item.strip() for item in env_str(name).split(";") if item.strip()]
    for witness in witnesses:
        key, _, url = witness.partition(" ")
        try:
            WitnessKey.parse(key)
        except NoteRefused as exc:
            raise refused(name, f"{expected}https://witness.example. {exc}") from None
        split_url(name, url.strip(), ("https", "http"), example="https://witness.example")
    return witnesses


def env_issuer(name: str) -> str:
    """Return the issuer of an OpenID provider, without a slash at its end; "" where it is not set.

    Plain http is accepted on this machine only: whoever can change the traffic could sign in as anybody.
    """
    value = env_endpoint(name, example="https://id.example.com/realms/staff")
    if value.startswith("http://") and urlsplit(value).hostname not in ("127.0.0.1", "localhost", "::1"):
        raise refused(name, "must start with https://, as in https://id.example.com/realms/staff.")
    return value


def env_certificates(name: str) -> str:
    """Return the path of a PEM file of certificates that this process can read; "" where it is not set."""
    value = env_str(name)
    if value:
        try:
            ssl.create_default_context(cafile=value)
        except (OSError, ValueError) as exc:  # ssl.SSLError, where nothing in it is a certificate, is an OSError
            why = exc.strerror if isinstance(exc, OSError) and not isinstance(exc, ssl.SSLError) else "it holds no certificate"
            raise refused(name, f"must be the path of a PEM file of certificates that this process can read: {why}.") from None
    return value


def env_folder(name: str, default: str) -> str:
    """Return the absolute path of a folder, which need not exist."""
    value = env_path(name, default)
    if Path(value).exists() and not Path(value).is_dir():
        raise refused(name, "must be the path of a folder; something else is there.")
    return value


def env_path(name: str, default: str) -> str:
    """Return an absolute path, of something that need not exist."""
    value = env_str(name, default)
    if not Path(value).is_absolute():
        raise refused(name, "must be an absolute path.")
    return value


def env_secret(name: str, default: str = "", *, at_least: int = 0) -> str:
    """Return the value of NAME, or the contents of the file that NAME_FILE names. Both set is refused: one of them is stale.

    `at_least`: the length in characters below which a value is refused, as one that can be guessed.
    """
    READ.update((name, f"{name}_FILE"))
    value, path = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if value is not None and path:
        raise ImproperlyConfigured(f"Set either {name} or {name}_FILE, not both.")
    if path:
        try:
            value = Path(path).read_text(encoding="utf-8")
        except (OSError, ValueError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "it is no UTF-8 text"
            raise refused(f"{name}_FILE", f"must be the path of a text file that this process can read: {why}.") from None
    secret = _line(name, default if value is None else value)
    if secret and len(secret) < at_least:
        raise refused(name, f"must have at least {at_least} characters.")
    return secret


def env_token(name: str, *, at_least: int = 0) -> str:
    """Return a secret that is sent in a header (RFC 9110 5.5), so of visible ASCII characters."""
    secret = env_secret(name, at_least=at_least)
    if not re.fullmatch(r"[!-~]*", secret):
        raise refused(name, "must have letters, digits and signs of ASCII only, without blanks.")
    return secret


def needed(name: str, value: str, *, example: str) -> str:
    """Return `value`, which must not be empty."""
    if not value:
        raise ImproperlyConfigured(f"{name} (or {name}_FILE, where it is a secret) must be set in production, for example {example}.")
    return value


def env_together(name: str, value: object, other: str, other_value: object) -> None:
    """Refuse a setting that has no effect without another one: whoever wrote it expects one."""
    if value and not other_value:
        raise refused(name, f"needs {other} beside it.")


def split_url(name: str, value: str, schemes: Sequence[str], *, example: str) -> SplitResult:
    """Return the parts of a URL whose scheme, host and port are sound. The parser's own errors repeat the value, so they end here."""
    scheme, separator, _ = value.partition("://")
    if not separator or scheme.lower() not in schemes:
        raise refused(name, f"must start with {' or '.join(f'{one}://' for one in schemes)}, as in {example}.")
    refuse_reserved_characters(name, value)
    try:
        url = urlsplit(value)
        sound = url.hostname is not None and (url.port is None or url.port > 0)
    except ValueError:
        sound = False
    host = url.netloc.rpartition("@")[2] if sound else ""
    if not sound or not is_host(re.sub(r":[0-9]+$", "", host)):
        raise refused(name, f"must be a URL with a host name and, if at all, a numeric port, as in {example}. {ENCODE}")
    return url


def refuse_reserved_characters(name: str, value: str) -> None:
    """Refuse a URL whose user name or password has one of / ? # unencoded, which would end the authority (RFC 3986 3.2)."""
    _, *rest = re.split(r"[/?#]", value.partition("://")[2], maxsplit=1)
    if (rest and "@" in rest[0]) or "#" in value or re.search(r"\s", value):
        raise refused(name, f"is no URL that can be read without doubt. {ENCODE}")
