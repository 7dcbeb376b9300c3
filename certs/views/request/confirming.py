"""An approval with the approver's passkey or code: read from the form, with each wrong try counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.http import HttpRequest, JsonResponse

from certs.access import login_limits
from certs.errors import TooMany
from certs.models import CertificateRequest
from certs.requests.approvals.approval import approve
from certs.requests.approvals.confirmation import CodeProof, NotConfirmed, PasskeyProof, Proof, begin
from certs.views.sign_in.forms import CredentialField
from certs.views.sign_in.guessing import WAIT_SECONDS, code_try

Decided = TypeVar("Decided")


def passkey_options(request: HttpRequest, row: CertificateRequest) -> JsonResponse:
    """Return what the portal's script asks the browser for, over the digest that the page shows."""
    options = begin(row, user=request.user, digest=request.GET.get("digest", ""), host=host_of(request))
    return JsonResponse({"request_options": options})


def approve_as_sent(request: HttpRequest, row: CertificateRequest) -> CertificateRequest:
    """Approve with the proof in the form, where there is one. Raises what `approve` raises, and TooMany."""
    return with_proof_sent(request, lambda proof: approve(row, **decision_sent(request), proof=proof))


def decision_sent(request: HttpRequest) -> dict[str, Any]:
    """Return who decides, the digest of what was shown, and the comment."""
    return {
        "user": request.user,
        "digest": request.POST.get("digest", ""),
        "comment": request.POST.get("comment", ""),
    }


def with_proof_sent(request: HttpRequest, decide: Callable[[Proof | None], Decided]) -> Decided:
    """Decide with the passkey or code in the form, where there is one; a wrong one counts as a try. Raises TooMany."""
    proof = _proof(request)
    if proof is None:
        return decide(None)
    tried = code_try(request, request.user)
    if tried is None:
        raise TooMany("Too many wrong tries with a second factor.", retry_after=WAIT_SECONDS)
    try:
        decided = decide(proof)
    except NotConfirmed:
        login_limits.failed(tried)
        raise
    login_limits.confirmed(tried)
    return decided


def _proof(request: HttpRequest) -> Proof | None:
    if credential := request.POST.get("credential", ""):
        try:
            response = CredentialField().clean(credential)
        except ValidationError as exc:
            raise NotConfirmed("This passkey was not accepted.", field="passkey", next_step="Try again.") from exc
        return PasskeyProof(response, host_of(request))
    code = request.POST.get("code", "").strip()
    return CodeProof(code) if code else None


def host_of(request: HttpRequest) -> str:
    """Return the portal's name as the browser knows it: passkeys belong to it."""
    return request.get_host().partition(":")[0]
