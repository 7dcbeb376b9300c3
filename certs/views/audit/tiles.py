"""The log at its origin: checkpoint, tiles of hashes and bundles of entries (C2SP tlog-tiles), read-only.

`PKI_AUDIT_TILES` says who reads them without signing in: nobody, everybody the hashes, or
everybody all. Who sees every team reads all of it; each bundle of entries read so is an event.
"""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_GET

from audit.events import EventType
from audit.log import record
from audit.transparency.nodes import TreeIncomplete
from audit.transparency.notes import newest_checkpoint, signed_note
from audit.transparency.tiles import EntryTooLong, NoSuchTile, TileName, content_of_tile
from certs.access.permissions import Permission, holds
from certs.evidence.export import LOG
from certs.views.access import actor_of
from db.clock import database_now

_FOREVER = "max-age=31536000, immutable"
_BRIEFLY = "max-age=2"


@require_GET
def checkpoint(request: HttpRequest, epoch: int) -> HttpResponseBase:
    """The newest signed checkpoint of an epoch."""
    if (refused := _refusal(request, entries=False)) is not None:
        return refused
    newest = newest_checkpoint(epoch) if epoch < 2**31 else None
    if newest is None:
        raise Http404
    return _answer(signed_note(newest).encode(), "text/plain; charset=utf-8", _BRIEFLY)


@require_GET
def tile(request: HttpRequest, epoch: int, name: str) -> HttpResponseBase:
    """A tile of hashes or a bundle of entries. 404 for one that the tree does not have."""
    try:
        wanted = TileName.parse(name)
    except NoSuchTile as exc:
        raise Http404 from exc
    entries = wanted.level < 0
    if (refused := _refusal(request, entries=entries)) is not None:
        return refused
    newest = newest_checkpoint(epoch) if epoch < 2**31 else None
    if newest is None:
        raise Http404
    try:
        content = content_of_tile(epoch, wanted, size=newest.tree_size)
    except NoSuchTile as exc:
        raise Http404 from exc
    except (TreeIncomplete, EntryTooLong) as exc:
        return HttpResponse(f"{exc}\n", content_type="text/plain; charset=utf-8", status=503)
    if entries and settings.PKI_AUDIT_TILES != "entries":
        with transaction.atomic():
            data = {"what": f"events {wanted.index * 256} to {wanted.index * 256 + wanted.width - 1} of epoch {epoch}"}
            record(EventType.AUDIT_EXPORTED, subject=LOG, actor=actor_of(request), at=database_now(), data=data)
    return _answer(content, "application/octet-stream", _FOREVER)


def _refusal(request: HttpRequest, *, entries: bool) -> HttpResponseBase | None:
    """Return what the reader gets instead; None for one who may read. Raises Http404 for who is signed in and may not."""
    public = settings.PKI_AUDIT_TILES
    if public == "entries" or (public == "hashes" and not entries):
        return None
    if not request.user.is_authenticated:
        return redirect_to_login(request.path)
    if not holds(request.user, Permission.SEE_EVERY_TEAM):
        raise Http404
    return None


def _answer(content: bytes, content_type: str, age: str) -> HttpResponse:
    response = HttpResponse(content, content_type=content_type)
    response["Cache-Control"] = f"{'private' if settings.PKI_AUDIT_TILES == 'nobody' else 'public'}, {age}"
    return response
