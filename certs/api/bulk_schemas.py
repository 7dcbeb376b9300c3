"""What goes in and out of the API's bulk orders."""

from __future__ import annotations

from typing import Any

from ninja import Schema
from pydantic import Field

from certs.api.schemas import Closed, Csr, EndDate, Flag, Name, Open, Text, Whole


class Item(Closed):
    """One certificate. Empty fields come from the policy; with a CSR, name, sans and key may be empty."""

    name: Text = Field(default="", max_length=253, description="The common name, such as api.example.com.")
    sans: list[Name] = Field(default_factory=list, max_length=200)
    key: Text = Field(default="", max_length=40, description="Such as RSA 4096, P-256 or ec-p256.")
    validity_days: Whole = Field(default=0, ge=0, le=10_000, description="0 for the policy's default.")
    not_after: EndDate = Field(default=None, description="The last day of validity (UTC), in place of validity_days.")
    profile: Text = Field(default="", max_length=64)
    csr: Csr = Field(default="", description="PKCS#10 request in PEM.")


class Options(Closed):
    plan_only: Flag = Field(default=False, description="Judge every line, and keep nothing.")
    only_allowed: Flag = Field(default=False, description="Leave out what cannot be issued. By default it ends as refused, on record.")
    all_or_nothing: Flag = Field(default=False, description="Do nothing when a line cannot be issued.")


class UploadOptions(Closed):
    """The same as fields of a form, where every value is a text."""

    plan_only: bool = Field(default=False, description="Judge every line, and keep nothing.")
    only_allowed: bool = Field(default=False, description="Leave out what cannot be issued.")
    all_or_nothing: bool = Field(default=False, description="Do nothing when a line cannot be issued.")


class BulkOrdered(Options):
    """Exactly one of `text` (such as "Issue certificates for api-1 through api-10, all RSA 4096, 90 days") and `items`."""

    text: Text = Field(default="", max_length=4096)
    items: list[Item] = Field(default_factory=list)
    title: Text = Field(default="", max_length=200)


class Judged(Schema):
    """What would be done; `lines` and `problems` hold the first hundred. `notes`: what was assumed for all lines together."""

    success: bool
    total: int
    outcomes: dict[str, int]
    duplicates: int
    notes: list[str] = []
    lines: list[dict[str, Any]] = []
    problems: list[dict[str, Any]]


class OrderStatus(Open):
    """How far an order is. `counts` by what became of its lines, `rate` in certificates a second, `ends_at` while it can be told."""

    bulk_id: str
    state: str
    total: int
    issued: int
    failed: int


class SeenItem(Schema):
    line: int
    source: str
    common_name: str
    sans: list[str]
    key: str | None
    validity_days: int | None
    not_after: str | None
    profile: str | None
    state: str
    reason: str
    suggestion: str
    duplicate: str
    request: str | None
    cert_id: str | None


class ItemPage(Schema):
    """`next_after`: ask again with it as `after`; null on the last page."""

    items: list[SeenItem]
    next_after: int | None
