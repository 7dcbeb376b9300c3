"""Digests: certificates that were issued or renewed, in one mail for each recipient.

The transaction that records a certificate only writes a small row. The mails are composed later, so
that 10,000 renewals of a night become one mail for each person and not 10,000.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from django.db import transaction

from certs.enums import RevocationReason
from certs.inventory.filters import CertificateFilter
from certs.inventory.states import CertificateState, states_of
from certs.models import Certificate, DigestEntry, Webhook
from certs.notifications.audience import Audience, owner_and_team, owner_of, to_addresses
from certs.notifications.delivery.deliveries import queue_deliveries
from certs.notifications.installing import installation_of
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.notifications.wording import count_of, days_left, name_of, short_day, so_many
from db.clock import database_now
from db.rows import insert

# UTC: after the renewals of the night, before people start to work.
DAILY_AT = timedelta(hours=6)
LINES = 50  # certificates that a mail lists; it counts the others
# More certificates than a CA signs in the ten seconds between two runs.
ANNOUNCED_AT_ONCE, BATCHES_A_RUN = 1000, 20
_TO_INSTALL = (Topic.ISSUED, Topic.RENEWED)
TOPICS = (Topic.ISSUED, Topic.ISSUED_BY_PROGRAM, Topic.RENEWED, Topic.REVOKED)


@dataclass(frozen=True, slots=True)
class Line:
    """One certificate in a digest. `old_ends`: the end of the one that it replaces. `reason`, `by`:
    of its revocation. `in_vault`: its key is in a key store that keeps it. `state`: as pages show it, when the mail is written.
    """

    pk: int
    cert_id: str
    name: str
    ends: datetime
    old_ends: datetime | None
    reason: str = ""
    by: str = ""
    in_vault: bool = False
    state: CertificateState = CertificateState.VALID

    @property
    def deadline(self) -> datetime:
        """Return the time by which the certificate must be installed: then what is in use ends."""
        return self.old_ends or self.ends


@dataclass(slots=True)
class _Part:
    """The digest of one recipient: holds the LINES most urgent certificates, counts all."""

    since: datetime
    lines: list[Line] = field(default_factory=list)
    total: int = 0

    def add(self, line: Line) -> None:
        self.total += 1
        self.lines.append(line)
        if len(self.lines) > 2 * LINES:
            self._cut()

    def _cut(self) -> None:
        self.lines.sort(key=lambda line: (line.deadline, line.name))
        del self.lines[LINES:]

    def finished(self) -> list[Line]:
        self._cut()
        return self.lines


def note_for_digest(topic: Topic, certificates: Sequence[Certificate], *, now: datetime) -> None:
    """Put the certificates into the next digest of the topic. Webhooks are notified within seconds.

    Needs the transaction that recorded them, and costs it one row for each certificate.
    """
    insert(digest_entries(topic, certificates, now=now))


def digest_entries(topic: Topic, certificates: Sequence[Certificate], *, now: datetime) -> list[DigestEntry]:
    """The same as rows that are to be written with the certificates."""
    return [DigestEntry(topic=topic, certificate=one, at=now) for one in certificates]


def announce() -> int:
    """Write the messages for webhooks about certificates noted since the last run.

    Returns the number of certificates.
    """
    if not Webhook.objects.filter(removed_at=None, disabled_at=None).exists():
        return DigestEntry.objects.filter(announced=False, batch=None).update(announced=True)
    done = 0
    for topic in TOPICS:
        for _ in range(BATCHES_A_RUN):
            count = _announce(topic)
            done += count
            if count < ANNOUNCED_AT_ONCE:
                break
    return done


@transaction.atomic
def _announce(topic: Topic) -> int:
    fresh = DigestEntry.objects.filter(topic=topic, announced=False, batch=None)
    fresh = fresh.select_for_update(of=("self",), skip_locked=True)
    entries = list(fresh.select_related("certificate").order_by("pk")[:ANNOUNCED_AT_ONCE])
    if not entries:
        return 0
    certificates = [entry.certificate for entry in entries]
    summary = f"{so_many(len(entries), 'certificate')} {topic.replace('-', ' ')}"
    queue_deliveries(topic, key=str(uuid.uuid4()), certificates=certificates, subject=summary, now=database_now())
    DigestEntry.objects.filter(pk__in=[entry.pk for entry in entries]).update(announced=True)
    return len(entries)


def write_due_digests() -> int:
    """Write the digests that are due. Returns the number of mails."""
    now = database_now()
    return sum(_write(topic, before=_boundary(topic, now), now=now) for topic in TOPICS)


def _boundary(topic: Topic, now: datetime) -> datetime:
    """Return the time before which entries are due: now, or the last DAILY_AT."""
    if topic in (Topic.ISSUED, Topic.REVOKED):
        return now
    today = now.replace(hour=0, minute=0, second=0, microsecond=0) + DAILY_AT
    return today if today <= now else today - timedelta(days=1)


@transaction.atomic
def _write(topic: Topic, *, before: datetime, now: datetime) -> int:
    # Two workers at once: the UPDATE of the second waits for the first, and then finds nothing.
    # An entry that webhooks were not notified of yet waits for the next run.
    batch = uuid.uuid4()
    due = DigestEntry.objects.filter(topic=topic, at__lte=before, announced=True, batch=None)
    if not due.update(batch=batch):
        return 0
    parts = _by_recipient(topic, batch)
    DigestEntry.objects.filter(batch=batch).delete()
    return sum(_write_mail(topic, recipient, part, batch, now) for recipient, part in parts.items())


def _by_recipient(topic: Topic, batch: uuid.UUID) -> dict[str, _Part]:
    rows = DigestEntry.objects.filter(batch=batch).order_by("pk")
    rows = rows.select_related("certificate__team", "certificate__owner")
    rows = rows.select_related("certificate__renewed_from", "certificate__revocation")
    audiences: dict[tuple[int, int | None], list[str]] = {}
    parts: dict[str, _Part] = {}
    for entry in rows.iterator(chunk_size=1000):
        one = entry.certificate
        whose = (one.team_id, one.owner_id)
        if whose not in audiences:
            audiences[whose] = _audience(topic, one).recipients(topic)
        old = one.renewed_from
        revocation = getattr(one, "revocation", None) if topic is Topic.REVOKED else None
        line = Line(
            one.pk,
            one.cert_id,
            name_of(one),
            one.not_after,
            old.not_after if old else None,
            reason=revocation.reason if revocation is not None else "",
            by=revocation.requested_by if revocation is not None else "",
            in_vault=one.key_id is not None,
        )
        for recipient in audiences[whose]:
            parts.setdefault(recipient, _Part(entry.at)).add(line)
    return parts


def _audience(topic: Topic, certificate: Certificate) -> Audience:
    if topic in (Topic.RENEWED, Topic.REVOKED):
        return owner_and_team(certificate)
    return owner_of(certificate)


def _write_mail(topic: Topic, recipient: str, part: _Part, batch: uuid.UUID, now: datetime) -> int:
    finished = part.finished()
    states = states_of([line.pk for line in finished], now)
    lines = [replace(line, state=states[line.pk]) for line in finished]
    names = count_of([line.name for line in lines], part.total)
    deadline = lines[0].deadline
    by_when = f"Install by {short_day(deadline)}: {names} ({days_left(deadline, now)})"
    subject, template = {
        Topic.RENEWED: (by_when, "renewed"),
        Topic.REVOKED: (_revoked_subject(lines, names), "revoked"),
    }.get(topic, (f"Ready: {names}", "issued"))
    return notify(
        topic,
        key=f"digest:{batch}",
        # Choices were applied when the recipients were found.
        audience=to_addresses([recipient]),
        subject=subject,
        template=template,
        context={
            "lines": lines,
            "total": part.total,
            "more": part.total - len(lines),
            "deadline": deadline,
            "in_vault": all(line.in_vault for line in lines),
            "installation": installation_of(lines[0].cert_id) if part.total == 1 and topic in _TO_INSTALL else None,
            "now": now,
            "on_hold": _are_on_hold(lines),
            "list_url": _list(topic, part.since),
        },
        now=now,
    )


def _list(topic: Topic, since: datetime) -> str:
    """Return the address of the list of these certificates, without host."""
    day = since.date()
    if topic is Topic.REVOKED:
        return CertificateFilter(revoked_after=day).url()
    return CertificateFilter(issued_after=day).url()


def _are_on_hold(lines: Sequence[Line]) -> bool:
    return all(line.reason == RevocationReason.CERTIFICATE_HOLD for line in lines)


def _revoked_subject(lines: Sequence[Line], names: str) -> str:
    return f"On hold: {names}" if _are_on_hold(lines) else f"Revoked: {names}"
