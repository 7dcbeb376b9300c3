"""Kinds of audit events, as people filter by them: each event type belongs to one."""

from __future__ import annotations

from django.db.models import TextChoices

from audit.events import EventType


class EventKind(TextChoices):
    """What a filter of the audit pages selects."""

    REQUESTS = "requests", "Requests and approvals"
    CERTIFICATES = "certificates", "Certificates and revocations"
    KEYS = "keys", "Keys and CSRs"
    CAS = "cas", "CAs, CRL and OCSP"
    POLICY = "policy", "Policy"
    POWER = "power", "Accounts, teams and rights"
    SIGN_IN = "sign-in", "Sign-in"
    PORTAL = "portal", "Portal and audit log"


_BY_SUBJECT = {
    EventKind.REQUESTS: ("request", "bulk", "result", "deputy", "act"),
    EventKind.CERTIFICATES: ("certificate", "view"),
    EventKind.KEYS: ("key", "csr"),
    EventKind.CAS: ("ca", "issuer", "crl", "ocsp", "status", "intent"),
    EventKind.POLICY: ("policy", "profile", "waiver"),
    EventKind.POWER: (
        "user",
        "person",
        "group",
        "team",
        "domain",
        "token",
        "webhook",
        "invitation",
        "join",
        "second_factor",
        "second_factor_grace",
        "identity",
        "group_mapping",
    ),
    EventKind.SIGN_IN: ("login", "secret", "session"),
}
_KIND_OF = {subject: kind for kind, subjects in _BY_SUBJECT.items() for subject in subjects}
_EVALUATED = {EventType.POLICY_EVALUATED: EventKind.REQUESTS}


def kind_of(event: EventType) -> EventKind:
    """Return the kind of an event type; what is of no other kind belongs to the portal."""
    return _EVALUATED.get(event) or _KIND_OF.get(event.partition(":")[0], EventKind.PORTAL)


def types_of(kinds: tuple[EventKind, ...]) -> tuple[EventType, ...]:
    """Return the event types of some kinds, in order; none for no kind."""
    return tuple(event for event in EventType if kind_of(event) in kinds)
