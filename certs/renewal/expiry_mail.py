"""Who is told about renewals: owners of what cannot be renewed, approvers of what waits for them, operators of what is left.

Each mail has a key of its own, so a daily run tells each thing once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef

from audit.events import EventType
from audit.log import Actor, Event, record_many
from certs.models import Certificate, CertificateRequest, OutgoingMail, Team
from certs.notifications.alerts import close_alerts, raise_alert
from certs.notifications.audience import approvers_of, operators, owner_and_team
from certs.notifications.notices import tell
from certs.notifications.topics import Topic
from certs.notifications.wording import name_of, short_day
from certs.renewal.plan import RenewalPlan, Verdict
from certs.renewal.renew import Renewal

LAST_DAYS = 7  # from here on operators are told of what is not renewed


@transaction.atomic
def tell_owners(plans: Sequence[RenewalPlan], *, actor: Actor, now: datetime) -> None:
    """Certificates that cannot be renewed as they are: once for each policy version, and once for a CSR that is needed."""
    keys = {_key(plan): plan for plan in plans}
    known = set(OutgoingMail.objects.filter(dedup_key__in=keys).values_list("dedup_key", flat=True))
    fresh = {key: plan for key, plan in keys.items() if key not in known}
    for key, plan in fresh.items():
        certificate = plan.certificate
        subject = "needs a new CSR" if plan.verdict is Verdict.NEEDS_CSR else "cannot be renewed as it is"
        tell(
            Topic.RENEWAL_FAILED,
            key=key,
            audience=owner_and_team(certificate),
            subject=f"{name_of(certificate)} {subject}",
            template="renewal_refused",
            context={"plan": plan, "certificate": certificate, "now": now},
            now=now,
            certificates=[certificate],
        )
    record_many([_refused(plan, actor, now) for plan in fresh.values()])


def _key(plan: RenewalPlan) -> str:
    kind = "csr" if plan.verdict is Verdict.NEEDS_CSR else f"refused:{plan.policy_version}"
    return f"renewal:{kind}:{plan.certificate.cert_id}"


def _refused(plan: RenewalPlan, actor: Actor, now: datetime) -> Event:
    data = {"policy_version": plan.policy_version, "verdict": str(plan.verdict), "reason": plan.reason[:500]}
    return Event(EventType.CERTIFICATE_RENEWAL_REFUSED, f"certificate:{plan.certificate.cert_id}", actor, now, data)


@transaction.atomic
def tell_approvers(renewals: Sequence[Renewal], *, now: datetime) -> None:
    """One mail for each renewal that waits for an approval, to the security team."""
    for renewal in renewals:
        ends = renewal.plan.certificate.not_after
        tell(
            Topic.APPROVAL,
            key=f"renewal:approval:{renewal.request.public_id}",
            audience=approvers_of(renewal.request),
            subject=f"Approve by {short_day(ends)}: renewal of {name_of(renewal.plan.certificate)}",
            template="renewal_approval",
            context={"request": renewal.request, "plan": renewal.plan, "now": now},
            now=now,
            reply_to=renewal.request.team.email,
        )


@transaction.atomic
def tell_failed(failed: Sequence[tuple[CertificateRequest, Certificate]], *, now: datetime) -> None:
    """A renewal that failed is tried anew; its owner and the operators learn why the last one did."""
    for request, certificate in failed:
        tell(
            Topic.RENEWAL_FAILED,
            key=f"renewal:failed:{request.public_id}",
            audience=owner_and_team(certificate) | operators(),
            subject=f"Renewal of {name_of(certificate)} failed",
            template="renewal_failed",
            context={"request": request, "certificate": certificate, "now": now},
            now=now,
            certificates=[certificate],
        )


@transaction.atomic
def alert_what_is_left(*, now: datetime) -> None:
    """An alert for each team with certificates in their last week that nothing follows; closed when there are none left."""
    following = Certificate.objects.filter(renewed_from=OuterRef("pk"))
    until = now + timedelta(days=LAST_DAYS)
    left = Certificate.objects.filter(~Exists(following), status=Certificate.Status.GOOD, not_after__range=(now, until))
    left = left.filter(alert_at__lte=now)
    by_team: dict[int, list[Certificate]] = {}
    for certificate in left.order_by("not_after").only("cert_id", "common_name", "not_after", "team_id").iterator(chunk_size=1000):
        by_team.setdefault(certificate.team_id, []).append(certificate)
    for team in Team.objects.all():
        cause = f"team:{team.slug}"
        if team.pk not in by_team:
            close_alerts(kind="expiring", cause=cause, now=now)
            continue
        first = by_team[team.pk][0]
        raise_alert(
            kind="expiring",
            cause=cause,
            message=f"{len(by_team[team.pk])} certificate(s) of {team.name} end within {LAST_DAYS} days and are not renewed; first "
            f"{first.common_name or first.cert_id} on {first.not_after:%Y-%m-%d}.",
            next_step="Their pages say what is missing: an approval, a new CSR, or a content that the policy allows.",
            now=now,
        )
