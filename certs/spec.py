"""What is requested: certificates with their validity, and the plans that are made of sentences, forms and CSRs. Pure.

A validity is a number of days, counted from signing, or an end date that a person named. An end date
stays a date through every wait (approval, CA outage, bulk order, renewal).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from certs.enums import RevocationReason
from certs.errors import InputRefused
from keys.spec import KeySpec

LONGEST_DAYS = 36_500
# Between policy evaluation and the verification of the certificate lie queues and a CA: less than this could run out on the way.
_SHORTEST_REMAINDER = timedelta(hours=1)
_LAST_SECOND = time(23, 59, 59, tzinfo=UTC)


class Validity(NamedTuple):
    """Either `days` or `not_after`, the last day on which the certificate is valid; the other one is None."""

    days: int | None
    not_after: date | None = None

    @property
    def text(self) -> str:
        """As people read it: "90 days" or "until 31 Dec 2026"."""
        return f"{self.days} days" if self.not_after is None else f"until {self.not_after.day} {self.not_after:%b %Y}"

    @property
    def written(self) -> str:
        """As a table cell or a request sentence may hold it: "90 days" or "until 2026-12-31"."""
        return f"{self.days} days" if self.not_after is None else f"until {self.not_after.isoformat()}"

    def days_left(self, at: datetime) -> int:
        """Whole calendar days from the day of `at`; for an end date 1 on that day itself, and 0 or less once it is too late.

        The policy compares this number with its maximum.
        """
        if self.not_after is None:
            return self.days or 0
        if end_of_day(self.not_after) - at < _SHORTEST_REMAINDER:
            return min((self.not_after - at.date()).days, 0)
        return max((self.not_after - at.date()).days, 1)


def end_of_day(day: date) -> datetime:
    """The last second of a day in UTC: a certificate that ends there is valid through that day (RFC 5280 section 4.1.2.5)."""
    return datetime.combine(day, _LAST_SECOND)


def check_days(days: int) -> int:
    """Return the number of days if a certificate may be requested for that long. Raises InputRefused."""
    if not 1 <= days <= LONGEST_DAYS:
        raise InputRefused(
            f"A validity is 1 to {LONGEST_DAYS} days.",
            field="validity_days",
            next_step="Give fewer days, such as 90." if days > 0 else "Give days such as 90.",
        )
    return days


def check_end_date(day: date, *, today: date) -> date:
    """Return the end date if a certificate may be requested until then. Raises InputRefused for today, the past or more than a century."""
    if day <= today:
        raise InputRefused(
            f"The end date {day.isoformat()} is not in the future.",
            field="not_after",
            next_step=f"Give a day after {today.isoformat()} (UTC).",
        )
    if (day - today).days > LONGEST_DAYS:
        raise InputRefused(
            f"The end date {day.isoformat()} is more than {LONGEST_DAYS} days away.",
            field="not_after",
            next_step="Give an earlier day.",
        )
    return day


@dataclass(frozen=True, slots=True)
class CertificateSpec:
    """One certificate as asked for: the only shape that the use case `requests.submit` takes, whatever the channel.

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

    @property
    def validity_note(self) -> str:
        """The assumption that is noted where nothing names a validity."""
        return f"Validity {self.validity_days} days: the policy's default"


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
