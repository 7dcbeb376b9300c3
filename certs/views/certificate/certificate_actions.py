"""What the pages that change a certificate share; request sentences about one; and the release from hold."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods

from certs.access.permissions import Authority
from certs.errors import Conflict, InputRefused, NotFound, ReasonMissing
from certs.lifecycle import certificate_of
from certs.models import Certificate
from certs.renewal.plan import KeyOption
from certs.revocation.request import request_release
from certs.spec import RenewPlan, RevokePlan
from certs.views.access import authority_of, page


def certificate_to_act_on(request: HttpRequest, cert_id: str) -> tuple[Certificate, Authority]:
    """Raises NotFound for what they may not see, NotPermitted for what they may only look at."""
    authority = authority_of(request)
    certificate = authority.visible().filter(cert_id=cert_id).first()
    if certificate is None:
        raise NotFound("no such certificate")
    authority.check_may_act(certificate)
    return certificate, authority


def from_words(request: HttpRequest, plan: RenewPlan | RevokePlan) -> HttpResponse:
    """Words about a certificate lead to the page that shows what they mean. Raises InputRefused where none is meant."""
    certificate = _meant(request, plan)
    if isinstance(plan, RenewPlan):
        key_option = KeyOption.NEW if plan.new_key else KeyOption.KEEP if plan.keep_key else KeyOption.DEFAULT
        return redirect(f"{reverse('certificate-renew', args=[certificate.cert_id])}?{urlencode({'key': key_option})}")
    asked = {"reason": plan.reason} | ({"destroy_key": "on"} if plan.destroy_key else {})
    return redirect(f"{reverse('certificate-revoke', args=[certificate.cert_id])}?{urlencode(asked)}")


def asking_for_reason(request: HttpRequest, asked: ReasonMissing) -> HttpResponse:
    """Words that revoke without a reason lead to the page that asks what happened. Raises InputRefused as `from_words`."""
    certificate = _meant(request, RenewPlan(cert_id=asked.cert_id, serial_number=asked.serial_number, name=asked.name))
    return redirect("certificate-revoke", certificate.cert_id)


def _meant(request: HttpRequest, plan: RenewPlan | RevokePlan) -> Certificate:
    """Return the certificate that a sentence names; the next page says how the name was understood."""
    try:
        certificate, notes = certificate_of(plan, authority=authority_of(request))
    except (NotFound, Conflict) as exc:
        raise InputRefused(exc.message, field="text", next_step=exc.next_step) from exc
    for note in notes:
        messages.info(request, note)
    return certificate


@page
@require_http_methods(["GET", "HEAD", "POST"])
def release_page(request: HttpRequest, cert_id: str) -> HttpResponse:
    certificate, authority = certificate_to_act_on(request, cert_id)
    if request.method == "POST":
        request_release(certificate, authority=authority)
        messages.success(request, "The CA is asked to release the certificate, which is valid again as soon as the CA confirms.")
        return redirect("certificate", certificate.cert_id)
    return render(request, "certificate/release.html", {"row": certificate})
