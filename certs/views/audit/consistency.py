"""Checkpoints: the newest to keep, and the comparison of one that somebody kept with the log of today."""

from __future__ import annotations

import base64

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_safe

from audit.models import EpochKey
from audit.transparency.notes import newest_checkpoint, signed_note
from certs.errors import InputRefused
from certs.evidence.consistency import LONGEST, Comparison, compare
from certs.evidence.seal import seal_of
from certs.evidence.witnesses import witness_lines
from certs.views.access import page
from db.clock import database_now


@page
@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    """GET shows the newest checkpoint; POST compares the one that is pasted, or chosen as a file, with it."""
    wrong: InputRefused | None = None
    found: Comparison | None = None
    text = ""
    if request.method == "POST":
        text = _text(request)
        try:
            found = compare(text)
        except InputRefused as exc:
            wrong = exc
    now = database_now()
    seal = seal_of(now)
    context = {
        "found": found,
        "lines": "\n".join(base64.b64encode(one).decode() for one in found.proof) if found else "",
        "wrong": wrong,
        "text": text,
        "seal": seal,
        "newest": signed_note(seal.checkpoint) if seal.checkpoint else "",
        "keys": EpochKey.objects.order_by("-epoch"),
        "comparing": True,
        "witnesses": witness_lines(now),
        "now": now,
    }
    return render(request, "audit/consistency.html", context, status=422 if wrong else 200)


@page
@require_safe
def checkpoint(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - a view's signature
    """The newest signed checkpoint as a file to keep."""
    newest = newest_checkpoint()
    if newest is None:
        raise Http404
    response = HttpResponse(signed_note(newest), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="checkpoint-{newest.epoch}-{newest.tree_size}.txt"'
    return response


def _text(request: HttpRequest) -> str:
    """Return what was pasted, or the content of the chosen file."""
    file = request.FILES.get("file")
    if file is None:
        return request.POST.get("checkpoint", "")[:LONGEST]
    return bytes(file.read(LONGEST)).decode("utf-8", "replace")
