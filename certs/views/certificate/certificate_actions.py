"""Renewing, revoking and releasing a certificate: what it would mean is shown first, then it is done."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.dateparse import parse_date
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods

from certs.access.permissions import Authority
from certs.ca.registry import capabilities_of
from certs.enums import RevocationReason
from certs.errors import Conflict, InputRefused, NotFound
from certs.language.reasons import reason_named
from certs.lifecycle import certificate_of
from certs.models import Certificate
from certs.renewal.plan import KeyWish
from certs.renewal.renew import living_renewals, plan_renewal, renew
from certs.revocation.key_proof import HOW, challenge_for, check_proof
from certs.revocation.request import request_release
from certs.revocation.revoke import Revoked, on_same_key, revoke
from certs.spec import RenewPlan, RevokePlan
from certs.views.access import authority_of, page
from db.clock import database_now

# In the order in which people need them; what each means, for those who do not know RFC 5280.
REASONS = (
    (RevocationReason.SUPERSEDED, "superseded", "it was replaced by another certificate"),
    (RevocationReason.CESSATION_OF_OPERATION, "cessation of operation", "the service is no longer used"),
    (RevocationReason.KEY_COMPROMISE, "key compromise", "somebody else may have the private key"),
    (RevocationReason.AFFILIATION_CHANGED, "affiliation changed", "the names or the organisation are no longer right"),
    (RevocationReason.PRIVILEGE_WITHDRAWN, "privilege withdrawn", "the holder may no longer have it"),
    (RevocationReason.CERTIFICATE_HOLD, "on hold", "for now; it can be released again"),
    (RevocationReason.CA_COMPROMISE, "CA compromise", "the CA's own key is not trusted any more"),
    (RevocationReason.AA_COMPROMISE, "AA compromise", "the attribute authority is not trusted any more"),
    (RevocationReason.UNSPECIFIED, "unspecified", "none of these"),
)


def _mine(request: HttpRequest, cert_id: str) -> tuple[Certificate, Authority]:
    """Raises NotFound for what they may not see, NotPermitted for what they may only look at."""
    authority = authority_of(request)
    certificate = authority.visible().filter(cert_id=cert_id).first()
    if certificate is None:
        raise NotFound("no such certificate")
    authority.check_may_act(certificate)
    return certificate, authority


def from_words(request: HttpRequest, plan: RenewPlan | RevokePlan) -> HttpResponse:
    """Words about a certificate lead to the page that shows what they mean. Raises InputRefused where none is meant."""
    try:
        certificate, notes = certificate_of(plan, authority=authority_of(request))
    except (NotFound, Conflict) as exc:
        raise InputRefused(exc.message, field="text", next_step=exc.next_step) from exc
    for note in notes:
        messages.info(request, note)
    if isinstance(plan, RenewPlan):
        wish = KeyWish.NEW if plan.new_key else KeyWish.KEEP if plan.keep_key else KeyWish.DEFAULT
        return redirect(f"{reverse('certificate-renew', args=[certificate.cert_id])}?{urlencode({'key': wish})}")
    asked = {"reason": plan.reason} | ({"destroy_key": "on"} if plan.destroy_key else {})
    return redirect(f"{reverse('certificate-revoke', args=[certificate.cert_id])}?{urlencode(asked)}")


@page
@require_http_methods(["GET", "HEAD", "POST"])
def renew_page(request: HttpRequest, cert_id: str) -> HttpResponse:
    certificate, authority = _mine(request, cert_id)
    given = request.POST if request.method == "POST" else request.GET
    wish = KeyWish(given["key"]) if given.get("key") in list(KeyWish) else KeyWish.DEFAULT
    if request.method == "POST":
        made = renew(certificate, authority=authority, door="portal", wish=wish)
        if made.already:
            messages.success(request, "It is renewed already: this is the request that did it.")
        return redirect("request", made.request.public_id)
    existing = living_renewals([certificate.pk]).get(certificate.pk)
    plan = plan_renewal(certificate, authority=authority, wish=wish)
    wishes = ((KeyWish.DEFAULT, "Keep the key"), (KeyWish.NEW, "Make a new key"))
    context = {"row": certificate, "plan": plan, "existing": existing, "wish": wish, "wishes": wishes}
    return render(request, "portal/renew.html", context)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def revoke_page(request: HttpRequest, cert_id: str) -> HttpResponse:
    certificate, authority = _mine(request, cert_id)
    if request.method != "POST":
        return _revoke_form(request, certificate, authority)
    try:
        done = _revoked(request, certificate, authority)
    except (InputRefused, Conflict) as exc:
        return _revoke_form(request, certificate, authority, error=exc)
    _say(request, done)
    return redirect("certificate", certificate.cert_id)


def _revoked(request: HttpRequest, certificate: Certificate, authority: Authority) -> Revoked:
    given = request.POST
    comment = given.get("comment", "").strip()
    return revoke(
        certificate,
        reason=reason_named(given.get("reason", "")),
        authority=authority,
        comment=comment[:500],
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


def _revoke_form(request: HttpRequest, certificate: Certificate, authority: Authority, error: Any = None) -> HttpResponse:
    given = request.POST if request.method == "POST" else request.GET
    capabilities = capabilities_of(certificate.issuer.alias)
    others = on_same_key(certificate, authority=authority, now=database_now())
    chosen = set(given.getlist("also")) if request.method == "POST" else {one.cert_id for one in others}
    context = {
        "row": certificate,
        "reasons": [one for one in REASONS if one[0] != RevocationReason.CERTIFICATE_HOLD or capabilities.holds],
        "reason": given.get("reason", ""),
        "others": [(one, one.cert_id in chosen) for one in others],
        "destroy_key": bool(given.get("destroy_key")),
        "comment": "" if getattr(error, "refusal", "") else given.get("comment", ""),
        "since": given.get("since", ""),
        "today": database_now().date().isoformat(),
        "reason_stays_here": not capabilities.reports_reason,
        "challenge": challenge_for(certificate) if certificate.key_id is None and not authority.may_decide_keys else "",
        "how_to_sign": HOW,
        "will_block": authority.may_decide_keys or certificate.key_id is not None,
        "error": error,
    }
    return render(request, "portal/revoke.html", context, status=error.status if error else 200)


def _say(request: HttpRequest, done: Revoked) -> None:
    count = 1 + len(done.also)
    what = "It is revoked" if count == 1 else f"{count} certificates are revoked"
    messages.success(request, f"{what}; the CA is told now.")
    if done.key_blocked:
        messages.success(request, "Their public key is refused from now on, whoever sends it.")
    if done.case_opened:
        messages.info(request, "The security team was asked to decide whether the key is refused for everybody.")
    if done.left:
        messages.warning(request, f"Left on the same key: {', '.join(one.cert_id for one in done.left)}.")
    if done.destroying:
        messages.success(request, "The key is being destroyed; the receipt is in the audit log.")
    elif done.not_destroyed_because:
        messages.warning(request, f"The key was not destroyed. {done.not_destroyed_because}")


@page
@require_http_methods(["GET", "HEAD", "POST"])
def release_page(request: HttpRequest, cert_id: str) -> HttpResponse:
    certificate, authority = _mine(request, cert_id)
    if request.method == "POST":
        request_release(certificate, authority=authority)
        messages.success(request, "The CA is asked to release it; it is good again as soon as the CA confirms.")
        return redirect("certificate", certificate.cert_id)
    return render(request, "portal/release.html", {"row": certificate})
