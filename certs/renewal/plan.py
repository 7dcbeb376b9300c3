"""What renewing certificates would mean today: the same content as before, judged by the policy of now. Nothing is made here.

Where the policy became stricter, a plan is shortened if that alone makes it pass, and given a new key where the old one has
served its time; the plan notes both. Anything else is refused with the policy's own reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.conf import settings

from certs.ca.lifetime import ending_of
from certs.errors import InputRefused
from certs.language.kept_csr import kept_csr
from certs.models import Certificate, CertificateRequest, Issuer, Reissue
from certs.requests.approvals.inherited_approvals import approvals_for
from certs.requests.facts.advice import advice_on
from certs.requests.facts.policy_facts import PolicyInput, evaluate_many
from certs.requests.lineage import stops_lineage
from certs.requests.submit import latest_issuer, request_digest
from certs.spec import CertificateSpec
from certs.x509.csr.gate import CSRFacts
from keys.models import Key
from keys.public_keys import blocked_keys
from policy.engine import Decision, Outcome

RELATED = ("team", "issuer", "request__csr", "requester", "key", "revocation")
_ADOPTABLE = frozenset({"validity_days", "new_key"})


class KeyOption(StrEnum):
    """The option for the key. By default the key is kept, unless the policy or the key's state forbid that."""

    DEFAULT = "default"
    KEEP = "keep"
    NEW = "new"


class Verdict(StrEnum):
    """What comes of a plan."""

    GO = "go"
    NEEDS_APPROVAL = "needs_approval"
    REFUSED = "refused"  # by the policy
    NEEDS_CSR = "needs_csr"  # only its owner can go on: with a new CSR
    STOPPED = "stopped"  # revoked: nothing follows it


@dataclass(frozen=True, slots=True)
class RenewalPlan:
    """One certificate's renewal. `notes` hold every difference from the old certificate; `reason` and `advice` why it cannot be renewed."""

    certificate: Certificate
    spec: CertificateSpec
    issuer: Issuer
    new_key: bool
    digest: str
    verdict: Verdict = Verdict.GO
    policy_version: str = ""
    decision: Decision | None = None
    notes: tuple[str, ...] = ()
    reason: str = ""
    advice: str = ""
    changed: bool = False  # content other than the key differs from the certificate's

    @property
    def has_external_key(self) -> bool:
        return self.spec.spki_der is not None

    @property
    def may_begin(self) -> bool:
        return self.verdict in (Verdict.GO, Verdict.NEEDS_APPROVAL)


def plan_renewals(
    certificates: Sequence[Certificate],
    *,
    key_option: KeyOption = KeyOption.DEFAULT,
    user: object = None,
    at: datetime,
    target: Issuer | None = None,
) -> list[RenewalPlan]:
    """Return a plan for each certificate, in order; two evaluations of the policy for the whole batch.

    Args:
        certificates: read with RELATED.
        user: who renews; None for the portal itself, which renews in the name of the first requester.
        target: the CA that issues, for a forecast; else `issuer_now` decides.
    """
    blocked = blocked_keys({c.spki_sha256 for c in certificates})
    # Once for each CA, not for each certificate: the answer takes up to three queries.
    targets = {issuer.pk: target or issuer_now(issuer) for issuer in {c.issuer_id: c.issuer for c in certificates}.values()}
    drafts = [_draft(c, key_option, user, targets[c.issuer_id], blocked=c.spki_sha256 in blocked, at=at) for c in certificates]
    return _finished(drafts, key_option, user, at=at)


def plan_with_csr(certificate: Certificate, csr: CSRFacts, *, user: object = None, at: datetime) -> RenewalPlan:
    """Return the plan of one renewal with the key of another CSR, which must have the certificate's names.

    Raises InputRefused where the CSR has other names: it would be another certificate.
    """
    _check_names(certificate, csr)
    key_option = KeyOption.NEW if csr.spki_sha256 != certificate.spki_sha256 else KeyOption.KEEP
    blocked = bool(blocked_keys({csr.spki_sha256}))
    draft = _draft(certificate, key_option, user, issuer_now(certificate.issuer), blocked=blocked, at=at, csr=csr)
    (plan,) = _finished([draft], key_option, user, at=at)
    return plan


def _check_names(certificate: Certificate, csr: CSRFacts) -> None:
    requested, held = {*csr.dns_names, *csr.ip_addresses}, set(certificate.request.names)
    if requested == held:
        return
    missing, extra = sorted(held - requested), sorted(requested - held)
    differences = [f"the CSR lacks {', '.join(missing[:5])}"] if missing else []
    differences += [f"the CSR also has {', '.join(extra[:5])}"] if extra else []
    raise InputRefused(
        f"The names of the CSR are not those of {certificate.first_name}: {' and '.join(differences)}.",
        field="csr",
        next_step="Make the CSR with the command on this page, or request a new certificate for other names.",
    )


def _finished(drafts: Sequence[RenewalPlan], key_option: KeyOption, user: object, *, at: datetime) -> list[RenewalPlan]:
    """Evaluate drafts, adapt those that the policy would allow in another form, and look for approvals that they inherit."""
    # 1. Each draft by the policy in force.
    first = _judged(drafts, at=at)
    # 2. The adapted ones once more: what the policy suggested for one rule may break another, so a suggestion is only used
    #    after an evaluation has allowed it.
    adapted = [_adapted(plan, key_option, user) for plan in first]
    again = [number for number, (before, after) in enumerate(zip(first, adapted, strict=True)) if before is not after]
    for number, plan in zip(again, _judged([adapted[number] for number in again], at=at), strict=True):
        adapted[number] = plan
    # 3. Approvals last: they count for the digest of the content that will be requested, not of the first draft.
    return _with_approvals(adapted, at=at)


def issuer_now(issuer: Issuer) -> Issuer:
    """Return the CA that renews what this one issued: the one by which it is re-issued, itself, the
    one that has taken over from it, or else the default CA.
    """
    reissue = Reissue.objects.select_related("target").filter(issuer=issuer.pk, state__in=Reissue.UNDER_WAY).first()
    if reissue is not None:
        return latest_issuer(reissue.target)
    latest = latest_issuer(issuer)
    if latest.state == Issuer.State.ACTIVE:
        return latest
    default = Issuer.objects.filter(name=settings.PKI_DEFAULT_CA).first()
    return issuer if default is None else latest_issuer(default)


def _draft(
    certificate: Certificate,
    key_option: KeyOption,
    user: object,
    issuer: Issuer,
    *,
    blocked: bool,
    at: datetime,
    csr: CSRFacts | None = None,
) -> RenewalPlan:
    """Return the plan before the policy has evaluated it.

    `csr`: of the key to use. `blocked`: whether that key, else the certificate's, is blocked.
    """
    # 1. The content, as it was requested and not as the certificate has it: a CA may have shortened the validity, and each
    #    renewal would be shorter than the one before.
    request, notes = certificate.request, list[str]()
    spec = CertificateSpec(
        common_name=request.common_name,
        dns_names=tuple(request.dns_names),
        ip_addresses=tuple(request.ip_addresses),
        key=request.key_type,
        validity_days=renewal_days(request),
        profile=request.profile,
        csr_der=bytes(request.csr.der) if request.csr_brought else None,
        spki_der=bytes(request.csr.spki_der) if request.csr_brought else None,
    )
    if csr is not None:
        spec = replace(spec, key=csr.key.name, csr_der=kept_csr(csr), spki_der=csr.spki_der)
        notes += [f"Not taken over from the CSR: {what}." for what in csr.stripped]
    if request.not_after is not None:
        notes.append(
            f"{certificate.cert_id} was requested until {request.not_after.isoformat()}; the new certificate is valid for the same "
            f"length of time, {spec.validity_days} days from now."
        )
    # 2. The CA, which may be another by now.
    old = certificate.issuer
    if issuer.pk != old.pk:
        why = f"no longer issues ({old.get_state_display()})"
        if old.state == Issuer.State.ACTIVE:
            why = "has been succeeded" if old.successor_id is not None else "is replaced"
        notes.append(f"{old.name} {why}; {issuer.name} issues instead.")
    plan = RenewalPlan(certificate, spec, issuer, new_key=False, digest="", changed=issuer.pk != old.pk or request.not_after is not None)
    # 3. What stops the renewal whatever the policy says.
    if stops_lineage(certificate):
        reason = f"{certificate.cert_id} is revoked ({certificate.revocation.reason}), so nothing follows it."
        return replace(plan, verdict=Verdict.STOPPED, reason=reason, advice="Request a new certificate if one is needed.")
    if issuer.state != Issuer.State.ACTIVE:
        reason = f"{old.name} no longer issues ({old.get_state_display()}), and no CA has taken over from it."
        return replace(plan, verdict=Verdict.REFUSED, reason=reason, advice="An operator rolls it over with `manage.py roll_over_ca`.")
    # A CA near its own end cuts the validity (RFC 5280 6.1). A renewal that ends no later than the certificate that it renews
    # would be due as soon as it is issued.
    ending = ending_of(issuer, spec.validity, now=at)
    if ending and (ending.refusal or (ending.note and ending.at <= certificate.not_after)):
        reason = ending.refusal or f"A new certificate would end no later than {certificate.cert_id}. {ending.note}"
        return replace(plan, verdict=Verdict.REFUSED, reason=reason, advice="An operator rolls it over with `manage.py roll_over_ca`.")
    notes += advice_on(spec, issuer, now=at)
    # 4. The key.
    if csr is None:
        plan = _with_key(plan, key_option, notes, blocked=blocked)
    elif blocked:
        reason, advice = "The key of this CSR is blocked as compromised.", "Make a new key pair and send a new CSR."
        return replace(plan, verdict=Verdict.NEEDS_CSR, reason=reason, advice=advice)
    else:
        # An approval counts for one key, so a renewal with another CSR needs a new one.
        plan = replace(plan, new_key=key_option is KeyOption.NEW, changed=plan.changed or key_option is KeyOption.NEW)
    return replace(plan, digest=_digest(plan, user), notes=tuple(notes))


def renewal_days(request: CertificateRequest) -> int:
    """Return the days of a certificate that renews one of this request: as many as before, or as many
    as were between its submission and its end date.
    """
    if request.not_after is None:
        return request.validity_days or 0
    return max((request.not_after - request.created_at.date()).days, 1)


def _with_key(plan: RenewalPlan, key_option: KeyOption, notes: list[str], *, blocked: bool) -> RenewalPlan:
    """Choose the key: the old one, unless a new one is requested or the old one cannot be used."""
    key = plan.certificate.key
    gone = (
        "is blocked as compromised" if blocked else "" if key is None or key.state == Key.State.ACTIVE else f"is {key.get_state_display()}"
    )
    if plan.has_external_key:
        if key_option is KeyOption.NEW or gone:
            why = f"The key {gone}." if gone else "The key is its owner's own: the portal cannot make a new one."
            return replace(plan, verdict=Verdict.NEEDS_CSR, reason=why, advice="Make a new key pair and send a new CSR.")
        return plan
    if gone and key_option is KeyOption.KEEP:
        return replace(plan, verdict=Verdict.REFUSED, reason=f"The key cannot be kept: it {gone}.", advice="Renew with a new key.")
    if gone:
        notes.append(f"A new key is made: the old one {gone}.")
    return replace(plan, new_key=bool(gone) or key_option is KeyOption.NEW)


def _digest(plan: RenewalPlan, user: object) -> str:
    """Return the digest by which an approval of the earlier request counts for the renewal, or does not."""
    """Return the first request's own digest where nothing but the key differs and the requester is the same, else a new one."""
    certificate = plan.certificate
    same_person = user is None or getattr(user, "pk", None) == certificate.requester_id
    if same_person and not plan.changed:
        return certificate.request.digest
    requester = str(user or certificate.requester or certificate.request.door)
    return request_digest(plan.spec, team=certificate.team, issuer=plan.issuer, requester=requester)


def _judged(plans: Sequence[RenewalPlan], *, at: datetime) -> list[RenewalPlan]:
    open_plans = [plan for plan in plans if plan.may_begin]
    if not open_plans:
        return list(plans)
    inputs = [
        PolicyInput(
            plan.spec,
            plan.certificate.team,
            renewal=True,
            key_reused=not plan.new_key,
            spki_sha256="" if plan.new_key else plan.certificate.spki_sha256,
        )
        for plan in open_plans
    ]
    version, decisions = evaluate_many(inputs, at=at)
    judged = iter([_decided(plan, decision, version.version) for plan, decision in zip(open_plans, decisions, strict=True)])
    return [next(judged) if plan.may_begin else plan for plan in plans]


def _decided(plan: RenewalPlan, decision: Decision, version: str) -> RenewalPlan:
    plan = replace(plan, decision=decision, policy_version=version)
    match decision.outcome:
        case Outcome.ALLOW:
            return replace(plan, verdict=Verdict.GO)
        case Outcome.NEEDS_APPROVAL:
            return replace(plan, verdict=Verdict.NEEDS_APPROVAL, reason=decision.reason)
    before = plan.certificate.policy_version
    since = f" (issued under {before}, refused under {version})" if before != version else ""
    return replace(
        plan,
        verdict=Verdict.NEEDS_CSR if needs_another_csr(decision, external_key=plan.has_external_key) else Verdict.REFUSED,
        reason=f"Policy violation: {decision.reason}{since}",
        advice=decision.advice,
    )


def needs_another_csr(decision: Decision, *, external_key: bool) -> bool:
    """Return whether a refused renewal would pass with another CSR, which only the owner of the key can make."""
    return external_key and decision.suggestion is not None and bool(set(decision.suggestion.changes) - {"validity_days"})


def adoptable(decision: Decision, days: int) -> dict[str, Any] | None:
    """Return the changes with which a refused renewal of so many days goes on automatically: fewer days, a new key. None where
    those are not enough.
    """
    changes = decision.suggestion.changes if decision.suggestion else {}
    if not changes or not set(changes) <= _ADOPTABLE or changes.get("validity_days", days) > days:
        return None
    return changes


def _adapted(plan: RenewalPlan, key_option: KeyOption, user: object) -> RenewalPlan:
    """Return the same plan where the policy allows it; shortened or with a new key where only that is missing."""
    before = plan.spec.validity_days or 0  # a renewal has days, never an end date
    changes = adoptable(plan.decision, before) if plan.decision and plan.verdict is Verdict.REFUSED else None
    if changes is None or ("new_key" in changes and key_option is KeyOption.KEEP):
        return plan
    assert plan.decision is not None
    notes, days = list(plan.notes), changes.get("validity_days", before)
    if days < before:
        notes.append(f"Validity is shortened from {before} to {days} days: policy {plan.policy_version} allows no more.")
    if changes.get("new_key"):
        why = "; ".join(check.message for check in plan.decision.failures if check.field == "new_key")
        notes.append(f"A new key is made: {why[:1].lower()}{why[1:]} (policy {plan.policy_version}).")
    adapted = replace(
        plan,
        spec=replace(plan.spec, validity_days=days),
        new_key=plan.new_key or bool(changes.get("new_key")),
        changed=plan.changed or days != before,
        verdict=Verdict.GO,
        notes=tuple(notes),
        reason="",
        advice="",
    )
    return replace(adapted, digest=_digest(adapted, user))


def _with_approvals(plans: Sequence[RenewalPlan], *, at: datetime) -> list[RenewalPlan]:
    """Return the plans; those that inherit the approval that they need may begin."""
    asking = {plan.digest for plan in plans if plan.verdict is Verdict.NEEDS_APPROVAL}
    if not asking:
        return list(plans)
    # The terms of the version in force: an older approval counts only as long as today's policy lets it.
    version, _ = evaluate_many([], at=at)
    ruleset = version.ruleset
    found = approvals_for(asking, valid_days=ruleset.approval_valid_days, terms=ruleset.approval, at=at)
    inheriting = []
    for plan in plans:
        if plan.verdict is Verdict.NEEDS_APPROVAL and plan.digest in found:
            note = f"The approval of {found[plan.digest][0].request.public_id} counts for it."
            inheriting.append(replace(plan, verdict=Verdict.GO, notes=(*plan.notes, note)))
        else:
            inheriting.append(plan)
    return inheriting
