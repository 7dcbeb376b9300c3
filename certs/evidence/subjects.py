"""Which audit events belong to an object: the subjects that they are written under."""

from __future__ import annotations

from dataclasses import dataclass

from audit.events import EventType
from certs.models import Certificate


@dataclass(frozen=True, slots=True)
class Source:
    """A set of events with an index of its own: those of some subjects, those by an actor, or one event.

    `events` narrows them to some types.
    """

    subjects: tuple[str, ...] = ()
    actor: str = ""
    number: int = 0
    events: tuple[EventType, ...] = ()


def sources_of(certificate: Certificate) -> tuple[Source, ...]:
    """Return the events of a certificate and its request, and the downloads of the whole order that it was issued in."""
    own = Source(subjects=(f"certificate:{certificate.cert_id}", certificate.request.subject))
    item = certificate.request.bulk_item
    if item is None:
        return (own,)
    return own, Source(subjects=(item.order.subject,), events=(EventType.CERTIFICATE_DOWNLOADED,))
