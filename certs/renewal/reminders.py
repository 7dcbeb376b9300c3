"""Reminders of certificates that end and that nothing replaces: one digest for each person and day.

The circle widens as the end comes nearer: the owner at 30 and 14 days, the team and the operators
too at 7, the security team too at 3, 1 and 0 days and once the certificate has expired.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Q, QuerySet

from certs.enums import RequestState as S
from certs.inventory.filters import CertificateFilter
from certs.inventory.states import CertificateState, states_of
from certs.models import Certificate, ExpiryReminder, OutgoingMail, Team
from certs.models.certificate import RenewalBlocked
from certs.notifications.audience import Audience, operators, owner_of, security_team, team_of, to_addresses
from certs.notifications.delivery.deliveries import queue_deliveries, teams_with_webhooks
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.notifications.wording import count_of, days_left, name_of, read_names
from certs.renewal.attention import Unreplaced, unreplaced
from db.rows import insert_missing

STAGES = (30, 14, 7, 3, 1, 0)  # days before the end
EXPIRED = -1
TEAM_FROM, SECURITY_FROM = 7, 3
CATCH_UP = timedelta(days=30)  # an expiry is still mailed so late after an outage of the portal
UNTIL_NEXT = timedelta(days=1)
LINES = 50  # certificates that a digest lists; it counts the others
AT_ONCE = 1000  # certificates that are written of together, so that memory stays flat


@dataclass(frozen=True, slots=True)
class Line:
    """One certificate in a digest, with the one thing to do."""

    certificate: Certificate
    stage: int
    what: str
    to_do: str
    state: CertificateState = CertificateState.NEEDS_YOU

    @property
    def name(self) -> str:
        return name_of(self.certificate)

    @property
    def ends(self) -> datetime:
        return self.certificate.not_after


@dataclass(slots=True)
class Digest:
    """What one recipient is reminded of: counts all, holds the LINES nearest ends.

    `for_webhooks`: keys of the certificates of which no mail was written at this stage before, where
    their team has a webhook. One digest of the run carries each to its team's webhooks.
    """

    lines: list[Line] = field(default_factory=list)
    stages: list[tuple[int, int]] = field(default_factory=list)
    for_webhooks: list[int] = field(default_factory=list)

    def add(self, line: Line) -> None:
        if len(self.lines) < LINES:  # they come in the order of their ends
            self.lines.append(line)
        self.stages.append((line.certificate.pk, line.stage))


def stage_of(not_after: datetime, now: datetime) -> int | None:
    """Return the stage that an end has reached, by days of the calendar (UTC); None for none yet."""
    if not_after <= now:
        return EXPIRED
    days = (not_after.date() - now.date()).days
    return min((stage for stage in STAGES if days <= stage), default=None)


def _key(now: datetime) -> str:
    return f"reminder:{now:%Y-%m-%d}"


def count_as_reminder(noted: Iterable[tuple[int, int]], recipient: str, *, now: datetime) -> None:
    """Count another notice as the reminder of each certificate (by key) at its stage.

    Needs the transaction of that notice. From TEAM_FROM days on the digest names the certificate again.
    """
    _insert([(pk, stage) for pk, stage in noted if stage > TEAM_FROM], recipient, now=now)


def _insert(stages: Sequence[tuple[int, int]], recipient: str, *, now: datetime) -> None:
    for start in range(0, len(stages), AT_ONCE):
        some = stages[start : start + AT_ONCE]
        insert_missing([ExpiryReminder(certificate_id=pk, stage=stage, recipient=recipient, told_at=now) for pk, stage in some])


def remind(*, now: datetime) -> int:
    """Write the day's digests. Returns the number of mails.

    Each recipient is reminded once of each stage of a certificate. A recipient who had a digest today
    is reminded of the rest tomorrow. Effects: mails and their `ExpiryReminder` rows, in one
    transaction for each recipient.
    """
    digests = _digests(now)
    return sum(_send(recipient, digest, now) for recipient, digest in sorted(digests.items()))


def _digests(now: datetime) -> dict[str, Digest]:
    """Return the digest of each recipient who had none today."""
    had_one = set(OutgoingMail.objects.filter(dedup_key=_key(now)).values_list("recipient", flat=True))
    circles: dict[tuple[int, int | None, int], list[str]] = {}
    digests: dict[str, Digest] = {}
    with_webhooks = teams_with_webhooks()
    for page in unreplaced(_near(now), now=now):
        reminded = _reminded([one.certificate for one in page])
        _add_teams_and_owners([one.certificate for one in page])
        for one in page:
            certificate = one.certificate
            stage = stage_of(certificate.not_after, now)
            if stage is None:
                continue
            # Found once for each team, owner and stage: a thousand certificates of a team have the same recipients.
            whose = (certificate.team_id, certificate.owner_id, stage)
            if whose not in circles:
                topic = Topic.EXPIRED if stage == EXPIRED else Topic.EXPIRING
                circles[whose] = _circle(certificate, stage).recipients(topic)
            line = Line(certificate, stage, *_what_to_do(one, stage))
            known = reminded.get((certificate.pk, stage), set())
            fresh = [recipient for recipient in circles[whose] if recipient not in known | had_one]
            for recipient in fresh:
                digests.setdefault(recipient, Digest()).add(line)
            # In one digest of the run only, and not where this stage was mailed before: a webhook gets each stage once.
            if fresh and not known and certificate.team_id in with_webhooks:
                digests[fresh[0]].for_webhooks.append(certificate.pk)
    return digests


def _near(now: datetime) -> QuerySet[Certificate]:
    """Return certificates whose end is near or was passed not long ago."""
    # The next reminders are a day away, so a day is added to what is due.
    due = Q(alert_at__isnull=True) | Q(alert_at__lte=now + UNTIL_NEXT)
    rows = Certificate.objects.filter(
        due,
        not_after__gt=now - CATCH_UP,
        not_after__lt=now + timedelta(days=STAGES[0] + 1),
    )
    # A person who switched the renewal off decided that it may end: reminders come before the end, not after it.
    return rows.filter(Q(renewal_off_reason="") | Q(not_after__gt=now))


def _add_teams_and_owners(certificates: Sequence[Certificate]) -> None:
    """Add teams and owners, which are few: joined to each row they would be built hundreds of times."""
    teams = Team.objects.in_bulk({one.team_id for one in certificates})
    owners = get_user_model().objects.in_bulk({one.owner_id for one in certificates if one.owner_id is not None})
    for one in certificates:
        one.team = teams[one.team_id]
        one.owner = owners[one.owner_id] if one.owner_id is not None else None


def _reminded(certificates: Sequence[Certificate]) -> dict[tuple[int, int], set[str]]:
    """Return who was reminded of which stage of which certificate."""
    rows = ExpiryReminder.objects.filter(certificate__in=[one.pk for one in certificates])
    found: dict[tuple[int, int], set[str]] = {}
    for pk, stage, recipient in rows.values_list("certificate_id", "stage", "recipient"):
        found.setdefault((pk, stage), set()).add(recipient)
    return found


def _circle(certificate: Certificate, stage: int) -> Audience:
    audience = owner_of(certificate)
    if stage <= TEAM_FROM:
        audience |= team_of(certificate.team) | operators()
    if stage <= SECURITY_FROM:
        audience |= security_team()
    return audience


def _what_to_do(one: Unreplaced, stage: int) -> tuple[str, str]:
    """Return what keeps the certificate from being renewed, and the one thing to do."""
    certificate, renewal = one.certificate, one.renewal
    if stage == EXPIRED:
        return "Expired, and nothing replaced it.", "Request a new certificate, or close the alert if the name is no longer used."
    if certificate.renewal_off_reason:
        return (
            f"Renewal is switched off: {certificate.renewal_off_reason}",
            "Switch the renewal on if the certificate is still used; otherwise let it end.",
        )
    if renewal is not None:
        if renewal.state == S.AWAITING_APPROVAL:
            return "Its renewal waits for an approval.", f"Ask the security team to decide {renewal.public_id}."
        return f"Its renewal {renewal.public_id} has not ended.", "Ask an operator what it waits for."
    match certificate.renewal_blocked:
        case RenewalBlocked.NEEDS_CSR:
            return (
                "Its renewal needs a new key and CSR.",
                "Make a new key and CSR for the same names on its server, and renew the certificate with the CSR.",
            )
        case RenewalBlocked.POLICY:
            return "The policy refuses its renewal.", "Open the certificate: its page names the change that would pass."
        case RenewalBlocked.APPROVAL:
            return "The approval of its renewal was refused or is missing.", "Ask the security team, or request another certificate."
        case RenewalBlocked.FAILED:
            return "Its renewal failed; the portal tries again.", "Ask an operator why it fails."
        case RenewalBlocked.OFF:
            return "Its last renewal was cancelled by a person.", "Renew the certificate if it is still used; otherwise let it end."
    return "Its renewal has not begun.", "Ask an operator whether the expiry check runs."


def _subject(lines: Sequence[Line], digest: Digest, now: datetime) -> str:
    total = len(digest.stages)
    expired = sum(stage == EXPIRED for _, stage in digest.stages)
    if not expired:
        return f"Ends {days_left(lines[0].ends, now)}: {count_of([line.name for line in lines], total)}"
    names = count_of([line.name for line in lines if line.stage == EXPIRED], expired)
    more = total - expired
    return f"Expired: {names}" + (f"; {more} more {'ends' if more == 1 else 'end'} soon" if more else "")


@transaction.atomic
def _send(recipient: str, digest: Digest, now: datetime) -> int:
    """Write one recipient's digest. Its mail and what was reminded of are one transaction: after a crash neither is there."""
    read_names([line.certificate for line in digest.lines])
    states = states_of([line.certificate.pk for line in digest.lines], now)
    lines = [replace(line, state=states[line.certificate.pk]) for line in digest.lines]
    total = len(digest.stages)
    first = lines[0]
    expired = first.stage == EXPIRED
    _insert(digest.stages, recipient, now=now)
    topic, subject = Topic.EXPIRED if expired else Topic.EXPIRING, _subject(lines, digest, now)
    for start in range(0, len(digest.for_webhooks), AT_ONCE):
        concerned = Certificate.objects.filter(pk__in=digest.for_webhooks[start : start + AT_ONCE]).order_by("not_after", "pk")
        queue_deliveries(topic, key=_key(now), certificates=list(concerned), subject=subject, now=now)
    return notify(
        topic,
        key=_key(now),
        audience=to_addresses([recipient]),  # choices were applied when the circles were made
        subject=subject,
        template="reminder",
        context={
            "lines": lines,
            "total": total,
            "more": total - len(lines),
            "list_path": CertificateFilter(state="expired" if expired else "needs_you").url(),
            "now": now,
            "expired": expired,
        },
        now=now,
    )
