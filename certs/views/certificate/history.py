"""What happened to a certificate, in plain words. The audit event itself stays below them on the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from audit.events import EventType as E
from audit.events import encode_data
from audit.models import AuditEvent
from certs.models import Certificate

PAGE = 50
_DECISIONS = {"allow": "allowed it", "deny": "refused it", "needs_approval": "asked for an approval"}
_FIELDS = {"critical_function": "critical function"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One event, and the sentence that says it."""

    event: AuditEvent
    words: str
    data: str


def history_of(certificate: Certificate, *, before: int = 0) -> tuple[list[Entry], int]:
    """Return a page of the history, newest first, and the event id to go on before, 0 on the last page."""
    events = _events(certificate)
    if before:
        events = events.filter(pk__lt=before)
    found = list(events.order_by("-pk")[: PAGE + 1])
    entries = [Entry(one, words_of(one), encode_data(one.data)) for one in found[:PAGE]]
    return entries, found[PAGE - 1].pk if len(found) > PAGE else 0


def _events(certificate: Certificate) -> QuerySet[AuditEvent]:
    """Its own events, its request's, and the downloads of the whole order that it was issued in."""
    wanted = Q(subject__in=(f"certificate:{certificate.cert_id}", certificate.request.subject))
    if certificate.request.bulk_item is not None:
        wanted |= Q(subject=certificate.request.bulk_item.order.subject, event=E.CERTIFICATE_DOWNLOADED)
    return AuditEvent.objects.filter(wanted)


def words_of(event: AuditEvent) -> str:
    """Return what happened as a sentence; the name of the event where there is no sentence for it."""
    sentence = _SENTENCES.get(event.event)
    return sentence(event.actor_name, event.data) if sentence else f"{event.actor_name}: {event.event}"


Sentence = Callable[[str, Mapping[str, Any]], str]


def _evaluated(_who: str, data: Mapping[str, Any]) -> str:
    outcome = str(data.get("outcome"))
    return f"Policy {data.get('policy_version')} {_DECISIONS.get(outcome, outcome)}."


def _key(_who: str, data: Mapping[str, Any]) -> str:
    if "key" not in data:
        return "The requester's own key was recorded: the portal has only its public half."
    return f"The portal {'kept the key' if data.get('reused') else 'made the key'} {data['key']} in {data.get('backend')}."


def _csr(_who: str, data: Mapping[str, Any]) -> str:
    return "The CSR of the requester was checked." if data.get("brought") else "The portal made the CSR."


def _approved(who: str, data: Mapping[str, Any]) -> str:
    comment = data.get("comment")
    return f"{who} approved the request{f': {comment}' if comment else '.'}"


def _revocation(who: str, data: Mapping[str, Any]) -> str:
    before = f" Before it was revoked as {data['earlier_reason']}." if "earlier_reason" in data else ""
    return f"{who} revoked the certificate as {data.get('reason')}.{before}"


def _described(who: str, data: Mapping[str, Any]) -> str:
    changed = [_FIELDS.get(name, name) for name in data if not name.endswith("_before")]
    return f"{who} changed {' and '.join(filter(None, (', '.join(changed[:-1]), changed[-1] if changed else '')))}."


def _switched(who: str, data: Mapping[str, Any]) -> str:
    off = data.get("renewal") == "off"
    return f"{who} switched the renewal {'off' if off else 'on'}{': ' + str(data.get('reason')) if off else '.'}"


def _downloaded(who: str, data: Mapping[str, Any]) -> str:
    whole = " with the other certificates of its order" if "certificates" in data else ""
    return f"{who} downloaded {data.get('form')}{whole}."


_SENTENCES: dict[str, Sentence] = {
    E.REQUEST_SUBMITTED: lambda who, data: f"{who} requested the certificate for team {data.get('team')}.",
    E.POLICY_EVALUATED: _evaluated,
    E.REQUEST_APPROVED: _approved,
    E.REQUEST_HELD: lambda _who, data: f"The request waited: {data.get('reason', 'the CA or the key backend was away')}.",
    E.REQUEST_RESUMED: lambda who, _data: f"{who} let the request go on.",
    E.KEY_GENERATED: _key,
    E.KEY_RECORDED: _key,
    E.KEY_ROTATED: lambda _who, data: f"The portal made version {data.get('version')} of the key {data.get('key')}.",
    E.CSR_CREATED: _csr,
    E.CA_SUBMITTED: lambda _who, data: f"{data.get('issuer', 'The CA')} was asked to sign the certificate.",
    E.CA_UNAVAILABLE: lambda _who, data: f"{data.get('issuer', 'The CA')} did not answer.",
    E.CERTIFICATE_ISSUED: lambda _who, data: f"{data.get('issuer')} signed the certificate, and the portal verified it.",
    E.CERTIFICATE_RECORDED: lambda _who, _data: "The certificate was added to the inventory.",
    E.CERTIFICATE_RENEWED: lambda _who, data: f"{data.get('renewed_by')} took its place.",
    E.CERTIFICATE_RENEWAL_REFUSED: lambda _who, data: f"The renewal was refused: {data.get('reason')}",
    E.CERTIFICATE_REVOCATION_REQUESTED: _revocation,
    E.CERTIFICATE_REVOKED: lambda _who, data: f"{data.get('issuer')} confirmed the revocation as {data.get('reason')}.",
    E.CERTIFICATE_RELEASE_REQUESTED: lambda who, _data: f"{who} asked for the release from hold.",
    E.CERTIFICATE_RELEASED: lambda _who, data: f"{data.get('issuer')} released the certificate from hold.",
    E.CERTIFICATE_DESCRIBED: _described,
    E.CERTIFICATE_REVIEWED: lambda who, data: f"{who} reviewed the certificate on {data.get('last_review')}.",
    E.CERTIFICATE_RENEWAL_SWITCHED: _switched,
    E.CERTIFICATE_DOWNLOADED: _downloaded,
}
