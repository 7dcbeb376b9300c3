"""What people should know of a certificate before it is issued, although nothing forbids it."""

from __future__ import annotations

from datetime import datetime

from certs.ca.lifetime import cut_note, ending_of
from certs.intake.spec import CertificateSpec
from certs.models import Certificate, CertificateRequest, Issuer
from certs.validity import end_of_day
from certs.x509.profiles import purpose_note


def advice_on(spec: CertificateSpec, issuer: Issuer, *, now: datetime) -> list[str]:
    """Return notes for a plan: an end earlier than requested, a key that does not serve its purpose."""
    ending = ending_of(issuer, spec.validity, now=now)
    end_note = (ending.refusal or ending.note) if ending else ""
    return [note for note in (end_note, purpose_note(spec.profile, spec.key)) if note]


def shortened(certificate: Certificate, request: CertificateRequest) -> list[str]:
    """Return the note of an answer whose certificate ends a day or more before the requested end.

    `request` is an argument because a certificate that was made a moment ago does not refer to the
    row of its request any more: `certificate.request` would be a query.
    """
    asked = request.validity
    end = end_of_day(asked.not_after) if asked.not_after else None
    missing = end - certificate.not_after if end else certificate.issued_at - certificate.not_after
    if missing.days + (asked.days or 0) < 1:
        return []
    issuer = certificate.issuer
    if issuer.certificate_der is not None:
        return [cut_note(certificate.not_after, asked, now=certificate.issued_at, issuer=issuer)]
    end_text = f"{certificate.not_after:%d %b %Y %H:%M} UTC, not as requested ({asked.text})"
    return [f"The certificate ends on {end_text}: the CA {issuer.name} did not issue it for longer."]
