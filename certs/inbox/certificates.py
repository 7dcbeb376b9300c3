"""Certificates that nothing renews, that are not installed, or that nobody owns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Prefetch
from django.urls import reverse

from certs.enums import AlertKind, RevocationReason
from certs.inbox.matters import Inbox, Kind, Matter, More
from certs.inventory import CertificateFilter, CertificateState, filter_certificates, open_alerts
from certs.inventory.counting import Kind as FigureKind
from certs.inventory.figures import kept_since
from certs.inventory.states import in_force, still_served
from certs.models import Certificate, CertificateRequest, PlannedRevocation, RenewalBlocked, Team
from certs.notifications.alerts import key_cause
from certs.notifications.wording import days_left, minute
from certs.renewal.replacement import may_have_newer, newer_of

SOON = timedelta(days=7)
_KEYS = 1000  # blocked keys with an open alert that are looked at

_WHY = {
    RenewalBlocked.NEEDS_CSR: ("Only its server can make the new key that the renewal needs.", "Renew with a new CSR", "certificate-renew"),
    RenewalBlocked.POLICY: ("The policy in force refuses a certificate of the same content.", "See what would pass", "certificate-renew"),
    RenewalBlocked.APPROVAL: ("Its renewal waits for an approval, or was refused one.", "See the renewal", "certificate-renew"),
    RenewalBlocked.FAILED: ("Its last renewal failed.", "Renew again", "certificate-renew"),
    RenewalBlocked.OFF: ("Its automatic renewal is switched off.", "Renew, or let it end", "certificate"),
}

# What a line shows: whole rows have a hundred columns, and the page has fifty lines.
_READ = (
    *("cert_id", "common_name", "request", "not_before", "not_after", "alert_at", "issued_at"),
    *("team", "profile", "renewal_blocked", "renewal_off_reason"),
)
_NAMES = Prefetch("request", CertificateRequest.objects.only("dns_names", "ip_addresses"))


def needing_a_person(rows: Any, *, most: int, now: datetime) -> Inbox:
    """Return those of `rows` that nothing renews or that are renewed and not installed, by their end."""
    needing = CertificateFilter(state=CertificateState.NEEDS_YOU)
    listed = filter_certificates(rows, needing, now=now).order_by("not_after", "pk").annotate(may_have_newer=may_have_newer())
    found = list(listed.prefetch_related(_NAMES).only(*_READ)[: most + 1])
    # Their owners have requested new certificates for the same names: nobody is reminded of these either.
    newer = newer_of([one for one in found if one.may_have_newer])
    shown = [one for one in found[:most] if one.pk not in newer]
    served = set(still_served(Certificate.objects.filter(pk__in=[one.pk for one in shown]), now=now).values_list("pk", flat=True))
    matters = [_install(one, now) if one.pk in served else _renewal(one, now) for one in shown]
    more = (More("All certificates that need a person", needing.url()),) if len(found) > most else ()
    return Inbox(tuple(matters), more)


def on_blocked_keys(teams: Sequence[Team], *, most: int, now: datetime) -> Inbox:
    """Return the certificates of these teams that clients accept though others know the key, for their members.

    The keys are those of open alerts: nothing searches the inventory. A certificate whose revocation
    is planned is left out.
    """
    causes = dict(open_alerts().filter(kind=AlertKind.KEY_BLOCKED).values_list("cause", "raised_at")[:_KEYS])
    since = {cause.removeprefix(key_cause("")): at for cause, at in causes.items()}
    planned = PlannedRevocation.objects.filter(ended_at__isnull=True).values("certificate")
    rows = in_force(Certificate.objects.filter(team__in=teams, spki_sha256__in=list(since)), now=now).exclude(pk__in=planned)
    found = rows.order_by("not_after", "pk").prefetch_related(_NAMES).only(*_READ, "spki_sha256")[:most]
    return Inbox(tuple(_replacement(one, since[one.spki_sha256]) for one in found))


def _replacement(row: Certificate, since: datetime) -> Matter:
    return Matter(
        Kind.REPLACEMENT,
        f"Replace {row.first_name}: its key is known to others",
        "Clients still accept the certificate, and whoever has the key can pretend to be its server.",
        f"{reverse('certificate-revoke', args=[row.cert_id])}?reason={RevocationReason.KEY_COMPROMISE}",
        "Replace with a new key",
        since,
        is_urgent=True,
    )


def without_owner() -> Inbox:
    """Return one line for all certificates without a living owner: their number is kept, not counted here."""
    figures, since = kept_since(FigureKind.NEED, "no_owner")
    count = figures.count(FigureKind.NEED, "no_owner")
    if not count or figures.counted_at is None:
        return Inbox(())
    title = f"{count:,} certificate{' has' if count == 1 else 's have'} no active owner"
    why = f"Nobody active in the team answers for {'it' if count == 1 else 'them'}. Counted {minute(figures.counted_at)}."
    url = figures.url(FigureKind.NEED, "no_owner")
    return Inbox((Matter(Kind.OWNER, title, why, url, "Name an owner", since),))


def _install(row: Certificate, now: datetime) -> Matter:
    """A renewed certificate that a server still uses."""
    title = f"Install the new certificate of {row.first_name} by {row.not_after.day} {row.not_after:%b %Y}"
    why = f"It was renewed, and a server still uses the old one, which ends {days_left(row.not_after, now)}."
    url = reverse("certificate-install", args=[row.cert_id])
    return Matter(Kind.INSTALLATION, title, why, url, "See where", row.alert_at, is_urgent=True)


def _renewal(row: Certificate, now: datetime) -> Matter:
    blocked = RenewalBlocked.OFF if row.renewal_off_reason else RenewalBlocked(row.renewal_blocked)
    why, action, name = _WHY[blocked]
    return Matter(
        Kind.RENEWAL,
        f"{row.first_name} ends on {row.not_after.day} {row.not_after:%b %Y}",
        f"{why} It ends {days_left(row.not_after, now)}.",
        reverse(name, args=[row.cert_id]),
        action,
        # Not of a certificate that is due before its time, because its CA is being replaced.
        row.alert_at if row.alert_at and row.alert_at <= now else None,
        is_urgent=row.not_after < now + SOON,
    )
