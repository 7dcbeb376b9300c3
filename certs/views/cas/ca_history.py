"""What happened to a CA, in plain words. The audit event itself stays below them on the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from audit.events import EventType as E
from audit.events import encode_data
from audit.models import AuditEvent
from certs.models import Issuer
from certs.views.certificate.history import PAGE, Entry

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


def words_of(event: AuditEvent) -> str:
    """Return what happened as a sentence; the name of the event where there is no sentence for it."""
    sentence = _SENTENCES.get(event.event)
    return sentence(event.actor_name, event.data) if sentence else f"{event.actor_name}: {event.event}"


Sentence = Callable[[str, Mapping[str, Any]], str]


def _created(who: str, data: Mapping[str, Any]) -> str:
    if data.get("root_sha256"):
        return f"{who} added the CA, and pinned the root {data['root_sha256'][:16]}…"
    return f"{who} made the {'root ' if data.get('root') else ''}CA with the key {data.get('key')} in {data.get('backend')}."


def _state(who: str, data: Mapping[str, Any]) -> str:
    reason = f" ({data['reason']})" if data.get("reason") else ""
    return f"{who} changed the state from {data.get('from')} to {data.get('to')}{reason}."


_SENTENCES: dict[str, Sentence] = {
    E.ISSUER_CREATED: _created,
    E.ISSUER_STATE_CHANGED: _state,
    E.ISSUER_SUCCEEDED: lambda who, data: f"{who} had {data.get('successor')} take over.",
    E.CRL_SHARD_OPENED: lambda _who, data: f"CRL shard {data.get('shard')} was opened.",
    E.CRL_PUBLISHED: lambda who, data: f"{who} published CRL number {data.get('number')}.",
    E.OCSP_RESPONDER_MADE: lambda _who, data: f"An OCSP responder was certified until {data.get('not_after')}.",
    E.CA_RECONCILED: lambda who, _data: f"{who} compared the CA with the inventory.",
    E.ISSUER_CHANGED: lambda who, _data: f"{who} changed the row of the CA.",
}
