"""Revoking a certificate: what happened, what will stop working, and what takes its place.

Each answer to "what happened?" has an address of its own, so that the page after it shows only what
belongs to that answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.dateparse import parse_date
from django.views.decorators.http import require_http_methods, require_POST

from certs.access.permissions import Authority
from certs.ca.registry import capabilities_of
from certs.enums import RefusalClass, RevocationReason
from certs.errors import Conflict, InputRefused, PolicyRefused, PortalError
from certs.installation.places import places_that_serve
from certs.language.reasons import reason_named
from certs.models import Certificate
from certs.renewal.new_csr import csr_commands
from certs.renewal.plan import KeyOption
from certs.renewal.planned_revocation import HOURS, open_plan, replace_then_revoke, to_replace, withdraw
from certs.renewal.renew import plan_renewal
from certs.revocation.key_proof import HOW, challenge_for, check_proof
from certs.revocation.revoke import CA_REASONS, Revoked, on_same_key, revoke
from certs.views.access import page
from certs.views.certificate.certificate_actions import certificate_to_act_on
from db.clock import database_now

R = RevocationReason
_MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cause:
    """What happened, as people say it, and the reason that RFC 5280 has for it."""

    reason: RevocationReason
    label: str
    meaning: str


CAUSES = (
    Cause(R.KEY_COMPROMISE, "The key may be in other hands", "A lost laptop, a leaked file, a server that was broken into."),
    Cause(R.CESSATION_OF_OPERATION, "It is not needed any more", "The service was switched off."),
    Cause(R.SUPERSEDED, "It was replaced", "Another certificate has taken its place."),
    Cause(R.CERTIFICATE_HOLD, "Just for now", "On hold until it is released again."),
)
OTHER_CAUSES = (
    Cause(R.AFFILIATION_CHANGED, "The names are no longer right", "The organisation or the names changed."),
    Cause(R.PRIVILEGE_WITHDRAWN, "Its holder may no longer have it", "A right was taken back."),
    Cause(R.UNSPECIFIED, "Another reason", "None of these; say more in the comment."),
)
CA_CAUSES = (
    Cause(R.CA_COMPROMISE, "The CA's own key is not trusted any more", "For the security team alone."),
    Cause(R.AA_COMPROMISE, "The attribute authority is not trusted any more", "For the security team alone."),
)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def revoke_page(request: HttpRequest, cert_id: str) -> HttpResponse:
    """Ask what happened; then show what the revocation means; POST does it."""
    certificate, authority = certificate_to_act_on(request, cert_id)
    if request.method != "POST":
        named = request.GET.get("reason", "")
        if named in list(R):
            return _form(request, certificate, authority, R(named))
        return _causes(request, certificate, authority)
    try:
        reason = reason_named(request.POST.get("reason", ""))
    except InputRefused as exc:
        return _causes(request, certificate, authority, error=exc)
    try:
        if reason is R.KEY_COMPROMISE and request.POST.get("how") == "replace":
            return _replaced(request, certificate, authority)
        _say(request, _revoked(request, certificate, authority, reason))
    except (InputRefused, Conflict, PolicyRefused) as exc:
        return _form(request, certificate, authority, reason, error=exc)
    return redirect("certificate", certificate.cert_id)


@page
@require_POST
def withdraw_page(request: HttpRequest, cert_id: str) -> HttpResponse:
    """Take a planned revocation back."""
    certificate, authority = certificate_to_act_on(request, cert_id)
    plan = withdraw(certificate, authority=authority)
    messages.success(request, f"The planned revocation is withdrawn. The replacement {plan.replacement.public_id} goes on.")
    return redirect("certificate", certificate.cert_id)


def _causes(request: HttpRequest, certificate: Certificate, authority: Authority, error: PortalError | None = None) -> HttpResponse:
    holds = capabilities_of(certificate.issuer.alias).holds
    context = {
        "row": certificate,
        "causes": [one for one in CAUSES if one.reason is not R.CERTIFICATE_HOLD or holds],
        "other_causes": [*OTHER_CAUSES, *(CA_CAUSES if authority.is_officer else ())],
        "plan": open_plan(certificate),
        "destroy_key": bool(request.GET.get("destroy_key")),
        "error": error,
    }
    return render(request, "certificate/revoke_why.html", context, status=error.status if error else 200)


def _form(
    request: HttpRequest,
    certificate: Certificate,
    authority: Authority,
    reason: RevocationReason,
    error: PortalError | None = None,
) -> HttpResponse:
    if reason in CA_REASONS and not authority.is_officer:
        return _causes(request, certificate, authority, error)
    is_post = request.method == "POST"
    given, now = (request.POST if is_post else request.GET), database_now()
    compromised = reason is R.KEY_COMPROMISE
    capabilities = capabilities_of(certificate.issuer.alias)
    others = on_same_key(certificate, authority=authority, now=now) if compromised else []
    chosen = set(given.getlist("also")) if is_post else {one.cert_id for one in others}
    secret = getattr(error, "refusal", "") == RefusalClass.SECRET_PASTED
    context = {
        "row": certificate,
        "cause": next(one for one in (*CAUSES, *OTHER_CAUSES, *CA_CAUSES) if one.reason is reason),
        "compromised": compromised,
        "hold": reason is R.CERTIFICATE_HOLD,
        "others": [(one, one.cert_id in chosen) for one in others],
        "places": places_that_serve(certificate, also=[one.pk for one in others]),
        "names": certificate.request.names[:5],
        "more_names": certificate.request.names[5:],
        "destroy_key": bool(given.get("destroy_key")),
        "comment": "" if secret else given.get("comment", ""),
        "since": given.get("since", ""),
        "today": now.date().isoformat(),
        "reason_stays_here": not capabilities.reports_reason,
        "challenge": challenge_for(certificate) if compromised and certificate.key_id is None and not authority.may_decide_keys else "",
        "how_to_sign": HOW,
        "will_block": authority.may_decide_keys or certificate.key_id is not None,
        "error": error,
        "now": now,
        **(_replacement(certificate, authority, now) if compromised else {}),
        "hours": given.get("hours", "24"),
        "when": given.get("when", "issued"),
        "csr": "" if secret else given.get("csr", ""),
    }
    return render(request, "certificate/revoke.html", context, status=error.status if error else 200)


def _replacement(certificate: Certificate, authority: Authority, now: datetime) -> dict[str, Any]:
    """What the page needs to offer a replacement before the revocation; nothing where none is possible."""
    plan = open_plan(certificate)
    newest = to_replace(certificate)
    living = certificate.status == Certificate.Status.GOOD and certificate.not_after > now
    if plan is not None or newest is None or not living:
        return {"plan": plan, "replaceable": False}
    try:
        renewal = plan_renewal(newest, authority=authority, key_option=KeyOption.NEW)
    except Conflict as exc:
        return {"plan": None, "replaceable": False, "not_replaceable_because": exc.message}
    return {
        "plan": None,
        "replaceable": renewal.has_external_key or renewal.may_begin,
        "not_replaceable_because": "" if renewal.has_external_key or renewal.may_begin else renewal.reason,
        "needs_csr": renewal.has_external_key,
        "needs_approval": renewal.verdict == "needs_approval",
        "commands": csr_commands(renewal) if renewal.has_external_key else [],
        "choices_of_hours": HOURS,
    }


def _replaced(request: HttpRequest, certificate: Certificate, authority: Authority) -> HttpResponse:
    """Request the replacement, plan the revocation, and show the request."""
    given, upload = request.POST, request.FILES.get("file")
    csr = upload.read(_MOST_BYTES + 1) if upload else given.get("csr", "").strip().encode()
    if certificate.request.csr_brought and not csr:
        raise InputRefused(
            "The replacement needs a CSR with a new key.",
            field="csr",
            next_step="Run the command on the server, then paste the CSR. Or revoke now.",
        )
    on_key = {one.cert_id for one in on_same_key(certificate, authority=authority, now=database_now())}
    hours = given.get("hours", "24")
    plan = replace_then_revoke(
        certificate,
        authority=authority,
        channel="portal",
        hours=int(hours) if hours.isascii() and hours.isdecimal() and len(hours) < 4 else 0,
        when_issued=given.get("when", "issued") != "deadline",
        csr=csr,
        comment=given.get("comment", "").strip()[:500],
        invalidity_date=_day(given.get("since", "").strip()),
        spared=on_key - set(given.getlist("also")),
        proven=_proven(certificate, given.get("challenge", ""), given.get("signature", "").strip()),
    )
    when = "as soon as the replacement is issued, and at the latest" if plan.when_issued else ""
    messages.success(
        request,
        f"This is the replacement. {certificate.first_name} is revoked {when} on {plan.deadline:%d %b %Y %H:%M} UTC.".replace("  ", " "),
    )
    return redirect("request", plan.replacement.public_id)


def _revoked(request: HttpRequest, certificate: Certificate, authority: Authority, reason: RevocationReason) -> Revoked:
    given = request.POST
    return revoke(
        certificate,
        reason=reason,
        authority=authority,
        comment=given.get("comment", "").strip()[:500],
        invalidity_date=_day(given.get("since", "").strip()),
        only=set(given.getlist("also")),
        destroy_key=bool(given.get("destroy_key")),
        proven=_proven(certificate, given.get("challenge", ""), given.get("signature", "").strip()),
    )


def _proven(certificate: Certificate, challenge: str, signature: str) -> bool:
    if signature:
        check_proof(certificate, challenge=challenge, signature=signature)
    return bool(signature)


def _day(text: str) -> datetime | None:
    if not text:
        return None
    try:
        day = parse_date(text)
    except ValueError:
        day = None
    if day is None:
        raise InputRefused("This is not a date.", field="since", next_step="Write it as 2026-11-24, or leave it empty.")
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _say(request: HttpRequest, done: Revoked) -> None:
    messages.success(request, f"{_counted([done.certificate, *done.also])} revoked. The portal notifies the CA now.")
    if done.key_blocked:
        messages.success(request, "The public key is refused from now on, for every team.")
    if done.case_opened:
        messages.info(request, "The security team was asked to decide whether the key is refused for everybody.")
    if done.left:
        messages.warning(request, f"Left on the same key: {', '.join(one.cert_id for one in done.left)}.")
    if done.destroying:
        messages.success(request, "The key is being destroyed; the receipt is in the audit log.")
    elif done.not_destroyed_because:
        messages.warning(request, f"The key was not destroyed. {done.not_destroyed_because}")


def _counted(certificates: Sequence[Certificate]) -> str:
    return "The certificate is" if len(certificates) == 1 else f"{len(certificates)} certificates are"
