"""Words about a certificate that there is: whose it is, what renewing or revoking it would mean, and doing that."""

from __future__ import annotations

from typing import Any

from audit.clock import database_now
from certs.access.permissions import Authority
from certs.intake.spec import RenewPlan, RevokePlan
from certs.inventory import find_by_serial, find_certificate
from certs.models import Certificate
from certs.terms import RevocationReason
from certs.workflow.compromise import on_same_key
from certs.workflow.renewal import describe_plan, living_renewals, plan_renewal
from certs.workflow.renewal_plans import KeyWish


def certificate_of(plan: RenewPlan | RevokePlan, *, authority: Authority) -> Certificate:
    """The certificate that the words name. Raises NotFound for what the actor may not see, Conflict for an ambiguous serial."""
    if isinstance(plan, RevokePlan) and plan.serial_number is not None:
        return find_by_serial(authority.visible(), plan.serial_number)[0]
    return find_certificate(authority.visible(), plan.cert_id)[0]


def wish_of(plan: RenewPlan) -> KeyWish:
    return KeyWish.NEW if plan.new_key else KeyWish.KEEP if plan.keep_key else KeyWish.DEFAULT


def describe_words(plan: RenewPlan | RevokePlan, *, authority: Authority) -> dict[str, Any]:
    """What would happen; nothing does. Raises NotFound, NotPermitted, Conflict."""
    certificate = certificate_of(plan, authority=authority)
    authority.check_may_act(certificate)
    if isinstance(plan, RenewPlan):
        told = describe_plan(plan_renewal(certificate, authority=authority, wish=wish_of(plan)))
        existing = living_renewals([certificate.pk]).get(certificate.pk)
        return told | {"notes": [*plan.notes, *told["notes"]], "already": existing.public_id if existing else None}
    compromised = plan.reason is RevocationReason.KEY_COMPROMISE
    also = on_same_key(certificate, authority=authority, now=database_now()) if compromised else []
    return {
        "action": "revoke",
        "cert_id": certificate.cert_id,
        "common_name": certificate.common_name,
        "status": certificate.status,
        "reason": str(plan.reason),
        "destroy_key": plan.destroy_key,
        "also_on_same_key": [one.cert_id for one in also],
        "notes": list(plan.notes),
    }
