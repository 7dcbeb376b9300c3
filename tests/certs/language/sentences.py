"""Plan -> the canonical sentence, which `parse` reads back as the same plan. Pure."""

from __future__ import annotations

from certs.enums import RevocationReason
from certs.servers.kinds import SERVERS, Place
from certs.spec import CertificateSpec, IssuePlan, Plan, RenewPlan, RevokePlan
from keys.spec import KeySpec

_REASONS = {
    RevocationReason.UNSPECIFIED: "unspecified",
    RevocationReason.KEY_COMPROMISE: "key compromise",
    RevocationReason.CA_COMPROMISE: "CA compromise",
    RevocationReason.AFFILIATION_CHANGED: "affiliation changed",
    RevocationReason.SUPERSEDED: "superseded",
    RevocationReason.CESSATION_OF_OPERATION: "cessation of operation",
    RevocationReason.CERTIFICATE_HOLD: "certificate hold",
    RevocationReason.PRIVILEGE_WITHDRAWN: "privilege withdrawn",
    RevocationReason.AA_COMPROMISE: "AA compromise",
}


def spell(plan: Plan) -> str:
    """One sentence for a plan that came from words. A plan of many names may be longer than `parse` accepts (4,096 bytes).

    Raises ValueError for what no sentence can say: certificates that differ in more than their name, or a brought CSR.
    """
    match plan:
        case RenewPlan():
            return f"Renew {_target(plan)} {'with a new key' if plan.new_key else 'keeping the key'}"
        case RevokePlan():
            return f"Revoke {_target(plan)} - reason: {_REASONS[plan.reason]}{' and destroy the key' if plan.destroy_key else ''}"
        case IssuePlan():
            return " ".join(filter(None, (_spell_issue(plan.specs), words_of_place(plan.place, plan.server))))


def _target(plan: RenewPlan | RevokePlan) -> str:
    return plan.cert_id or plan.name or f"serial 0x{plan.serial_number or 0:x}"


def _spell_issue(specs: tuple[CertificateSpec, ...]) -> str:
    first = specs[0]
    if any(spec.csr_der is not None for spec in specs):
        raise ValueError("a brought CSR cannot be said in words")
    if len({(spec.key, spec.validity, spec.profile) for spec in specs}) > 1:
        raise ValueError("certificates that differ in key, validity or profile need a sentence each")
    if len(specs) > 1 and any(len(_names(spec)) > 1 for spec in specs):
        raise ValueError("several certificates with several names need a sentence each")
    names = ", ".join(f'"{name}"' for spec in specs for name in _names(spec))
    noun = "certificates" if len(specs) > 1 else "a certificate"
    key = KeySpec(first.key).label
    validity = first.validity.written if first.not_after else f"for {first.validity.written}"
    return f"Issue {noun} with profile {first.profile} for {names}, {key}, valid {validity}"


def _names(spec: CertificateSpec) -> tuple[str, ...]:
    names = spec.dns_names + spec.ip_addresses
    return (spec.common_name, *(name for name in names if name != spec.common_name))


def words_of_place(place: str, server: str) -> str:
    """Words that name the place, or nothing."""
    word = next((one.words[0] for one in SERVERS if one.slug == server), "")
    plain = {Place.SERVER: "my server", Place.AUTOMATIC: "kubernetes", Place.JAVA: "a device", Place.VAULT: "vault"}
    return f"on {word or plain[Place(place)]}" if word or place else ""
