"""What the intake understands: a plan of certificates to issue, or one of the other workflows. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from certs.enums import RevocationReason
from certs.validity import Validity
from keys.spec import KeySpec


@dataclass(frozen=True, slots=True)
class CertificateSpec:
    """One certificate as asked for: the only shape that the use case `issuance.submit` takes, whatever the channel.

    `dns_names` holds every DNS name, the common name included (the first, when there is one); all names are in normal
    form. With `csr_der` the key is the requester's and `key` only repeats what it is (`KeyFacts.name`, such as
    "rsa-4096"); `spki_der` is its public key, which outlives a CSR that may not be stored (`csr_der` is then empty).
    Exactly one of `validity_days` and `not_after` (the last day of validity, UTC) is set.
    """

    common_name: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    key: str
    validity_days: int | None
    profile: str
    csr_der: bytes | None = None
    spki_der: bytes | None = None
    not_after: date | None = None

    @property
    def validity(self) -> Validity:
        """The days or the end date."""
        return Validity(self.validity_days, self.not_after)


@dataclass(frozen=True, slots=True)
class IntakeDefaults:
    """What fills the gaps in a sentence: from the team (domain) and from the policy in force (the rest)."""

    domain: str
    key: KeySpec = KeySpec.RSA_3072
    validity_days: int = 90
    profile: str = "tls-server"
    profiles: tuple[str, ...] = ("tls-server",)
    max_items: int = 10_000
    today: date | None = None


@dataclass(frozen=True, slots=True)
class IssuePlan:
    """`notes` says every assumption in plain words: a completed bare label, a default taken from the policy.

    `place` is where the certificates are used (a `certs.servers.kinds.Place`) and `server` the slug
    of the server software, as far as a request sentence named them.
    """

    specs: tuple[CertificateSpec, ...]
    notes: tuple[str, ...] = ()
    place: str = ""
    server: str = ""


@dataclass(frozen=True, slots=True)
class RenewPlan:
    """Exactly one of `cert_id`, `serial_number` and `name` (one of its names, as written) is set."""

    cert_id: str = ""
    new_key: bool = False
    keep_key: bool = False  # said so: then a refusal is better than a new key
    notes: tuple[str, ...] = ()
    serial_number: int | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class RevokePlan:
    """Exactly one of `cert_id`, `serial_number` and `name` (one of its names, as written) is set."""

    reason: RevocationReason
    cert_id: str = ""
    serial_number: int | None = None
    destroy_key: bool = False
    notes: tuple[str, ...] = field(default=())
    name: str = ""


Plan = IssuePlan | RenewPlan | RevokePlan
