"""What goes in and out of the API. Inputs are closed: a field that is not here is refused, never ignored."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from certs.terms import RevocationReason


def _iso_day(value: Any) -> Any:
    """Refuse a number, which pydantic would read as a date."""
    if value is not None and not (isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value)):
        raise ValueError("a date such as 2027-01-31 is expected")
    return value


EndDate = Annotated[date | None, BeforeValidator(_iso_day)]


class Closed(Schema):
    model_config = ConfigDict(extra="forbid")


class Open(BaseModel):
    """An answer with further members besides those that it always has. Not a ninja Schema: that drops what it does not know."""

    model_config = ConfigDict(extra="allow")


class IssueFromCSR(Closed):
    """The CA endpoint's order."""

    csr: str = Field(description="PKCS#10 request in PEM (RFC 7468), at most 64 kB: the gate says what is wrong with a larger one.")
    validity_days: int | None = Field(default=None, ge=1, le=10_000, description="90 by default, unless not_after is given.")
    not_after: EndDate = Field(default=None, description="The last day of validity (UTC), in place of validity_days.")
    profile: str = Field(default="tls-server", max_length=64)


class IssuedCertificate(Schema):
    """The CA endpoint's answer."""

    certificate: str
    serial_number: str
    not_before: str
    not_after: str
    cert_id: str
    chain: list[str]


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
    revocation_date: datetime | None = Field(default=None, description="Kept as invalidityDate; the time of revocation is ours.")
    comment: str = Field(default="", max_length=500, description="Kept with the revocation; never sent to a CA.")
    all_on_key: bool = Field(default=True, description="With keyCompromise: the team's other certificates on the key are revoked too.")
    destroy_key: bool = Field(default=False, description="Destroy the key in its backend once no living certificate is on it.")


class KeyProof(Closed):
    """That the caller has the private key: then it is refused for ever at once, without an officer."""

    challenge: str = Field(max_length=500, description="From GET /certificates/{cert_id}/key-challenge, at most an hour old.")
    signature: str = Field(max_length=12_000, description="Base64, over the challenge: RSA (PKCS #1 v1.5) or ECDSA with SHA-256, Ed25519.")


class RevokeByID(Revoke):
    proof: KeyProof | None = Field(default=None, description="With keyCompromise, for a key that the portal did not make.")


class KeyChallenge(Schema):
    challenge: str
    how: str


class RevokeBySerial(Revoke):
    serial_number: str = Field(max_length=80, description="Hex with or without colons or 0x, or decimal.")


class Serial(Closed):
    serial_number: str = Field(max_length=80, description="Hex with or without colons or 0x, or decimal.")


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

    new_key: bool = False
    keep_key: bool = Field(default=False, description="Rather refuse than make a new key.")
    plan_only: bool = Field(default=False, description="Say what would be done, and do nothing.")


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

    text: str = Field(max_length=4096)
    plan_only: bool = False


class RequestAsForm(Closed):
    """One certificate, field by field. The key is made by the portal unless a CSR is given."""

    common_name: str = Field(default="", max_length=253)
    sans: list[str] = Field(default_factory=list, max_length=200)
    key: str = Field(default="", max_length=16, description="Such as rsa-4096 or ec-p256; empty for the policy's default.")
    csr: str = Field(default="", description="PKCS#10 request in PEM.")
    validity_days: int = Field(default=0, ge=0, le=10_000, description="0 for the policy's default.")
    not_after: EndDate = Field(default=None, description="The last day of validity (UTC), in place of validity_days.")
    profile: str = Field(default="tls-server", max_length=64)


class PlannedCertificate(Schema):
    common_name: str
    sans: list[str]
    key: str
    validity_days: int | None
    not_after: str | None = None
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
