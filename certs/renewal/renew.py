"""Renewing: a plan becomes a request that follows its certificate, once, and goes through the same steps as every other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction

from audit.events import EventType
from audit.log import Actor, UnitOfWork, record
from certs.access.permissions import Authority
from certs.enums import Channel
from certs.enums import RequestState as S
from certs.errors import Conflict, PolicyRefused
from certs.models import Certificate, CertificateRequest
from certs.pipeline import start_on_commit
from certs.renewal.due import LIVING
from certs.renewal.plan import RELATED, KeyOption, RenewalPlan, Verdict, plan_renewals, plan_with_csr
from certs.requests.lineage import newest_of, stops_lineage
from certs.requests.plan import gate
from certs.requests.representation import answer
from certs.requests.states import Move, transition_many
from certs.requests.submit import MOST_IN_A_CHAIN, Admitted, RenewalOf, Requester, insert_requests
from db.clock import database_now
from db.reads import read_together
from db.rows import Lock, key_selection, select, select_keys, selection
from keys.public_keys import blocked_keys
from keys.spec import spki_sha256


@dataclass(frozen=True, slots=True)
class Renewal:
    """The request that renews a certificate. `already`: it was there before, so nothing new was made."""

    request: CertificateRequest
    plan: RenewalPlan
    already: bool = False


def plan_renewal(certificate: Certificate, *, authority: Authority, key_option: KeyOption = KeyOption.DEFAULT) -> RenewalPlan:
    """Return what `renew` would do now. Raises NotFound, NotPermitted; Conflict as `renew` does for an option that was not met."""
    authority.check_may_act(certificate)
    _check_option(certificate, living_renewals([certificate.pk]).get(certificate.pk), key_option)
    (plan,) = plan_renewals([_fresh(certificate)], key_option=key_option, user=authority.user, at=database_now())
    authority.check_profiles((plan.spec.profile,))
    return plan


def renew(
    certificate: Certificate, *, authority: Authority, channel: str, key_option: KeyOption = KeyOption.DEFAULT, begin: bool = True
) -> Renewal:
    """Renew one certificate; a second call returns the first one's request.

    Effects, in one transaction: a request with its event, and renewals that failed are cancelled;
    after the commit its chain starts. A refusal is `certificate:renewal_refused`.

    Raises NotFound, NotPermitted; Conflict for a lineage that was revoked, or where the first call's request has another key
    than `key_option` requests; PolicyRefused, with what would pass, where the policy in force refuses it.
    """
    # 1. Nothing may replace a certificate whose key or owner is in doubt: the newest one of its
    #    lineage decides, not the one that the caller has in hand.
    authority.check_may_act(certificate)
    certificate = _fresh(certificate)
    newest = newest_of(certificate)
    # A revoked predecessor that a good certificate follows stops nothing: the lineage goes on from the newest.
    if stops_lineage(newest):
        raise _stopped(newest)
    # 2. Plan: the same content, evaluated by the policy in force. The existing renewal is read first: were it read after the
    #    plan, one that began in between would be returned although its key may be another than the requested one.
    existing = living_renewals([certificate.pk]).get(certificate.pk)
    plan = plan_renewal(certificate, authority=authority, key_option=key_option)
    if existing is not None:
        return Renewal(existing, plan, already=True)
    if not plan.may_begin:
        _note_refusal(plan, actor=authority.actor)
        raise refusal_of(plan)
    # 3. Insert under locks: of two callers at once the second one gets the first one's request.
    (renewal,) = begin_renewals([plan], actor=authority.actor, user=authority.user, channel=channel, begin=begin)
    # Another caller may have begun it since this one was planned, with another key than is requested here.
    if renewal.already:
        _check_option(certificate, renewal.request, key_option)
    return renewal


def _check_option(certificate: Certificate, existing: CertificateRequest | None, key_option: KeyOption) -> None:
    """Raise Conflict where a renewal exists whose key is not the requested one: to return it would claim a success."""
    if existing is None or key_option is KeyOption.DEFAULT or existing.key_reused == (key_option is KeyOption.KEEP):
        return
    done, requested = ("the same key", "new_key") if existing.key_reused else ("a new key", "keep_key")
    newest = newest_of(certificate)
    if newest == certificate:
        cure = f"Wait until {existing.public_id} has ended, and renew its certificate."
    else:
        cure = f"Renew {newest.cert_id} instead, which has taken its place."
    raise Conflict(
        f"{certificate.cert_id} is renewed already, by {existing.public_id} and with {done}. Nothing was changed.",
        field=requested,
        next_step=cure,
    )


def plan_renewal_with_csr(certificate: Certificate, data: bytes, *, authority: Authority, channel: str) -> RenewalPlan:
    """Return what `renew_with_csr` would do now. Raises what it raises, and CSRRefused for a CSR that the gate refuses."""
    authority.check_may_act(certificate)
    certificate = _fresh(certificate)
    if stops_lineage(certificate):
        raise _stopped(certificate)
    existing = living_renewals([certificate.pk]).get(certificate.pk)
    if existing is not None:
        raise Conflict(
            f"{certificate.cert_id} is renewed already, by {existing.public_id}. Nothing was changed.",
            field="csr",
            next_step=f"Look at {existing.public_id}; renew the certificate that it brings.",
        )
    # An officer who is no member acts for the team: the gate records refusals for it.
    member = authority.user if authority.belongs_to(certificate.team) else None
    csr = gate(data, requester=Requester(authority.actor, certificate.team, channel, user=member))
    plan = plan_with_csr(certificate, csr, user=authority.user, at=database_now())
    authority.check_profiles((plan.spec.profile,))
    return plan


def renew_with_csr(certificate: Certificate, data: bytes, *, authority: Authority, channel: str) -> Renewal:
    """Renew one certificate with the key of another CSR.

    Raises NotFound, NotPermitted, CSRRefused; InputRefused for a CSR with other names; Conflict for
    a certificate that is revoked or renewed already; PolicyRefused where the policy in force refuses it.
    """
    plan = plan_renewal_with_csr(certificate, data, authority=authority, channel=channel)
    if not plan.may_begin:
        _note_refusal(plan, actor=authority.actor)
        raise refusal_of(plan)
    (renewal,) = begin_renewals([plan], actor=authority.actor, user=authority.user, channel=channel)
    if renewal.already and renewal.request.spki_sha256 != _spki(plan):
        raise Conflict(
            f"{certificate.cert_id} was renewed by {renewal.request.public_id} just now, with another key.",
            field="csr",
            next_step=f"Look at {renewal.request.public_id}.",
        )
    return renewal


def refusal_of(plan: RenewalPlan) -> PolicyRefused | Conflict:
    """Return the error for a plan that may not begin."""
    if plan.verdict is Verdict.STOPPED:
        return _stopped(plan.certificate)
    return PolicyRefused(plan.reason, policy_version=plan.policy_version, next_step=plan.advice, field="cert_id")


def _stopped(certificate: Certificate) -> Conflict:
    return Conflict(
        f"{certificate.cert_id} is revoked ({certificate.revocation.reason}), so nothing follows it.",
        field="cert_id",
        next_step="Release the hold first."
        if certificate.revocation.reason == "certificateHold"
        else "Request a new certificate if one is needed.",
    )


@transaction.atomic
def _note_refusal(plan: RenewalPlan, *, actor: Actor) -> None:
    data = {"policy_version": plan.policy_version, "verdict": str(plan.verdict), "reason": plan.reason[:500]}
    subject = f"certificate:{plan.certificate.cert_id}"
    record(EventType.CERTIFICATE_RENEWAL_REFUSED, subject=subject, actor=actor, at=database_now(), data=data)


def _fresh(certificate: Certificate) -> Certificate:
    """Return the certificate as it is now, with what a plan reads: the caller's object may be older than a revocation."""
    return Certificate.objects.select_related(*RELATED).get(pk=certificate.pk)


def living_renewals(certificate_ids: Sequence[int]) -> dict[int, CertificateRequest]:
    """Return by certificate id the one request that renews it, finished or under way."""
    ids = select_keys(CertificateRequest, renewed_from=certificate_ids, state=LIVING)
    if not ids:  # of most there is none
        return {}
    rows = CertificateRequest.objects.filter(pk__in=ids).select_related("team", "issuer")
    return {row.renewed_from_id: row for row in rows if row.renewed_from_id is not None}


def begin_renewals(plans: Sequence[RenewalPlan], *, actor: Actor, user: Any = None, channel: str, begin: bool = True) -> list[Renewal]:
    """Insert one request for each plan whose certificate may still be renewed, in one transaction, and start their chains.

    Of two callers the second finds the first one's requests and returns those. A certificate
    revoked or a key blocked since the plan was made is left out; for a single plan Conflict is raised.
    """
    with UnitOfWork() as work:
        now = database_now()
        # 1. Lock. First the rows of public keys, as everywhere: none of these keys is blocked before this transaction ends.
        #    Then the certificates, in id order so that two callers agree, and the renewals that failed, so that nobody
        #    resumes one before this transaction ends. Requests come last here, against the order elsewhere: whoever has
        #    locked a failed request waits for no certificate.
        blocked = blocked_keys({plan.certificate.spki_sha256 for plan in plans if not plan.new_key})
        ids = sorted(plan.certificate.pk for plan in plans)
        _, failed = read_together(
            key_selection(Certificate, lock=Lock.UPDATE, id=ids),
            selection(CertificateRequest, lock=Lock.UPDATE, renewed_from=ids, state=S.FAILED),
        )
        # 2. Only then read. A revocation or a resume that was committed while this transaction waited
        #    is seen now; read together with the lock, a joined row would be the one before the wait.
        doubtful = select(Certificate, id=ids, status=[str(status) for status in Certificate.SAYS_REVOKED])
        stopped = {c.pk: c for c in doubtful if stops_lineage(c)}
        existing = living_renewals(ids)
        # 3. Which of the plans may still begin. In a batch the others are left out: the next run finds out why.
        fresh = []
        for plan in plans:
            pk = plan.certificate.pk
            usable = plan.new_key or plan.certificate.spki_sha256 not in blocked
            if pk not in existing and plan.may_begin and usable and pk not in stopped:
                fresh.append(plan)
            elif len(plans) == 1 and pk not in existing:
                raise _stopped(stopped[pk]) if pk in stopped else Conflict("Its key was blocked just now.", field="cert_id")
        # 4. A renewal that failed makes room for the new one: resumed later, there would be two.
        renewed = {plan.certificate.pk for plan in fresh}
        event = (EventType.REQUEST_CANCELLED, {"state": "failed", "because_of": "a new renewal"})
        moves = [Move(request, (S.CANCELLED,), (event,), {"resume_id": None}) for request in failed if request.renewed_from_id in renewed]
        transition_many(work, moves, source=S.FAILED, actor=actor, now=now)
        # 5. The requests, as every other request is made, and their chains. Those of the schedule go to the bulk queue: a
        #    night's renewals must not delay a person who waits for one certificate.
        requests = (
            insert_requests(work, [_admitted(plan, actor=actor, user=user, channel=channel) for plan in fresh], now=now) if fresh else []
        )
        if begin:
            for first in range(0, len(requests), MOST_IN_A_CHAIN):
                part = [request.pk for request in requests[first : first + MOST_IN_A_CHAIN]]
                start_on_commit(part, bulk=channel == Channel.SCHEDULE)
    made = {plan.certificate.pk: Renewal(request, plan) for plan, request in zip(fresh, requests, strict=True)}
    # The others exist already, or were left out.
    made |= {pk: Renewal(existing[pk], plan, already=True) for plan in plans if (pk := plan.certificate.pk) in existing}
    return [made[plan.certificate.pk] for plan in plans if plan.certificate.pk in made]


def _admitted(plan: RenewalPlan, *, actor: Actor, user: Any, channel: str) -> Admitted:
    certificate = plan.certificate
    requester = Requester(actor, certificate.team, channel, user=user or certificate.requester)
    renewal = RenewalOf(
        certificate,
        key_backend="" if plan.has_external_key else _backend(certificate, new_key=plan.new_key),
        key=None if plan.has_external_key or plan.new_key else certificate.key,
        keeps_key=not plan.new_key,
    )
    return Admitted(plan.spec, requester, plan.issuer, plan.digest, renewal=renewal)


def _spki(plan: RenewalPlan) -> str:
    """Return the public key, as far as it is known before the key is made."""
    if plan.spec.spki_der is not None:
        return spki_sha256(plan.spec.spki_der)
    return "" if plan.new_key else plan.certificate.spki_sha256


def _backend(certificate: Certificate, *, new_key: bool) -> str:
    """Return the backend of the key; a new one is made there too, unless that backend is no longer configured."""
    backend = certificate.key.backend if certificate.key is not None else settings.PKI_LEAF_KEY_BACKEND
    return settings.PKI_LEAF_KEY_BACKEND if new_key and backend not in settings.KEY_BACKENDS else str(backend)


def renewal_result(renewal: Renewal) -> dict[str, Any]:
    """Return the JSON result of a renewal: the request, the renewed certificate, the key and every difference."""
    return answer(renewal.request) | {
        "renewed_from": renewal.plan.certificate.cert_id,
        "key": "new" if not renewal.request.key_reused else "kept",
        "validity_days": renewal.request.validity_days,
        "already": renewal.already,
        "notes": list(() if renewal.already else renewal.plan.notes),
    }


def describe_plan(plan: RenewalPlan) -> dict[str, Any]:
    """Return what would happen, as `ask` and `plan_only` print it."""
    decisions = {Verdict.GO: "allow", Verdict.NEEDS_APPROVAL: "needs_approval"}
    return {
        "action": "renew",
        "cert_id": plan.certificate.cert_id,
        "common_name": plan.spec.common_name,
        "sans": [*plan.spec.dns_names, *plan.spec.ip_addresses],
        "key": "new" if plan.new_key else "kept",
        "key_type": plan.spec.key,
        "validity_days": plan.spec.validity_days,
        "issuer": plan.issuer.name,
        "decision": decisions.get(plan.verdict, "deny"),
        "policy_version": plan.policy_version,
        "reason": plan.reason,
        "suggestion": plan.advice or None,
        "notes": list(plan.notes),
    }
