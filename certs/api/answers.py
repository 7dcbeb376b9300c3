"""Answers that have members only some of the time, with the name, the meaning and an example of each.

Operations that return them say `exclude_unset`, so that a member that is not there is left out.
"""

from __future__ import annotations

from typing import Any

from ninja import Schema
from pydantic import BaseModel, ConfigDict, Field

CERT_ID = "cert-20261128143215-4f1c09ab27"
REQUEST = "req-20261128143214-93ab41e07c"
SERIAL = "4A:3F:2B:91:0C:77:E2:15:5D:08:A9:61:F3:2C:B4:10"
MOMENT = "2027-02-26T14:32:15Z"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB…\n-----END CERTIFICATE-----\n"


def _named_members_only(schema: dict[str, Any]) -> None:
    """Leave out "and anything else": documentation tools make an invented member of it."""
    schema.pop("additionalProperties", None)


class Open(BaseModel):
    """An answer that keeps members which its type does not name. Not a ninja Schema: that drops what it does not know."""

    model_config = ConfigDict(extra="allow", json_schema_extra=_named_members_only)


class Problem(Open):
    """Why something was refused (RFC 9457)."""

    type: str = Field(description="The kind of problem, for programs.", examples=["urn:pki-portal:error:policy_violation"])
    title: str = Field(examples=["policy_violation"])
    status: int = Field(examples=[403])
    detail: str = Field(description="What happened.", examples=["Policy violation: Key size 2048 below minimum 3072"])
    next_step: str = Field(default="", description="What to do next.", examples=["Use RSA key size ≥ 3072 bits"])
    field: str = Field(default="", description="The field that is meant.", examples=["key"])
    suggestion: str = Field(default="", description="What the policy would allow.", examples=["Use RSA key size ≥ 3072 bits"])
    policy_version: str = Field(default="", examples=["v2.3"])
    errors: list[FieldError] = Field(default=[], description="With 422: every field that is wrong.")
    position: int = Field(default=0, description="Of a sentence: the character at which reading stopped.", examples=[31])
    example: str = Field(default="", description="Of a sentence: one that is understood.")
    audit_reference: str = Field(default="", description="The request in the audit log.", examples=[REQUEST])
    resume_id: str = Field(default="", description="With which the request goes on.", examples=["resume-7f21"])
    error_id: str = Field(default="", description="With 500: the number in the portal's log.", examples=["8c1f0a4be2d97713"])


class FieldError(Schema):
    """One field that is wrong."""

    field: str = Field(examples=["validity_days"])
    reason: str = Field(examples=["Input should be greater than or equal to 1"])


class SubmittedRequest(Schema):
    """A request that was made."""

    audit_reference: str = Field(examples=[REQUEST])
    state: str = Field(examples=["submitted"])
    url: str = Field(description="Where it can be watched.", examples=[f"/api/v1/requests/{REQUEST}"])


class Submitted(Schema):
    """The requests made, each with the address at which it can be watched."""

    requests: list[SubmittedRequest]


class RequestStatus(Open):
    """A request as it is now. `success` is true once its certificate is in the inventory; then the certificate is here."""

    success: bool = Field(examples=[True])
    audit_reference: str = Field(examples=[REQUEST])
    cert_id: str = Field(default="", examples=[CERT_ID])
    certificate: str = Field(default="", description="PEM.", examples=[PEM])
    serial_number: str = Field(default="", examples=[SERIAL])
    expires_at: str = Field(default="", examples=[MOMENT])
    notes: list[str] = Field(default=[], description="What differs from the request, and why.", examples=[[]])
    state: str = Field(default="", description="While it is not completed.", examples=["awaiting_approval"])
    error: str = Field(default="", description="What it waits for, or why it failed.", examples=["Waits for approval by the security team"])
    policy_version: str = Field(default="", examples=["v2.3"])
    suggestion: str = Field(default="", description="What the policy would allow.")
    resume_id: str = Field(default="", description="With which it goes on after an outage.", examples=["resume-7f21"])
    renewed_from: str = Field(default="", description="Of a renewal: the certificate that it renews.", examples=[CERT_ID])
    key: str = Field(default="", description="Of a renewal: `new` or `kept`.", examples=["kept"])
    validity_days: int | None = Field(default=None, description="Of a renewal.", examples=[90])
    already: bool = Field(default=False, description="Of a renewal: an earlier call made this request.", examples=[False])


class Revoked(Open):
    """`confirmed`: the CA has done it; until then it is pending and tried again."""

    success: bool = Field(default=True, examples=[True])
    cert_id: str = Field(examples=[CERT_ID])
    serial_number: str = Field(default="", examples=[SERIAL])
    status: str = Field(examples=["revoked"])
    reason: str = Field(examples=["keyCompromise"])
    revoked_at: str = Field(examples=["2026-11-28T16:05:00Z"])
    confirmed: bool = Field(examples=[True])
    waiting_for_ca: str = Field(default="", description="Why the CA has not confirmed it yet.")
    key_blocked: bool = Field(default=False, description="With keyCompromise: the public key is refused permanently.", examples=[True])
    case_opened: bool = Field(default=False, description="With keyCompromise: an officer decides about the key.", examples=[False])
    also_revoked: list[str] = Field(default=[], description="Other certificates on the same key.", examples=[[]])
    left_on_same_key: list[str] = Field(default=[], description="Those of other teams, which stay.", examples=[[]])
    key_destroyed: bool = Field(default=False, description="With destroy_key.", examples=[False])
    key_destruction: str = Field(default="", description="With destroy_key, until it is done.", examples=["under way"])
    key_not_destroyed_because: str = Field(default="", description="With destroy_key, where the key stays.")
    receipt: KeyReceipt | None = Field(default=None, description="With destroy_key: which key.")
    notes: list[str] = Field(default=[], examples=[[]])


class KeyReceipt(Schema):
    """A key that is destroyed, and where the audit log says so."""

    key: str = Field(examples=["transit-leaf/keys/shop-example-com"])
    backend: str = Field(examples=["vault"])
    audit_subject: str = Field(examples=["key:5d1b0e1c-6c4e-4f5c-9d61-2f7f3f8e7a10"])


class CertificateRevocation(Schema):
    """That a certificate was revoked."""

    reason: str = Field(examples=["superseded"])
    revoked_at: str = Field(examples=["2026-11-28T16:05:00+00:00"])
    invalidity_date: str | None = Field(description="Since when it is not to be trusted.", examples=[None])
    confirmed: bool = Field(description="Whether the CA has done it.", examples=[True])


class CertificateDetail(Open):
    """One certificate."""

    success: bool = Field(examples=[True])
    cert_id: str = Field(examples=[CERT_ID])
    certificate: str = Field(description="PEM.", examples=[PEM])
    serial_number: str = Field(examples=[SERIAL])
    expires_at: str = Field(examples=[MOMENT])
    audit_reference: str = Field(examples=[REQUEST])
    status: str = Field(examples=["good"])
    state: str = Field(description="One of `state` of the list's filter.", examples=["valid"])
    owner: str | None = Field(default=None, examples=["alice"])
    purpose: str = Field(default="", examples=["web shop"])
    notes: str = Field(default="", description="What people wrote about it.", examples=["Behind the load balancer lb-1."])
    tags: list[str] = Field(default=[], examples=[["shop"]])
    runbook: str = Field(default="", description="Address of the instructions.", examples=["https://wiki.example.com/shop"])
    critical_function: bool = Field(default=False, examples=[False])
    last_review: Any = Field(default=None, examples=["2026-11-01"])
    renewal: str = Field(default="", examples=["automatic"])
    renewal_off_reason: str = Field(default="", examples=[""])
    issuer: str = Field(examples=["Internal-CA-Prod"])
    profile: str = Field(examples=["tls-server"])
    policy_version: str = Field(examples=["v2.3"])
    waivers: list[str] = Field(
        default=[],
        description="Waivers without which the policy would have been stricter; kept when they end.",
        examples=[["W-12"]],
    )
    chain: str = Field(description="PEM, issuing CA first, root last.", examples=[PEM])
    renewed_from: str | None = Field(default=None, examples=[None])
    superseded_by: str | None = Field(default=None, examples=[None])
    revocation: CertificateRevocation | None = Field(default=None, description="Only where it was revoked.")


class OrderCounts(Open):
    """Lines of a bulk order by what became of them."""

    waiting: int = Field(default=0, examples=[1])
    under_way: int = Field(default=0, examples=[0])
    held: int = Field(default=0, examples=[0])
    awaiting_approval: int = Field(default=0, examples=[0])
    issued: int = Field(default=0, examples=[48])
    refused: int = Field(default=0, examples=[1])
    failed: int = Field(default=0, examples=[0])
    cancelled: int = Field(default=0, examples=[0])
    invalid: int = Field(default=0, examples=[0])
    left_out: int = Field(default=0, examples=[0])


class OrderStatus(Open):
    """How far a bulk order is."""

    bulk_id: str = Field(examples=["bulk-20261128143214-51c0"])
    state: str = Field(examples=["running"])
    title: str = Field(default="", examples=["API hosts"])
    total: int = Field(examples=[50])
    issued: int = Field(examples=[48])
    failed: int = Field(examples=[1])
    counts: OrderCounts | None = Field(default=None, description="Lines by what became of them.")
    rate: float = Field(default=0, description="Certificates a second.", examples=[212.4])
    seconds: float = Field(default=0, examples=[0.24])
    ends_at: str | None = Field(default=None, description="While it can be told.", examples=[MOMENT])
    waits_for: Any = Field(default=None, description="What the order waits for; null where nothing.", examples=[None])


class JudgedOutcomes(Open):
    """How many lines had which outcome."""

    allow: int = Field(default=0, examples=[49])
    needs_approval: int = Field(default=0, examples=[0])
    deny: int = Field(default=0, examples=[1])
    invalid: int = Field(default=0, examples=[0])


class JudgedLine(Open):
    """A line as it would be issued."""

    line: str = Field(examples=["row 2"])
    common_name: str = Field(examples=["api-1.example.com"])
    sans: list[str] = Field(examples=[["api-1.example.com"]])
    key: str | None = Field(examples=["ec-p256"])
    validity_days: int | None = Field(examples=[90])
    not_after: str | None = Field(examples=[None])
    profile: str | None = Field(examples=["tls-server"])
    state: str = Field(examples=["allow"])
    error: str = Field(examples=[""])
    suggestion: str = Field(examples=[""])
    duplicate: str = Field(examples=[""])


class LineProblem(Open):
    """A line that cannot be issued as it is."""

    line: int = Field(examples=[7])
    source: str = Field(examples=["row 8"])
    name: str = Field(examples=["api-7.example.com"])
    state: str = Field(examples=["deny"])
    error: str = Field(examples=["Key size 2048 below minimum 3072"])
    suggestion: str = Field(examples=["Use RSA key size ≥ 3072 bits"])


class Judged(Open):
    """What would be done; `lines` and `problems` hold the first hundred. `notes`: what was assumed for all lines together."""

    success: bool = Field(examples=[False])
    total: int = Field(examples=[50])
    outcomes: JudgedOutcomes
    duplicates: int = Field(examples=[0])
    notes: list[str] = Field(default=[], examples=[[]])
    lines: list[JudgedLine] = []
    problems: list[LineProblem]


for _model in (Problem, Revoked):
    _model.model_rebuild()
