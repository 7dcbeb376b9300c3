"""What goes in and out of the API. Inputs are closed: a field that is not here is refused, never ignored."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from ninja import Header, Schema
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, ConfigDict, Field, Strict

from certs.api.answers import CERT_ID, MOMENT, PEM, REQUEST, SERIAL
from certs.enums import RevocationReason
from certs.inventory import RULE_CHOICES, CertificateState, Compliance, Renewal, RenewalGroup, Source, StateGroup, Status, YesNo
from certs.inventory.listing.served import Served
from certs.inventory.listing.sorts import Sort
from certs.renewal.planned_revocation import HOURS


def _iso_day(value: Any) -> Any:
    """Refuse a number, which pydantic would read as a date."""
    if value is not None and not (isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value)):
        raise ValueError("a date such as 2027-01-31 is expected")
    return value


EndDate = Annotated[date | None, BeforeValidator(_iso_day)]


def storable(text: str) -> str:
    """The text, which PostgreSQL and UTF-8 can hold. Raises ValueError for any other."""
    if "\x00" in text:
        raise ValueError("a NUL character is not text")
    return encodable(text)


def encodable(text: str) -> str:
    """The text, which UTF-8 can hold. Raises ValueError for any other."""
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("half a surrogate pair is not text")
    return text


def _iso_text(value: object) -> object:
    """A number would be read as seconds since 1970."""
    if not isinstance(value, str):
        raise ValueError("a time is an RFC 3339 text, such as 2026-11-28T12:00:00Z")  # noqa: TRY004
    return value


def _in_utc(moment: datetime) -> datetime:
    """In UTC. Raises ValueError for what no certificate can hold (RFC 5280 4.1.2.5)."""
    if not 1950 <= moment.year < 9999:
        raise ValueError("a year is between 1950 and 9998")
    return moment.astimezone(UTC)


# What a client sends is of these types: JSON's own, without conversions between them. A field says
# its length or range; tests/certs/api/http/test_hostile_input.py holds every schema to this.
Text = Annotated[str, Strict(), AfterValidator(storable)]
Name = Annotated[Text, Field(max_length=253)]
# The gate of CSRs refuses a NUL itself, and puts the refusal on record.
Csr = Annotated[str, Strict(), AfterValidator(encodable), Field(max_length=8 * 1024 * 1024)]
Whole = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
IdempotencyKey = Annotated[
    str,
    # Printable ASCII, such as a UUID.
    Header(alias="Idempotency-Key", max_length=128, pattern=r"^[ -~]*$"),
]
Moment = Annotated[AwareDatetime, BeforeValidator(_iso_text), AfterValidator(_in_utc)]


class Closed(Schema):
    model_config = ConfigDict(extra="forbid")


def shown_as(example: dict[str, Any]) -> ConfigDict:
    """Return the configuration of an input with an example of it."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [example]})


CSR = "-----BEGIN CERTIFICATE REQUEST-----\nMIIB…\n-----END CERTIFICATE REQUEST-----\n"


class IssueFromCSR(Closed):
    """The CA endpoint's order."""

    model_config = shown_as({"csr": CSR, "validity_days": 90})

    csr: Csr = Field(description="PKCS#10 request in PEM (RFC 7468), at most 64 kB: the gate says what is wrong with a larger one.")
    validity_days: Whole | None = Field(default=None, ge=1, le=10_000, description="90 by default, unless not_after is given.")
    not_after: EndDate = Field(default=None, description="The last day of validity (UTC), in place of validity_days.")
    profile: Text = Field(default="tls-server", max_length=64)


class IssuedCertificate(Schema):
    """The CA endpoint's answer."""

    certificate: str = Field(examples=[PEM])
    serial_number: str = Field(examples=[SERIAL])
    not_before: str = Field(examples=["2026-11-28T14:32:15Z"])
    not_after: str = Field(examples=[MOMENT])
    cert_id: str = Field(examples=[CERT_ID])
    chain: list[str] = Field(examples=[[PEM, PEM]])
    notes: list[str] = Field(default=[], description="Why it ends earlier than requested, where it does.")


class OrderedCertificate(Schema):
    """One of those that were ordered over this API."""

    serial_number: str = Field(examples=[SERIAL])
    status: str = Field(examples=["good"])
    certificate: str = Field(examples=[PEM])


class OrderedCertificates(Schema):
    """A page; `next` is the `after` of the page behind it, null on the last."""

    certificates: list[OrderedCertificate]
    next: int | None


class Accepted(Schema):
    """Taken, not finished: ask the order's address again."""

    state: str = Field(examples=["awaiting_approval"])
    order: str = Field(examples=[f"https://pki.example.com/api/v1/requests/{REQUEST}"])
    audit_reference: str = Field(examples=[REQUEST])


class Revoke(Closed):
    reason: RevocationReason = RevocationReason.UNSPECIFIED
    revocation_date: Moment | None = Field(default=None, description="Kept as invalidityDate; the time of revocation is ours.")
    comment: Text = Field(default="", max_length=500, description="Kept with the revocation; never sent to a CA.")
    all_on_key: Flag = Field(default=True, description="With keyCompromise: the team's other certificates on the key are revoked too.")
    destroy_key: Flag = Field(default=False, description="Destroy the key in its backend once no living certificate is on it.")


class KeyProof(Closed):
    """Proof that the caller has the private key: the key is then refused permanently at once, without an officer."""

    challenge: Text = Field(max_length=500, description="From GET /certificates/{cert_id}/key-challenge, at most an hour old.")
    signature: Text = Field(max_length=12_000, description="Base64, over the challenge: RSA (PKCS #1 v1.5) or ECDSA with SHA-256, Ed25519.")


class RevokeByID(Revoke):
    model_config = shown_as({"reason": "keyCompromise", "comment": "Laptop lost"})

    proof: KeyProof | None = Field(default=None, description="With keyCompromise, for a key that the portal did not make.")


class Replace(Closed):
    """A replacement with a new key now, and the revocation for keyCompromise afterwards."""

    model_config = shown_as({"hours": 24, "when_issued": True, "comment": "Laptop lost"})

    hours: Whole = Field(
        default=24,
        ge=min(HOURS),
        le=max(HOURS),
        json_schema_extra={"enum": list(HOURS)},
        description="The deadline: it is revoked then, whatever became of the replacement.",
    )
    when_issued: Flag = Field(
        default=True,
        description="Revoke as soon as the replacement is issued, not only at the deadline.",
    )
    csr: Text = Field(
        default="",
        max_length=65_536,
        description="PKCS #10 in PEM with a new key and the same names; needed for an external key.",
    )
    comment: Text = Field(default="", max_length=500)
    revocation_date: Moment | None = Field(default=None, description="Kept as invalidityDate.")
    spared: list[Name] = Field(
        default=[],
        max_length=100,
        description="cert_ids of other certificates on the key that stay; all others are revoked too.",
    )
    proof: KeyProof | None = Field(default=None, description="As for a revocation.")


class ReplacementPlanned(Schema):
    """A planned revocation."""

    cert_id: str = Field(examples=[CERT_ID])
    replacement: str = Field(description="The request; watch it at /api/v1/requests/.", examples=[REQUEST])
    reason: str = Field(examples=["keyCompromise"])
    when_issued: bool = Field(examples=[True])
    deadline: datetime = Field(examples=["2026-11-29T14:32:15Z"])


class KeyChallenge(Schema):
    challenge: str = Field(examples=["pki-portal key challenge 7c1f…"])
    how: str = Field(examples=["Sign the challenge with the private key."])


class RevokeBySerial(Revoke):
    model_config = shown_as({"serial_number": SERIAL, "reason": "superseded"})

    serial_number: Text = Field(max_length=80, description="Hex with or without colons or 0x, or decimal.")


class Serial(Closed):
    model_config = shown_as({"serial_number": SERIAL})

    serial_number: Text = Field(max_length=80, description="Hex with or without colons or 0x, or decimal.")


class Released(Schema):
    cert_id: str = Field(examples=[CERT_ID])
    status: str = Field(examples=["good"])


class Renew(Closed):
    """By default the key is kept where the policy allows that, and rotated where not."""

    model_config = shown_as({"new_key": True})

    new_key: Flag = False
    keep_key: Flag = Field(default=False, description="Rather refuse than make a new key.")
    plan_only: Flag = Field(default=False, description="Say what would be done, and do nothing.")


class RenewalPlanned(Schema):
    action: str = Field(examples=["renew"])
    cert_id: str = Field(examples=[CERT_ID])
    common_name: str = Field(examples=["shop.example.com"])
    sans: list[str] = Field(examples=[["shop.example.com"]])
    key: str = Field(examples=["kept"])
    key_type: str = Field(examples=["ec-p256"])
    validity_days: int = Field(examples=[90])
    issuer: str = Field(examples=["Internal-CA-Prod"])
    decision: Literal["allow", "deny", "needs_approval"]
    policy_version: str = Field(examples=["v2.3"])
    reason: str = ""
    suggestion: str | None = None
    notes: list[str] = []


class RequestInWords(Closed):
    """A request in words; or, with `plan_only`, what would be done."""

    model_config = shown_as({"text": "TLS certificate for shop.example.com with P-256, 90 days", "plan_only": True})

    text: Text = Field(max_length=4096)
    plan_only: Flag = False


class RequestAsForm(Closed):
    """One certificate, field by field. The key is made by the portal unless a CSR is given."""

    model_config = shown_as({"common_name": "shop.example.com", "key": "ec-p256", "validity_days": 90})

    common_name: Text = Field(default="", max_length=253)
    sans: list[Name] = Field(default_factory=list, max_length=200)
    key: Text = Field(default="", max_length=16, description="Such as rsa-4096 or ec-p256; empty for the policy's default.")
    csr: Csr = Field(default="", description="PKCS#10 request in PEM.")
    validity_days: Whole = Field(default=0, ge=0, le=10_000, description="0 for the policy's default.")
    not_after: EndDate = Field(default=None, description="The last day of validity (UTC), in place of validity_days.")
    profile: Text = Field(default="tls-server", max_length=64)


class PlannedCertificate(Schema):
    common_name: str = Field(examples=["shop.example.com"])
    sans: list[str] = Field(examples=[["shop.example.com"]])
    key: str = Field(examples=["ec-p256"])
    validity_days: int | None = Field(examples=[90])
    not_after: str | None = Field(default=None, description="End date: as requested, or earlier where the CA ends before.")
    expires_at: str | None = Field(default=None, description="When it would end if it were signed now; own CAs only.")
    profile: str = Field(examples=["tls-server"])


class Plan(Schema):
    success: bool = Field(examples=[True])
    plan: list[PlannedCertificate]
    decision: Literal["allow", "deny", "needs_approval"]
    policy_version: str = Field(examples=["v2.3"])
    suggestion: str | None = None
    notes: list[str] = []


_YES_NO: dict[str, Any] = {"enum": ["", *YesNo.values]}


class CertificateQuery(Schema):
    """Filters of the list of certificates; all that are given must hold. The portal's list has the same."""

    q: Text = Field(
        default="",
        max_length=253,
        description="As in the portal: a name or a part of it, id, serial number, fingerprint.",
    )
    state: Text = Field(
        default="",
        json_schema_extra={"enum": ["", *CertificateState.values, *StateGroup.values]},
        description="`in_force`: not ended, not revoked; `active`: and not renewed; `due`: to be renewed, and no renewal is under way.",
    )
    status: Status = Field(
        default=Status.ALL,
        description="Of earlier releases. `active` and `good`: `state=active`; `needs_action`: `state=due`; `replaced`: `state=renewed`.",
    )
    expiring: int = Field(default=0, ge=0, le=9999, description="Active ones that end within so many days.")
    ends_after: EndDate = Field(default=None, description="Ends on this day (UTC) or later.")
    ends_before: EndDate = Field(default=None, description="Ends before this day.")
    issued_after: EndDate = Field(default=None, description="Issued on this day or later.")
    issued_before: EndDate = Field(default=None, description="Issued before this day.")
    revoked_after: EndDate = Field(default=None, description="Revoked on this day or later.")
    revoked_before: EndDate = Field(default=None, description="Revoked before this day.")
    reviewed_before: EndDate = Field(default=None, description="Last reviewed before this day, or never.")
    team: Text = Field(default="", max_length=64, description="Short name of the team. A token sees no other than its own.")
    owner: Text = Field(default="", max_length=150, description="Account name; `none` for those without owner.")
    tag: Text = Field(default="", max_length=32, description="Has this tag.")
    issuer: Text = Field(default="", max_length=64, description="Short name of the CA, as in its addresses.")
    profile: Text = Field(default="", max_length=64)
    key: Text = Field(
        default="",
        max_length=253,
        description="Key types and comparisons, separated by commas: rsa-2048,rsa-3072 or rsa<3072.",
    )
    spki: Text = Field(
        default="",
        max_length=100,
        description="SHA-256 of the public key, in hexadecimal or base64.",
    )
    policy: Text = Field(
        default="",
        json_schema_extra={"enum": ["", *Compliance.values, *(name for name, _ in RULE_CHOICES)]},
        description="What the policy in force says of a certificate in force, as last judged; the name of a rule: that rule refuses it.",
    )
    served: Text = Field(
        default="",
        json_schema_extra={"enum": ["", *Served.values]},
        description="Whether it was served when the portal last looked.",
    )
    source: Text = Field(
        default="",
        json_schema_extra={"enum": ["", *Source.values]},
        description="By which channel it was requested.",
    )
    sort: Text = Field(
        default="",
        max_length=20,
        json_schema_extra={"enum": ["", *Sort.values, *(f"-{one}" for one in Sort.values)]},
        description="The order; with a minus the other way round. By default the newest come first.",
    )
    blocked_key: Text = Field(default="", json_schema_extra=_YES_NO, description="Whether the public key is blocked.")
    renewal: Text = Field(
        default="",
        json_schema_extra={"enum": ["", *Renewal.values, *RenewalGroup.values]},
        description="How it is renewed. `person`: not automatically, for whatever reason; `nobody`: only with a new CSR, or switched off.",
    )
    critical: Text = Field(default="", json_schema_extra=_YES_NO, description="Whether it supports a critical function.")
    replaced: Text = Field(default="", json_schema_extra=_YES_NO, description="Whether a renewal of it is in force.")
    is_renewal: Text = Field(default="", json_schema_extra=_YES_NO, description="Whether it renews an earlier certificate.")
    longer_than: int = Field(default=0, ge=0, le=9999, description="Its whole validity is longer than so many days.")


class Describe(Closed):
    """What changes; fields that are left out stay as they are."""

    model_config = shown_as({"purpose": "web shop", "critical_function": True})

    owner: Text | None = Field(default=None, max_length=150, description="Account name of a member of the team; empty for nobody.")
    purpose: Text | None = Field(default=None, max_length=200)
    notes: Text | None = Field(default=None, max_length=1000, description="Several lines are kept.")
    tags: list[Text] | None = Field(default=None, max_length=50, description="All of them; an empty list removes them.")
    runbook: Text | None = Field(default=None, max_length=500, description="An https:// or http:// address.")
    critical_function: bool | None = Field(default=None, description="Supports a critical or important function (DORA).")
    last_review: EndDate = Field(default=None, description="Day of the last review; today or before.")
    renewal_off_reason: Text | None = Field(
        default=None,
        max_length=300,
        description="Switches the automatic renewal off, with this reason; empty switches it on.",
    )


class Described(Schema):
    """What people wrote about a certificate."""

    cert_id: str = Field(examples=[CERT_ID])
    state: str = Field(examples=["valid"])
    owner: str | None = Field(examples=["alice"])
    purpose: str = Field(examples=["web shop"])
    notes: str = Field(examples=["Behind the load balancer lb-1."])
    tags: list[str] = Field(examples=[["shop"]])
    runbook: str = Field(examples=["https://wiki.example.com/shop"])
    critical_function: bool = Field(examples=[True])
    last_review: date | None = Field(examples=["2026-11-01"])
    renewal: str = Field(examples=["automatic"])
    renewal_off_reason: str = Field(examples=[""])


class CertificateSummary(Schema):
    """A certificate in a list."""

    cert_id: str = Field(examples=[CERT_ID])
    common_name: str = Field(examples=["shop.example.com"])
    names: list[str] = Field(examples=[["shop.example.com"]])
    serial_number: str = Field(examples=[SERIAL])
    sha256_fingerprint: str = Field(examples=["9f2c" * 16])
    status: str = Field(examples=["good"])
    not_before: datetime = Field(examples=["2026-11-28T14:32:15Z"])
    not_after: datetime = Field(examples=[MOMENT])
    issuer: str = Field(examples=["Internal-CA-Prod"])
    profile: str = Field(examples=["tls-server"])
    key: str = Field(examples=["ec-p256"])
    audit_reference: str = Field(examples=[REQUEST])
    state: str = Field(description="One of `state` of the list's filter.")
    owner: str | None = Field(description="The account that answers for it, also where the person has left.")
    purpose: str = Field(examples=["web shop"])
    notes: str = Field(examples=["Behind the load balancer lb-1."])
    tags: list[str] = Field(examples=[["shop"]])
    runbook: str = Field(examples=["https://wiki.example.com/shop"])
    critical_function: bool = Field(examples=[False])
    last_review: date | None = Field(examples=[None])
    renewal: str = Field(description="One of `renewal` of the list's filter.")
    renewal_off_reason: str = Field(examples=[""])


class CertificateList(Schema):
    """A page, newest first; `next` is the `cursor` of the following page, null on the last."""

    certificates: list[CertificateSummary]
    next: str | None


class RequestSummary(Schema):
    """A request in a list; its address is /api/v1/requests/{audit_reference}."""

    audit_reference: str = Field(examples=[REQUEST])
    state: str = Field(examples=["completed"])
    common_name: str = Field(examples=["shop.example.com"])
    names: list[str] = Field(examples=[["shop.example.com"]])
    key: str = Field(examples=["ec-p256"])
    profile: str = Field(examples=["tls-server"])
    created_at: datetime = Field(examples=["2026-11-28T14:32:14Z"])
    error: str = Field(examples=[""])
    cert_id: str | None = Field(examples=[CERT_ID])


class RequestList(Schema):
    """A page, newest first; `next` is the `cursor` of the following page, null on the last."""

    requests: list[RequestSummary]
    next: str | None
