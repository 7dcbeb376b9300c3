"""What goes in and out of the API. Inputs are closed: a field that is not here is refused, never ignored."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from ninja import Header, Schema
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, Strict

from certs.enums import RevocationReason
from certs.inventory import CertificateState, Renewal, StateGroup, Status, YesNo


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


class Open(BaseModel):
    """An answer with further members besides those that it always has. Not a ninja Schema: that drops what it does not know."""

    model_config = ConfigDict(extra="allow")


class IssueFromCSR(Closed):
    """The CA endpoint's order."""

    csr: Csr = Field(description="PKCS#10 request in PEM (RFC 7468), at most 64 kB: the gate says what is wrong with a larger one.")
    validity_days: Whole | None = Field(default=None, ge=1, le=10_000, description="90 by default, unless not_after is given.")
    not_after: EndDate = Field(default=None, description="The last day of validity (UTC), in place of validity_days.")
    profile: Text = Field(default="tls-server", max_length=64)


class IssuedCertificate(Schema):
    """The CA endpoint's answer."""

    certificate: str
    serial_number: str
    not_before: str
    not_after: str
    cert_id: str
    chain: list[str]
    notes: list[str] = Field(default=[], description="Why it ends earlier than requested, where it does.")


class OrderedCertificate(Schema):
    """One of those that were ordered over this API."""

    serial_number: str
    status: str
    certificate: str


class OrderedCertificates(Schema):
    """A page; `next` is the `after` of the page behind it, null on the last."""

    certificates: list[OrderedCertificate]
    next: int | None


class Accepted(Schema):
    """Taken, not finished: ask the order's address again."""

    state: str
    order: str
    audit_reference: str


class Revoke(Closed):
    reason: RevocationReason = RevocationReason.UNSPECIFIED
    revocation_date: Moment | None = Field(default=None, description="Kept as invalidityDate; the time of revocation is ours.")
    comment: Text = Field(default="", max_length=500, description="Kept with the revocation; never sent to a CA.")
    all_on_key: Flag = Field(default=True, description="With keyCompromise: the team's other certificates on the key are revoked too.")
    destroy_key: Flag = Field(default=False, description="Destroy the key in its backend once no living certificate is on it.")


class KeyProof(Closed):
    """That the caller has the private key: then it is refused for ever at once, without an officer."""

    challenge: Text = Field(max_length=500, description="From GET /certificates/{cert_id}/key-challenge, at most an hour old.")
    signature: Text = Field(max_length=12_000, description="Base64, over the challenge: RSA (PKCS #1 v1.5) or ECDSA with SHA-256, Ed25519.")


class RevokeByID(Revoke):
    proof: KeyProof | None = Field(default=None, description="With keyCompromise, for a key that the portal did not make.")


class KeyChallenge(Schema):
    challenge: str
    how: str


class RevokeBySerial(Revoke):
    serial_number: Text = Field(max_length=80, description="Hex with or without colons or 0x, or decimal.")


class Serial(Closed):
    serial_number: Text = Field(max_length=80, description="Hex with or without colons or 0x, or decimal.")


class Revoked(Open):
    """`confirmed`: the CA has done it; until then it is pending and tried again."""

    cert_id: str
    status: str
    reason: str
    revoked_at: str
    confirmed: bool


class Released(Schema):
    cert_id: str
    status: str


class Renew(Closed):
    """By default the key is kept where the policy allows that, and rotated where not."""

    new_key: Flag = False
    keep_key: Flag = Field(default=False, description="Rather refuse than make a new key.")
    plan_only: Flag = Field(default=False, description="Say what would be done, and do nothing.")


class RenewalPlanned(Schema):
    action: str
    cert_id: str
    common_name: str
    sans: list[str]
    key: str
    key_type: str
    validity_days: int
    issuer: str
    decision: Literal["allow", "deny", "needs_approval"]
    policy_version: str
    reason: str = ""
    suggestion: str | None = None
    notes: list[str] = []


class RequestInWords(Closed):
    """A request in words; or, with `plan_only`, what would be done."""

    text: Text = Field(max_length=4096)
    plan_only: Flag = False


class RequestAsForm(Closed):
    """One certificate, field by field. The key is made by the portal unless a CSR is given."""

    common_name: Text = Field(default="", max_length=253)
    sans: list[Name] = Field(default_factory=list, max_length=200)
    key: Text = Field(default="", max_length=16, description="Such as rsa-4096 or ec-p256; empty for the policy's default.")
    csr: Csr = Field(default="", description="PKCS#10 request in PEM.")
    validity_days: Whole = Field(default=0, ge=0, le=10_000, description="0 for the policy's default.")
    not_after: EndDate = Field(default=None, description="The last day of validity (UTC), in place of validity_days.")
    profile: Text = Field(default="tls-server", max_length=64)


class PlannedCertificate(Schema):
    common_name: str
    sans: list[str]
    key: str
    validity_days: int | None
    not_after: str | None = Field(default=None, description="End date: as requested, or earlier where the CA ends before.")
    expires_at: str | None = Field(default=None, description="When it would end if it were signed now; own CAs only.")
    profile: str


class Plan(Schema):
    success: bool
    plan: list[PlannedCertificate]
    decision: Literal["allow", "deny", "needs_approval"]
    policy_version: str
    suggestion: str | None = None
    notes: list[str] = []


class Submitted(Schema):
    """The requests made, each with the address at which it can be watched."""

    requests: list[dict[str, Any]]


class RequestStatus(Open):
    success: bool
    audit_reference: str


class Problem(Open):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


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
    owner: Text = Field(default="", max_length=150, description="Account name; `none` for those without owner.")
    tag: Text = Field(default="", max_length=32, description="Has this tag.")
    issuer: Text = Field(default="", max_length=64, description="Short name of the CA, as in its addresses.")
    profile: Text = Field(default="", max_length=64)
    key: Text = Field(default="", max_length=253, description="Key types, separated by commas: rsa-2048,rsa-3072.")
    spki: Text = Field(default="", max_length=64, description="SHA-256 of the public key, in hexadecimal.")
    blocked_key: Text = Field(default="", json_schema_extra=_YES_NO, description="Whether the public key is blocked.")
    renewal: Text = Field(
        default="",
        json_schema_extra={"enum": ["", *Renewal.values]},
        description="How it is renewed.",
    )
    critical: Text = Field(default="", json_schema_extra=_YES_NO, description="Whether it supports a critical function.")
    replaced: Text = Field(default="", json_schema_extra=_YES_NO, description="Whether a renewal of it is in force.")


class Describe(Closed):
    """What changes; fields that are left out stay as they are."""

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

    cert_id: str
    state: str
    owner: str | None
    purpose: str
    notes: str
    tags: list[str]
    runbook: str
    critical_function: bool
    last_review: date | None
    renewal: str
    renewal_off_reason: str


class CertificateSummary(Schema):
    """A certificate in a list."""

    cert_id: str
    common_name: str
    names: list[str]
    serial_number: str
    sha256_fingerprint: str
    status: str
    not_before: datetime
    not_after: datetime
    issuer: str
    profile: str
    key: str
    audit_reference: str
    state: str = Field(description="One of `state` of the list's filter.")
    owner: str | None = Field(description="The account that answers for it, also where the person has left.")
    purpose: str
    notes: str
    tags: list[str]
    runbook: str
    critical_function: bool
    last_review: date | None
    renewal: str = Field(description="One of `renewal` of the list's filter.")
    renewal_off_reason: str


class CertificateList(Schema):
    """A page, newest first; `next` is the `cursor` of the following page, null on the last."""

    certificates: list[CertificateSummary]
    next: str | None


class RequestSummary(Schema):
    """A request in a list; its address is /api/v1/requests/{audit_reference}."""

    audit_reference: str
    state: str
    common_name: str
    names: list[str]
    key: str
    profile: str
    created_at: datetime
    error: str
    cert_id: str | None


class RequestList(Schema):
    """A page, newest first; `next` is the `cursor` of the following page, null on the last."""

    requests: list[RequestSummary]
    next: str | None
