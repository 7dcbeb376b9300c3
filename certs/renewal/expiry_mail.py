"""Notices of the expiry check: to owners of what cannot be renewed, to approvers of what waits for them.

Each mail has a key of its own, so that runs every quarter of an hour notify of each thing once. Where
many certificates of a team are concerned, as after a new policy version, each person has them in the
one digest of the day (`certs.renewal.reminders`) and gets no mail for each.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from audit.events import EventType
from audit.log import Actor, Event, record_many
from certs.models import Certificate, CertificateRequest, OutgoingMail
from certs.notifications.audience import approvers_of, operators, owner_and_team
from certs.notifications.notices import tell
from certs.notifications.topics import Topic
from certs.notifications.wording import name_of, short_day
from certs.renewal.new_csr import csr_command
from certs.renewal.plan import RenewalPlan, Verdict
from certs.renewal.reminders import note_told
from certs.renewal.renew import Renewal

ALONE = 5  # certificates of one team for which each has a mail of its own


@transaction.atomic
def tell_owners(plans: Sequence[RenewalPlan], *, actor: Actor, now: datetime) -> None:
    """Notify owners and teams of certificates that cannot be renewed as they are, with the one thing to do.

    Once for each policy version, and once for a CSR that is needed. The mail counts as the reminder
    of the stage that the certificate is at. Effects: mails, `certificate:renewal_refused` events.
    """
    keys = {_key(plan): plan for plan in plans}
    known = set(OutgoingMail.objects.filter(dedup_key__in=keys).values_list("dedup_key", flat=True))
    fresh = {key: plan for key, plan in keys.items() if key not in known}
    of_team = Counter(plan.certificate.team_id for plan in fresh.values())
    alone = {key: plan for key, plan in fresh.items() if of_team[plan.certificate.team_id] <= ALONE}
    # Of the others no mail says that they are known: the mark of the last run does.
    in_digest = [plan for key, plan in fresh.items() if key not in alone and not plan.certificate.renewal_blocked]
    record_many([_refused(plan, actor, now) for plan in (*alone.values(), *in_digest)])
    for key, plan in alone.items():
        certificate = plan.certificate
        needs_csr = plan.verdict is Verdict.NEEDS_CSR
        subject = "needs a new CSR" if needs_csr else "cannot be renewed as it is"
        audience = owner_and_team(certificate)
        tell(
            Topic.RENEWAL_FAILED,
            key=key,
            audience=audience,
            subject=f"{name_of(certificate)} {subject}",
            template="renewal_refused",
            context={
                "plan": plan,
                "certificate": certificate,
                "command": csr_command(plan) if needs_csr else "",
                "now": now,
            },
            now=now,
            certificates=[certificate],
        )
        note_told(certificate, audience.recipients(Topic.RENEWAL_FAILED), now=now)


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
    """Notify owners, teams and operators why a renewal failed, which is now tried anew.

    Once for each cause: what fails for the same reason every night is in the reminders, and so are
    many of one team.
    """
    of_team = Counter(certificate.team_id for _, certificate in failed)
    for request, certificate in failed:
        if of_team[certificate.team_id] > ALONE:
            continue
        cause = hashlib.sha256(request.error.encode()).hexdigest()[:16]
        tell(
            Topic.RENEWAL_FAILED,
            key=f"renewal:failed:{certificate.cert_id}:{cause}",
            audience=owner_and_team(certificate) | operators(),
            subject=f"Renewal of {name_of(certificate)} failed",
            template="renewal_failed",
            context={"request": request, "certificate": certificate, "now": now},
            now=now,
            certificates=[certificate],
        )
