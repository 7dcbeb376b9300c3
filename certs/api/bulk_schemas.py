"""What goes in and out of the API's bulk orders."""

from __future__ import annotations

from ninja import Schema
from pydantic import Field

from certs.api.answers import CERT_ID, REQUEST
from certs.api.schemas import Closed, Csr, EndDate, Flag, Name, Text, Whole, shown_as


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

    model_config = shown_as({"items": [{"name": "api-1.example.com"}, {"name": "api-2.example.com"}], "plan_only": True})

    text: Text = Field(default="", max_length=4096)
    items: list[Item] = Field(default_factory=list)
    title: Text = Field(default="", max_length=200)


class SeenItem(Schema):
    line: int = Field(examples=[2])
    source: str = Field(examples=["row 2"])
    common_name: str = Field(examples=["api-1.example.com"])
    sans: list[str] = Field(examples=[["api-1.example.com"]])
    key: str | None = Field(examples=["ec-p256"])
    validity_days: int | None = Field(examples=[90])
    not_after: str | None = Field(examples=[None])
    profile: str | None = Field(examples=["tls-server"])
    state: str = Field(examples=["issued"])
    reason: str = Field(examples=[""])
    suggestion: str = Field(examples=[""])
    duplicate: str = Field(examples=[""])
    request: str | None = Field(examples=[REQUEST])
    cert_id: str | None = Field(examples=[CERT_ID])


class ItemPage(Schema):
    """`next_after`: ask again with it as `after`; null on the last page."""

    items: list[SeenItem]
    next_after: int | None
