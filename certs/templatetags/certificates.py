"""How pages and mails write the state and the end of a certificate."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from certs.inventory import CertificateState, Renewal, renewal_of
from certs.models import Certificate
from certs.templatetags.when import at, relative

register = template.Library()

# A class for the colour and a sign: nobody has to tell colours apart.
_LOOKS = {
    CertificateState.VALID: ("is-good", "●"),
    CertificateState.RENEWED: ("is-good", "✓"),
    CertificateState.RENEWING: ("is-wait", "↻"),
    CertificateState.RENEW_SOON: ("is-wait", "↻"),
    CertificateState.NEEDS_YOU: ("is-bad", "!"),
    CertificateState.EXPIRED: ("is-bad", "✕"),
    CertificateState.ON_HOLD: ("is-wait", "‖"),
    CertificateState.BEING_REVOKED: ("is-bad", "✕"),
    CertificateState.REVOKED: ("is-bad", "✕"),
}
_USES = {"tls-server": "servers (TLS server)", "tls-client": "programs and devices that log in (TLS client)"}
_BEFORE_RENEWAL = (
    CertificateState.VALID,
    CertificateState.RENEW_SOON,
    CertificateState.RENEWING,
    CertificateState.NEEDS_YOU,
)


@register.simple_tag
def state_badge(state: str, *, key_blocked: object = None) -> SafeString:
    """Write the badge of a state: colour, sign and word.

    `key_blocked`: whatever is true where the certificate's key is blocked, so that no state of it
    looks good. Reports of before hold no such fact, for which templates pass an empty text.
    """
    meant = CertificateState(state)
    look, sign = ("is-bad", "!") if key_blocked else _LOOKS[meant]
    badge = '<span class="badge-state {}"><span aria-hidden="true">{}</span> {}</span>'
    return format_html(badge, look, sign, f"{meant.label}, key blocked" if key_blocked else meant.label)


@register.simple_tag(takes_context=True)
def ends(context: dict[str, Any], not_after: datetime, now: datetime) -> SafeString:
    """Write an end date with the time until it, or since it."""
    return format_html('{} <span class="form-text text-nowrap">{}</span>', at(context, not_after, "day"), relative(not_after, now))


@register.simple_tag
def days_bar(certificate: Certificate, state: str, now: datetime) -> SafeString:
    """Draw how much of the validity is left, as an SVG that needs no style and no script."""
    life = (certificate.not_after - certificate.not_before).total_seconds()
    left = min(max((certificate.not_after - now).total_seconds() / life, 0), 1) if life > 0 else 0
    look, _ = _LOOKS[CertificateState(state)]
    title = f"{left:.0%} of its validity is left: it ends {relative(certificate.not_after, now)}"
    return format_html(
        '<svg class="days-bar" viewBox="0 0 100 6" width="100" height="6" preserveAspectRatio="none" role="img">'
        '<title>{}</title><rect class="track" width="100" height="6" rx="3"></rect>'
        '<rect class="left {}" width="{}" height="6" rx="3"></rect></svg>',
        title,
        look,
        f"{100 * left:.1f}",
    )


register.filter("distance", relative)


@register.filter
def usage(profile: str) -> str:
    """Return what a certificate of the profile is used for; the profile itself where it is not one of the usual ones."""
    return _USES.get(profile, profile)


@register.filter
def renewal(certificate: Certificate) -> str:
    """Return how the certificate is renewed, in words, with the obstacle where there is one."""
    how = renewal_of(certificate)
    if how == Renewal.BLOCKED:
        return f"{how.label}: {certificate.get_renewal_blocked_display()}"
    return str(how.label)


@register.filter
def has_renewal(state: str) -> bool:
    """Whether a certificate in that state will still be renewed, or should be."""
    return state in _BEFORE_RENEWAL
