"""Advice about a certificate before it is issued: what is allowed, but may surprise."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django_celery_beat.models import PeriodicTask

from certs.ca.lifetime import cut_note, ending_of
from certs.models import Certificate, CertificateRequest, Issuer
from certs.spec import CertificateSpec, end_of_day
from certs.x509.certificate.profiles import purpose_note

NIGHTLY_IS_LATE_FOR = 3  # days of life and less


def advice_on(spec: CertificateSpec, issuer: Issuer, *, now: datetime) -> list[str]:
    """Return notes for a plan: an end earlier than requested, a key that does not serve its purpose."""
    ending = ending_of(issuer, spec.validity, now=now)
    end_note = (ending.refusal or ending.note) if ending else ""
    return [note for note in (end_note, purpose_note(spec.profile, spec.key)) if note]


def schedule_notes(specs: Sequence[CertificateSpec]) -> list[str]:
    """Return a note where the renewal schedule of now is too slow for the shortest requested life.

    A certificate is due a third of its life before its end. The nightly run alone meets that from
    four days on. Effects: up to two queries, for lives of three days and less only.
    """
    shortest = min((spec.validity_days for spec in specs if spec.validity_days), default=None)
    if shortest is None or shortest > NIGHTLY_IS_LATE_FOR:
        return []
    nightly = PeriodicTask.objects.filter(task="certs.tasks.check_expiry").exists()
    if not nightly or PeriodicTask.objects.filter(task="certs.tasks.renew_due", enabled=True).exists():
        return []
    return [
        (
            f"A certificate of {shortest} day{'s' if shortest > 1 else ''} can end before it is renewed: the schedule that "
            "renews every 15 minutes is switched off. Ask an operator to switch it on, or request at least "
            f"{NIGHTLY_IS_LATE_FOR + 1} days."
        )
    ]


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
    end_text = f"{certificate.not_after.day} {certificate.not_after:%b %Y %H:%M} UTC, not as requested ({asked.text})"
    return [f"The certificate ends on {end_text}: the CA {issuer.name} did not issue it for longer."]
