"""Where a webhook may lead: an address is resolved, checked and then used as it was checked.

A person who may add a webhook must not reach with it what only the portal's machine can reach:
databases, metadata services, its own loopback (server-side request forgery).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from certs.access.networks import Address, addresses_of, is_allowed
from certs.errors import InputRefused

LONGEST = 500


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a webhook's URL."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Return the value of the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": 443, "http": 80}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"


def _refused(message: str, next_step: str) -> InputRefused:
    return InputRefused(message, field="url", next_step=next_step)


def parse_target(url: str) -> Target:
    """Return the parts of the URL. Raises InputRefused for one that no webhook may have.

    A user name, a password and a query are refused: they would be secrets in a row and in the
    audit log. The signature proves to a receiver who sends.
    """
    example = "For example https://hooks.example.com/pki."
    if len(url) > LONGEST or not url.isascii() or not url.isprintable() or " " in url:
        raise _refused(f"The address has up to {LONGEST} ASCII characters and no blank.", example)
    try:
        parts: SplitResult = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _refused("The address is no URL.", example) from None
    schemes = {"https", "http"} if settings.PKI_WEBHOOK_ALLOW_HTTP else {"https"}
    if parts.scheme not in schemes or not host:
        raise _refused(f"The address must begin with {' or '.join(sorted(schemes))}://.", example)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise _refused(
            "The address must have no user name, password, query or fragment.",
            "Check the signature of each message instead: docs/notices.md has an example.",
        )
    return Target(parts.scheme, host, port or {"https": 443, "http": 80}[parts.scheme], parts.path or "/")


def check_target(url: str) -> None:
    """Refuse an address to which no webhook can lead, without looking a name up.

    The web process of production reaches no DNS of the outside. Each delivery checks the name.
    Raises InputRefused.
    """
    target = parse_target(url)
    try:
        address = ip_address(target.host)
    except ValueError:
        usable = bool(settings.PKI_WEBHOOK_NETWORKS)
    else:
        usable = is_allowed(address, settings.PKI_WEBHOOK_NETWORKS)
    if not usable:
        raise _not_allowed(target)


def _not_allowed(target: Target) -> InputRefused:
    return _refused(
        f"The portal may not send webhooks to {target.host}.",
        "Ask an operator to add its network to PKI_WEBHOOK_NETWORKS.",
    )


def resolve(target: Target) -> Address:
    """Return the first address of the host that is allowed. Looks the name up in the DNS.

    Raises InputRefused where the name has no address, or none in PKI_WEBHOOK_NETWORKS.
    """
    try:
        addresses = addresses_of(target.host, target.port)
    except (OSError, UnicodeError):
        raise _refused(f"{target.host} has no address in the DNS.", "Check the spelling of the host name.") from None
    allowed = [address for address in addresses if is_allowed(address, settings.PKI_WEBHOOK_NETWORKS)]
    if not allowed:
        raise _not_allowed(target)
    return allowed[0]
