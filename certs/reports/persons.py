"""What needs a person: certificates and requests that the portal cannot repair, with the worst of each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse

from certs.enums import RequestState
from certs.inventory import active
from certs.inventory.filters import CertificateFilter, Renewal, RenewalGroup, StateGroup, YesNo, filter_certificates
from certs.inventory.states import CertificateState, states_of
from certs.models import Certificate, CertificateRequest, RenewalBlocked
from keys.models import PublicKey
from policy.rules.keys import AllowedKeys, key_from_name
from policy.rules.ruleset import RuleSet

WORST = 20
WINDOW = timedelta(days=30)
# Older ends are history: no server has a certificate that ended a quarter of a year ago.
EXPIRED_WITHIN = timedelta(days=90)
OVERDUE = timedelta(days=1)


def what_needs_a_person(ruleset: RuleSet, *, now: datetime) -> list[dict[str, Any]]:
    """Return each kind with its count, its list in the portal and its worst; kinds without any are left out."""
    found = [
        _certificates(
            "renewal_failed",
            "Renewals that failed",
            "The portal tried and could not. It tries again each night; the certificate's page has the reason.",
            CertificateFilter(state=CertificateState.NEEDS_YOU.value, renewal=Renewal.BLOCKED.value),
            now,
        ),
        _certificates(
            "nothing_renews",
            "Certificates that nothing will renew",
            "They need a new CSR from their server, or somebody switched their renewal off.",
            CertificateFilter(state=CertificateState.NEEDS_YOU.value, renewal=RenewalGroup.NOBODY.value),
            now,
        ),
        _certificates(
            "expired",
            "Expired without replacement in the last 90 days",
            "A server that still uses one shows an error to every client. Request a new one, or switch its renewal off "
            "if it is no longer used.",
            CertificateFilter(
                state=CertificateState.EXPIRED.value,
                ends_after=(now - EXPIRED_WITHIN).date(),
                replaced=YesNo.NO.value,
            ),
            now,
        ),
        _certificates(
            "no_owner",
            "Without an owner",
            "No active member of the team is their owner. Name an owner on the certificate's page.",
            CertificateFilter(state=StateGroup.ACTIVE.value, owner="none"),
            now,
        ),
        _certificates(
            "blocked_keys",
            "On blocked keys",
            "Their key is known to others, and clients still accept them. Replace them with a new key, then revoke them.",
            CertificateFilter(state=StateGroup.ACTIVE.value, blocked_key=YesNo.YES.value),
            now,
        ),
        _weak_keys(ruleset, now),
        _overdue_approvals(now),
    ]
    return [kind for kind in found if kind["count"]]


def lines_of(certificates: Sequence[Certificate], why: Callable[[Certificate], str], *, now: datetime) -> list[dict[str, Any]]:
    """Return the certificates of a list: which, whose, in which state, until when and why.

    `key_blocked`: its key is known to others. Its state alone would say that it is valid.
    """
    states = states_of([one.pk for one in certificates], now)
    keys = PublicKey.objects.filter(spki_sha256__in={one.spki_sha256 for one in certificates}, blocked_at__isnull=False)
    blocked = set(keys.values_list("spki_sha256", flat=True))
    return [
        {
            "cert_id": one.cert_id,
            "name": one.common_name or one.cert_id,
            "team": one.team.name,
            "state": states[one.pk].value,
            "key_blocked": one.spki_sha256 in blocked,
            "ends": one.not_after.isoformat(),
            "url": reverse("certificate", args=[one.cert_id]),
            "why": why(one),
        }
        for one in certificates
    ]


def _kind(key: str, label: str, advice: str, count: int, url: str, worst: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {"key": key, "label": label, "advice": advice, "count": count, "url": url, "worst": list(worst)}


def _certificates(
    key: str,
    label: str,
    advice: str,
    sought: CertificateFilter,
    now: datetime,
) -> dict[str, Any]:
    rows = filter_certificates(Certificate.objects.all(), sought, now=now)
    return _kind(key, label, advice, rows.count(), sought.url(), _worst(rows, now))


def _worst(rows: QuerySet[Certificate], now: datetime) -> list[dict[str, Any]]:
    """Return those that end first."""
    return lines_of(list(rows.select_related("team").order_by("not_after", "pk")[:WORST]), _why, now=now)


def _why(certificate: Certificate) -> str:
    if certificate.renewal_off_reason:
        return f"renewal switched off: {certificate.renewal_off_reason}"
    blocked = certificate.renewal_blocked
    return f"renewal: {RenewalBlocked(blocked).label}" if blocked else ""


def _weak_keys(ruleset: RuleSet, now: datetime) -> dict[str, Any]:
    """Return active certificates on keys that the policy in force does not allow."""
    rule = ruleset.rule(AllowedKeys)
    present = active(Certificate.objects.all(), now=now).order_by().values_list("key_type", flat=True).distinct()
    weak = sorted(one for one in present if rule is not None and not _allowed(rule, one))
    sought = CertificateFilter(state=StateGroup.ACTIVE.value, key=",".join(weak))
    rows = filter_certificates(Certificate.objects.all(), sought, now=now) if weak else Certificate.objects.none()
    label = "On keys that the policy does not allow"
    advice = "Renew them with a new key that the policy allows."
    return _kind("weak_keys", label, advice, rows.count(), sought.url(), _worst(rows, now))


def _allowed(rule: AllowedKeys, key_type: str) -> bool:
    try:
        return rule.allows(*key_from_name(key_type))
    except ValueError:  # a size that the portal does not offer
        return False


def _overdue_approvals(now: datetime) -> dict[str, Any]:
    waiting = CertificateRequest.objects.filter(state=RequestState.AWAITING_APPROVAL, state_changed_at__lt=now - OVERDUE)
    url = f"{reverse('requests')}?state={RequestState.AWAITING_APPROVAL}&unchanged={OVERDUE.days}"
    worst = [
        {
            "cert_id": one.public_id,
            "name": one.common_name or one.public_id,
            "team": one.team.name,
            "state": "",
            "ends": "",
            "url": reverse("request", args=[one.public_id]),
            "why": f"waits since {one.state_changed_at:%Y-%m-%d %H:%M} UTC",
        }
        for one in waiting.select_related("team").order_by("state_changed_at")[:WORST]
    ]
    advice = "An approver decides on the request's page."
    return _kind("overdue_approvals", "Approvals that wait for more than a day", advice, waiting.count(), url, worst)
