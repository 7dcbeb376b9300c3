"""What happened to a certificate, in plain words. The audit event itself stays below them on the page."""

from __future__ import annotations

from dataclasses import dataclass

from audit.events import encode_data
from audit.models import AuditEvent
from certs.evidence.events import Selection, page_of
from certs.evidence.subjects import sources_of
from certs.evidence.words import words_of
from certs.models import Certificate


@dataclass(frozen=True, slots=True)
class Entry:
    """One event, and the sentence that says it."""

    event: AuditEvent
    words: str
    data: str


def history_of(certificate: Certificate, *, before: int = 0) -> tuple[list[Entry], int]:
    """Return a page of the history, newest first, and the event id to go on before, 0 on the last page."""
    found = page_of(Selection(sources_of(certificate)), before=before)
    return [Entry(one, words_of(one), encode_data(one.data)) for one in found.events], found.older
