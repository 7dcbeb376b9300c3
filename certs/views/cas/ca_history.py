"""What happened to a CA, in plain words. The audit event itself stays below them on the page."""

from __future__ import annotations

from audit.events import EventType as E
from audit.events import encode_data
from audit.models import AuditEvent
from certs.evidence.events import PAGE
from certs.evidence.words import words_of
from certs.models import Issuer
from certs.views.certificate.history import Entry

# CRLs and responders are made every few hours; without them the changes are on one page.
ROUTINE = (E.CRL_PUBLISHED, E.OCSP_RESPONDER_MADE)


def history_of_ca(issuer: Issuer, *, before: int = 0, routine: bool = False) -> tuple[list[Entry], int]:
    """Return a page of the history, newest first, and the number in its sequence to go on before, 0 on the last page.

    `routine`: with CRLs and OCSP responders.
    """
    events = AuditEvent.objects.filter(subject=f"issuer:{issuer.slug}").order_by("-subject_seq")
    if not routine:
        events = events.exclude(event__in=ROUTINE)
    if before:
        events = events.filter(subject_seq__lt=before)
    found = list(events[: PAGE + 1])
    entries = [Entry(one, words_of(one), encode_data(one.data)) for one in found[:PAGE]]
    return entries, found[PAGE - 1].subject_seq if len(found) > PAGE else 0
