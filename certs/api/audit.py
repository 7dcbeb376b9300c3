"""The audit log over REST: the proof of a certificate, and checkpoints. A token reads no events of others."""

from __future__ import annotations

import base64
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Field, Router, Schema

from audit.transparency.notes import newest_checkpoint, signed_note
from certs.api.http.auth import authority_of, require_scope
from certs.api.http.responses import REFUSALS
from certs.api.schemas import Closed, Text, shown_as
from certs.errors import NotFound
from certs.evidence.archive import CONTENT_TYPE, archive_of, file_name
from certs.evidence.consistency import LONGEST, compare
from certs.evidence.proof import proof_of_certificate, record_download
from certs.models import Certificate

certificates = Router()
log = Router()


CHECKPOINT = "pki.example.com/audit/epoch-1\n7492\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— pki.example.com/audit/epoch-1 …\n"


class EarlierCheckpoint(Closed):
    """A checkpoint that you kept."""

    model_config = shown_as({"checkpoint": CHECKPOINT})

    checkpoint: Text = Field(max_length=LONGEST, description="The signed note (C2SP tlog-checkpoint), as it was downloaded.")


class Continuation(Schema):
    """Whether the log continues a checkpoint."""

    success: bool = Field(examples=[True], description="Whether the newest checkpoint of the same epoch continues the one that was sent.")
    problem: str = Field(examples=[""])
    old_size: int = Field(examples=[7492])
    new_size: int = Field(examples=[7731])
    checkpoint: str = Field(examples=[CHECKPOINT], description="The newest signed checkpoint of the epoch.")
    proof: list[str] = Field(examples=[["5u4b…", "q0XW…"]], description="The consistency proof (RFC 9162 2.1.4), hashes in base64.")
    later_epoch: int = Field(examples=[0], description="The epoch that is sealed now, if it is a later one; else 0.")


@certificates.get("/{cert_id}/proof", response={200: None, **REFUSALS}, operation_id="download_proof")
def proof(request: HttpRequest, cert_id: str) -> HttpResponse:
    """A ZIP archive with the audit events of the certificate, their inclusion proofs, the signed checkpoint, the
    verifier key, and CHECK.txt, which says how to verify it without the portal. 503 until something is sealed.
    """
    require_scope(request.auth, "certificates:read")  # type: ignore[attr-defined]
    rows = Certificate.objects.select_related("body", "chain", "request__bulk_item__order")
    row = rows.filter(team=request.auth.team, cert_id=cert_id).first()  # type: ignore[attr-defined]
    if row is None:
        raise Http404
    found = proof_of_certificate(row)
    # `ApiMethods` answers HEAD with GET's operation: the file is only asked about then.
    if request.META["REQUEST_METHOD"] != "HEAD":
        record_download(found, authority=authority_of(request))
    response = HttpResponse(archive_of(found), content_type=CONTENT_TYPE)
    response["Content-Disposition"] = f'attachment; filename="{file_name(found)}"'
    return response


@log.get("/checkpoint", response={200: None, **REFUSALS}, operation_id="read_checkpoint")
def checkpoint(request: HttpRequest) -> HttpResponse:
    """The newest signed checkpoint of the audit log, as text. Keep it: `/audit/consistency` compares it later."""
    require_scope(request.auth, "certificates:read")  # type: ignore[attr-defined]
    newest = newest_checkpoint()
    if newest is None:
        raise NotFound("Nothing is sealed yet.", next_step="Try again in a minute.")
    return HttpResponse(signed_note(newest), content_type="text/plain; charset=utf-8")


@log.post("/consistency", response={200: Continuation, **REFUSALS}, operation_id="compare_checkpoint")
def consistency(request: HttpRequest, earlier: EarlierCheckpoint) -> Any:
    """Compare a checkpoint that you kept with the newest: the proof shows that the log continues it, or `problem` says why not."""
    require_scope(request.auth, "certificates:read")  # type: ignore[attr-defined]
    found = compare(earlier.checkpoint)
    return {
        "success": found.continues,
        "problem": found.problem,
        "old_size": found.older.size,
        "new_size": found.newest.tree_size,
        "checkpoint": found.note,
        "proof": [base64.b64encode(one).decode() for one in found.proof],
        "later_epoch": found.later_epoch,
    }
