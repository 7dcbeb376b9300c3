"""How pages write the state of a CA and of its status information."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from certs.authorities.overview import CA, Problem
from certs.models import Issuer
from certs.templatetags.when import relative

register = template.Library()
register.filter("distance", relative)

_BADGE = '<span class="badge-state {}"><span aria-hidden="true">{}</span> {}</span>'


@register.simple_tag
def ca_badge(ca: CA, problems: Sequence[Problem]) -> SafeString:
    """Write the badge of a CA: colour, sign and word."""
    issuer = ca.issuer
    if issuer.state == Issuer.State.DISTRUSTED:
        look, sign, word = "is-bad", "✕", "distrusted"
    elif issuer.circuit_opened_at is not None:
        look, sign, word = "is-bad", "‖", "stopped"
    elif issuer.successor_id is not None or issuer.state == Issuer.State.REVOCATION_ONLY:
        look, sign, word = "", "✓", "succeeded: signs CRLs only" if ca.is_own else "issues no more"
    elif problems:
        look, sign, word = "is-bad", "!", "needs a person"
    else:
        look, sign, word = "is-good", "●", "trusted root" if ca.is_root else "issues"
    return format_html(_BADGE, look, sign, word)


@register.simple_tag
def status_words(ca: CA, now: datetime) -> SafeString | str:
    """Write how fresh the CRL and the OCSP responder of a CA are, in two short lines."""
    if not ca.is_own:
        return "published by its operator"
    due = [crl.next_update for crl in ca.crls]
    crl = f"CRL: next {relative(min(filter(None, due)), now)}" if due and all(due) else "CRL: never published"
    ocsp = f"OCSP: until {relative(ca.responder_until, now)}" if ca.responder_until else "OCSP: no responder yet"
    return format_html("{}<br>{}", crl, ocsp)
