"""Renewing a certificate: which key, what differs, and only then the request."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from certs.access.permissions import Authority, teams_of
from certs.enums import RefusalClass
from certs.errors import InputRefused
from certs.models import Certificate
from certs.renewal.new_csr import csr_commands
from certs.renewal.plan import KeyOption, RenewalPlan, Verdict, renewal_days
from certs.renewal.renew import living_renewals, plan_renewal, plan_renewal_with_csr, renew, renew_with_csr
from certs.servers.kinds import Place
from certs.views.access import page
from certs.views.certificate.certificate_actions import certificate_to_act_on
from db.clock import database_now
from keys.spec import KeyFacts

CSR = "csr"  # the choice that needs a CSR, beside those of KeyOption
_MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the ways to renew. `url` shows its plan."""

    label: str
    meaning: str
    url: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of the certificate, before and after."""

    label: str
    before: Sequence[str]
    after: Sequence[str]

    @property
    def is_changed(self) -> bool:
        """Whether the renewal changes it."""
        return list(self.before) != list(self.after)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def renew_page(request: HttpRequest, cert_id: str) -> HttpResponse:
    """Show what a renewal would be; POST does it. With a CSR the first POST shows the plan, the second does it."""
    certificate, authority = certificate_to_act_on(request, cert_id)
    given = request.POST if request.method == "POST" else request.GET
    if given.get("key") == CSR:
        return _with_csr(request, certificate, authority)
    key_option = KeyOption(given["key"]) if given.get("key") in list(KeyOption) else KeyOption.DEFAULT
    if request.method == "POST":
        made = renew(certificate, authority=authority, channel="portal", key_option=key_option)
        if made.already:
            messages.success(request, "It is renewed already: this is the request that did it.")
        return redirect("request", made.request.public_id)
    plan = plan_renewal(certificate, authority=authority, key_option=key_option)
    return _shown(request, certificate, str(key_option), plan)


def _with_csr(request: HttpRequest, certificate: Certificate, authority: Authority) -> HttpResponse:
    template = plan_renewal(certificate, authority=authority)  # for names and key of the command
    commands = csr_commands(template)
    if request.method != "POST":
        return _shown(request, certificate, CSR, None, commands=commands)
    given, upload = request.POST, request.FILES.get("file")
    try:
        if given.get("confirmed"):
            made = renew_with_csr(certificate, _decoded(given["confirmed"]), authority=authority, channel="portal")
            return redirect("request", made.request.public_id)
        data = _sent(given.get("csr", ""), upload.read(_MOST_BYTES + 1) if upload else b"")
        plan = plan_renewal_with_csr(certificate, data, authority=authority, channel="portal")
    except InputRefused as exc:
        # A pasted secret goes back to nobody, not even to the page that it was typed into.
        kept = "" if getattr(exc, "refusal", "") == RefusalClass.SECRET_PASTED else given.get("csr", "")
        return _shown(request, certificate, CSR, None, commands=commands, csr=kept, error=exc)
    confirmed = base64.b64encode(data).decode()
    return _shown(request, certificate, CSR, plan, commands=commands, csr=given.get("csr", ""), confirmed=confirmed)


def _sent(text: str, file: bytes) -> bytes:
    """The CSR of a file, or else of the field."""
    data = file or text.encode()
    if not data.strip():
        raise InputRefused("There is no CSR.", field="csr", next_step="Paste the CSR, or choose the file that ends in .csr.")
    return data


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as exc:
        raise InputRefused("The CSR came back damaged.", field="csr", next_step="Send the CSR again.") from exc


def _shown(
    request: HttpRequest,
    certificate: Certificate,
    chosen: str,
    plan: RenewalPlan | None,
    **more: Any,
) -> HttpResponse:
    error = more.get("error")
    context = {
        "row": certificate,
        "has_ended": certificate.not_after < database_now(),
        "plan": plan,
        "chosen": chosen,
        "choices": _choices(certificate, chosen),
        "existing": living_renewals([certificate.pk]).get(certificate.pk),
        # Where nothing of the same content passes, a person asks for another content.
        "may_request": plan is not None and plan.verdict is Verdict.REFUSED and certificate.team in teams_of(request.user),
        "place": Place.SERVER if certificate.request.csr_brought else Place.VAULT,
        "needs_approval": plan is not None and plan.verdict is Verdict.NEEDS_APPROVAL,
        "differences": _differences(certificate, plan) if plan is not None else [],
    }
    return render(request, "certificate/renew.html", context | more, status=error.status if error else 200)


def _choices(certificate: Certificate, chosen: str) -> list[Choice]:
    if certificate.request.csr_brought:
        kept = "Its server keeps the key that it has. You install one new file."
        offered = [(KeyOption.DEFAULT.value, "Keep the key", kept), (CSR, "New key", "You make it on your server with one command.")]
    else:
        kept = "The key in the key store is used again."
        offered = [
            (KeyOption.DEFAULT.value, "Keep the key", kept),
            (KeyOption.NEW.value, "New key", "The portal makes it in the key store."),
            (CSR, "New key on your server", "You make it with one command; the portal never has it."),
        ]
    shown = KeyOption.DEFAULT.value if chosen == KeyOption.KEEP else chosen
    return [Choice(label, meaning, f"?key={value}", value == shown) for value, label, meaning in offered]


def _differences(certificate: Certificate, plan: RenewalPlan) -> list[Difference]:
    """The content field by field. What the policy or the CA changed stands out on the page."""
    request, spec = certificate.request, plan.spec
    place = "on your server" if plan.has_external_key else "in the key store"
    held = "on your server" if request.csr_brought else "in the key store"
    label = KeyFacts.from_name(spec.key).label
    before = f"{certificate.key_label}, {held}"
    return [
        Difference("Names", request.names, [*spec.dns_names, *spec.ip_addresses]),
        Difference("Key", [before], [f"new {label}, {place}"] if plan.new_key else [before]),
        Difference("Validity", [f"{renewal_days(request)} days"], [spec.validity.text]),
        Difference("Used for", [certificate.profile], [spec.profile]),
        Difference("CA", [certificate.issuer.name], [plan.issuer.name]),
    ]
