"""Bulk orders over REST: ordered in one go, watched, paused, ended, taken home."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from django.conf import settings
from django.http import Http404, HttpRequest, StreamingHttpResponse
from ninja import File, Form, Query, Router, Status, UploadedFile

from certs.api.answers import Judged, OrderStatus
from certs.api.bulk_schemas import BulkOrdered, Item, ItemPage, Options, UploadOptions
from certs.api.http.auth import authority_of, requester_for, require_scope
from certs.api.http.responses import REFUSALS
from certs.api.schemas import IdempotencyKey
from certs.bulk.control import cancel_rest, go_on, pause, retry_failed
from certs.bulk.drafting.draft import lines_of
from certs.bulk.drafting.upload import lines_of_items, read_complete_lines
from certs.bulk.export import download, file_of
from certs.bulk.line_pages import SeenLine, Show, Sort, lines_page
from certs.bulk.order_now import OrderOptions, judge_lines, order_at_once
from certs.bulk.progress import as_json, progress
from certs.errors import InputRefused
from certs.models import BulkOrder
from certs.requests.plan import plan_words
from certs.requests.submit import Requester
from certs.spec import IssuePlan
from certs.uploads.line import Changed, Line
from db.clock import database_now

router = Router()
ORDERED: dict[int, Any] = {200: Judged, 202: OrderStatus, **REFUSALS}


@router.post("", response=ORDERED, exclude_unset=True, operation_id="order_bulk")
def order(request: HttpRequest, wanted: BulkOrdered, idempotency_key: IdempotencyKey = "") -> Any:
    """Many certificates, in words or item by item. Judged by the policy and submitted together; with `plan_only` only judged."""
    requester = requester_for(request, "certificates:issue", idempotency_key=idempotency_key)
    if bool(wanted.text) == bool(wanted.items):
        raise InputRefused("Send exactly one of text and items.", field="items", next_step="Leave the other one out.")
    if wanted.items:
        lines = lines_of_items([_cells(item) for item in wanted.items], requester=requester)
        return _ordered(lines, requester, wanted, title=wanted.title or f"{len(lines)} items over REST")
    plan = plan_words(wanted.text, requester=requester)
    if not isinstance(plan, IssuePlan):
        raise InputRefused(
            "These words do not ask for certificates.", field="text", next_step="Renew and revoke at a certificate's address."
        )
    return _ordered(lines_of(plan), requester, wanted, title=wanted.title or wanted.text, notes=plan.notes)


@router.post("/upload", response=ORDERED, exclude_unset=True, operation_id="order_bulk_by_upload")
def upload(request: HttpRequest, file: File[UploadedFile], options: Form[UploadOptions], idempotency_key: IdempotencyKey = "") -> Any:
    """A CSV or XLSX table, a zip of CSRs, or CSRs in PEM one after another, as multipart/form-data."""
    requester = requester_for(request, "certificates:issue", idempotency_key=idempotency_key)
    unknown = sorted(set(request.POST) - set(UploadOptions.model_fields))
    if unknown:
        raise InputRefused(
            f"There is no field {unknown[0][:64]!r}.", field="options", next_step=f"Fields: file, {', '.join(UploadOptions.model_fields)}."
        )
    # One octet more than is allowed tells a file that is too large, without reading all of it.
    name = str(file.name or "")
    lines = read_complete_lines(file.read(settings.PKI_BULK_MAX_BYTES + 1), filename=name, requester=requester)
    return _ordered(lines, requester, options, title=name)


def _cells(item: Item) -> dict[str, str]:
    if item.validity_days and item.not_after:
        raise InputRefused("An item has either validity_days or not_after.", field="not_after", next_step="Leave one of them out.")
    validity = item.not_after.isoformat() if item.not_after else str(item.validity_days or "")
    texts = {"name": item.name, "key": item.key, "profile": item.profile, "csr": item.csr}
    return texts | {"sans": " ".join(item.sans), "validity_days": validity}


def _ordered(
    lines: Collection[Line],
    requester: Requester,
    options: Options | UploadOptions,
    *,
    title: str,
    notes: Sequence[str] = (),
) -> Any:
    lines = Changed(lines, partial(_of_this_team, requester=requester))
    if options.plan_only:
        return Status(200, judge_lines(lines, requester=requester, title=title, notes=notes))
    order_options = OrderOptions(only_allowed=options.only_allowed, all_or_nothing=options.all_or_nothing)
    return Status(202, _told(order_at_once(lines, requester=requester, title=title, options=order_options, notes=notes)))


def _of_this_team(line: Line, *, requester: Requester) -> Line:
    """A token acts for one team, even where its user is in several."""
    if line.owner in ("", requester.team.slug):
        return line
    problem = f"owner: this token acts for team {requester.team.slug} only. Leave it empty, or use a token of {line.owner}."
    return replace(line, owner="", spec=None, problem=problem, field="owner")


@router.get("/{bulk_id}", response={200: OrderStatus, **REFUSALS}, exclude_unset=True, operation_id="read_bulk")
def read(request: HttpRequest, bulk_id: str) -> Any:
    """How far an order is, how fast, when it will end and why it waits."""
    return Status(200, _told(_mine(request, bulk_id, "certificates:read")))


@router.get("/{bulk_id}/items", response={200: ItemPage, **REFUSALS}, operation_id="read_bulk_items")
def items(
    request: HttpRequest,
    bulk_id: str,
    show: Show = Show.ALL,
    sort: Sort = Sort.LINE,
    after: Annotated[int, Query(ge=0, le=100_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Any:
    """Lines with what became of them, a page at a time."""
    row = _mine(request, bulk_id, "certificates:read")
    found = lines_page(row, show, teams=(row.team_id,), sort=sort, after=after, size=limit)
    return Status(200, {"items": [_seen(line) for line in found.rows], "next_after": found.after or None})


@router.post("/{bulk_id}/pause", response={200: OrderStatus, **REFUSALS}, exclude_unset=True, operation_id="pause_bulk")
def pause_order(request: HttpRequest, bulk_id: str) -> Any:
    """Begin nothing new; what is under way goes on."""
    return Status(200, _told(pause(_mine(request, bulk_id, "certificates:issue"), authority=authority_of(request))))


@router.post("/{bulk_id}/resume", response={200: OrderStatus, **REFUSALS}, exclude_unset=True, operation_id="resume_bulk")
def resume_order(request: HttpRequest, bulk_id: str) -> Any:
    """Go on with a paused order."""
    return Status(200, _told(go_on(_mine(request, bulk_id, "certificates:issue"), authority=authority_of(request))))


@router.post("/{bulk_id}/cancel", response={200: OrderStatus, **REFUSALS}, exclude_unset=True, operation_id="cancel_bulk")
def cancel_order(request: HttpRequest, bulk_id: str) -> Any:
    """What has not begun never will; what is under way is finished."""
    return Status(200, _told(cancel_rest(_mine(request, bulk_id, "certificates:issue"), authority=authority_of(request))))


@router.post("/{bulk_id}/retry", response={200: OrderStatus, **REFUSALS}, exclude_unset=True, operation_id="retry_bulk")
def retry_order(request: HttpRequest, bulk_id: str) -> Any:
    """Let failed lines go on from where they stopped, with the keys and CSRs that they have."""
    row = _mine(request, bulk_id, "certificates:issue")
    retry_failed(row, authority=authority_of(request))
    row.refresh_from_db()
    return Status(200, _told(row))


@router.get("/{bulk_id}/certificates.zip", response={200: None, **REFUSALS}, operation_id="download_bulk_certificates")
def certificates(request: HttpRequest, bulk_id: str) -> StreamingHttpResponse:
    """Every certificate in force with its chain, a PEM file each."""
    return _file(request, bulk_id, "certificates.zip")


@router.get("/{bulk_id}/inventory.csv", response={200: None, **REFUSALS}, operation_id="download_bulk_inventory")
def inventory(request: HttpRequest, bulk_id: str) -> StreamingHttpResponse:
    """A row for each certificate."""
    return _file(request, bulk_id, "inventory.csv")


@router.get("/{bulk_id}/problems.csv", response={200: None, **REFUSALS}, operation_id="download_bulk_problems")
def problems(request: HttpRequest, bulk_id: str) -> StreamingHttpResponse:
    """A row for each line that was refused or failed, with the reason and what would pass."""
    return _file(request, bulk_id, "problems.csv")


def _file(request: HttpRequest, bulk_id: str, form: str) -> StreamingHttpResponse:
    row = _mine(request, bulk_id, "certificates:read")
    # `ApiMethods` answers HEAD with GET's operation: the file is only asked about then.
    read = file_of if request.META["REQUEST_METHOD"] == "HEAD" else download
    taken = read(row, form, authority=authority_of(request))
    response = StreamingHttpResponse(taken.parts, content_type=taken.content_type)
    response["Content-Disposition"] = f'attachment; filename="{taken.filename}"'
    return response


def _mine(request: Any, bulk_id: str, scope: str) -> BulkOrder:
    require_scope(request.auth, scope)
    row = BulkOrder.objects.select_related("team", "issuer", "requester").filter(team=request.auth.team, public_id=bulk_id).first()
    if row is None:
        raise Http404
    return row


def _told(row: BulkOrder) -> dict[str, Any]:
    return as_json(row, progress(row, now=database_now())) | {"url": f"/api/v1/bulk/{row.public_id}"}


def _seen(line: SeenLine) -> dict[str, Any]:
    spec = line.item.spec or {}
    return {
        "line": line.item.number,
        "source": line.item.source,
        "common_name": line.item.common_name,
        "sans": line.names,
        "key": spec.get("key"),
        "validity_days": spec.get("validity_days"),
        "not_after": spec.get("not_after"),
        "profile": spec.get("profile"),
        "state": line.state,
        "reason": line.reason,
        "suggestion": line.advice,
        "duplicate": line.item.duplicate,
        "request": line.request.public_id if line.request else None,
        "cert_id": line.certificate.cert_id if line.certificate else None,
    }
