"""All that the policy engine may see: frozen facts about a request and its requester. Pure: no Django, no keys, no certs.

Names are already in their normal form (lower case A-labels, canonical IP text): the engine compares, it does not parse.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """The request. `key_bits` are modulus bits (rsa), field bits (ec, ed25519 = 255) or the ML-DSA number.

    `key_age_days` and `key_certificates` (made with this key so far) matter only where `key_reused`. `duplicate_of` is
    the id of a living certificate of the same names and profile, `also_asked_by` what else requests them (such as "request
    req-..."), where the caller looked for them. `validity_days` are the days
    that are left when an end date was named, which is `not_after` then.
    """

    profile: str
    common_name: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    key_family: str
    key_bits: int
    validity_days: int
    ekus: tuple[str, ...] = ("serverAuth",)
    renewal: bool = False
    key_reused: bool = False
    csr_brought: bool = False
    key_age_days: int = 0
    key_certificates: int = 0
    duplicate_of: str = ""
    also_asked_by: str = ""
    not_after: date | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return self.dns_names + self.ip_addresses


@dataclass(frozen=True, slots=True)
class RequesterFacts:
    """The requester. `foreign_domains` are domains of other teams at, above or beneath the requested names (callers look
    them up; the engine needs no others).
    """

    team: str
    owned_domains: tuple[str, ...]
    foreign_domains: tuple[str, ...] = ()
