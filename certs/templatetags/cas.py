"""How pages write the state of a CA and of its status information."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from certs.authorities.overview import CA, Problem
from certs.errors import InputRefused
from certs.models import Issuer
from certs.templatetags.when import relative

register = template.Library()
register.filter("distance", relative)


@register.filter
def day_of(moment: str | None) -> str:
    """Write the day of a moment that a kept forecast has as ISO 8601; nothing for none."""
    at = datetime.fromisoformat(moment) if moment else None
    return f"{at.day} {at:%b %Y}" if at else ""


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
    ocsp = f"OCSP: ends {relative(ca.responder_until, now)}" if ca.responder_until else "OCSP: no responder yet"
    return format_html("{}<br>{}", crl, ocsp)


@register.simple_tag
def field_of(name: str, label: str, text: str, given: Mapping[str, str], wrong: InputRefused | None, most: int) -> SafeString:
    """Write a text field with its label and help; what was typed is kept, and the field at fault is marked."""
    is_wrong = wrong is not None and wrong.field == name
    return format_html(
        '<div class="mb-3"><label class="form-label" for="{0}">{1}</label><input class="form-control{5}" id="{0}" name="{0}" '
        'maxlength="{4}" autocomplete="off" value="{3}" aria-describedby="{0}-help"{6}>'
        '<div class="form-text" id="{0}-help">{2}</div></div>',
        name,
        label,
        text,
        given.get(name, ""),
        most,
        " is-invalid" if is_wrong else "",
        format_html(' aria-invalid="{}" autofocus', "true") if is_wrong else "",
    )
