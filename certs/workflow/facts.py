"""What the policy engine is told about requests: facts read now, for a whole batch at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from audit.batches import ask
from certs.intake.spec import CertificateSpec
from certs.models import CertificateRequest, Team
from certs.workflow.duplicates import Content, content_of, living_duplicates
from certs.workflow.key_use import UNUSED, KeyUse, key_use
from certs.workflow.ownership import domains_query, requesters_for
from keys.spec import KeyFacts
from policy.engine import Decision, evaluate
from policy.facts import RequestFacts
from policy.models import PolicyVersion
from policy.publishing import version_found, version_query
from policy.rules.names import Duplicates
from policy.rules.ruleset import RuleSet


@dataclass(frozen=True, slots=True)
class Asked:
    """A request's policy-relevant content, whether it is a row yet or not."""

    spec: CertificateSpec
    team: Team
    renewal: bool = False
    key_reused: bool = False
    spki_sha256: str = ""  # of the key that is used again


def asked_by(request: CertificateRequest) -> Asked:
    spec = CertificateSpec(
        common_name=request.common_name,
        dns_names=tuple(request.dns_names),
        ip_addresses=tuple(request.ip_addresses),
        key=request.key_type,
        validity_days=request.validity_days,
        profile=request.profile,
        csr_der=b"" if request.csr_brought else None,
    )
    return Asked(
        spec,
        request.team,
        renewal=request.renewed_from_id is not None,
        key_reused=request.key_reused,
        spki_sha256=request.spki_sha256 if request.key_reused else "",
    )


def evaluate_many(asked: Sequence[Asked], *, at: datetime) -> tuple[PolicyVersion, list[Decision]]:
    """Evaluate under the version in force at `at`, with ownership of domains as it is now."""
    owned = [(one.spec, one.team) for one in asked]
    policy = settings.PKI_DEFAULT_POLICY
    in_force, domains, profiles = ask(version_query(policy, at), domains_query(owned), ("SELECT name, ekus FROM policy_profile", []))
    version = version_found(in_force, policy)
    ruleset = version.ruleset
    requesters = requesters_for(owned, domains)
    ekus = {name: tuple(json.loads(known) if isinstance(known, str) else known) for name, known in profiles}
    duplicates = _duplicates(ruleset, asked, at)
    uses = key_use({one.spki_sha256 for one in asked if one.key_reused}, at=at)
    facts = [
        request_facts(
            one,
            ekus.get(one.spec.profile, ()),
            use=uses.get(one.spki_sha256, UNUSED),
            duplicate_of=duplicates.get(content_of(one.spec, one.team), "") if duplicates else "",
        )
        for one in asked
    ]
    return version, [evaluate(ruleset, one, requester, on=at.date()) for one, requester in zip(facts, requesters, strict=True)]


def _duplicates(ruleset: RuleSet, asked: Sequence[Asked], at: datetime) -> dict[Content, str]:
    """Looked for only where the policy does not allow a second certificate anyway; a renewal is never one."""
    rule = ruleset.rule(Duplicates)
    if rule is None or rule.inventory == "allow":
        return {}
    return living_duplicates((content_of(one.spec, one.team) for one in asked if not one.renewal), at=at)


def request_facts(asked: Asked, ekus: tuple[str, ...], *, use: KeyUse = UNUSED, duplicate_of: str = "") -> RequestFacts:
    spec, key = asked.spec, KeyFacts.from_name(asked.spec.key)
    return RequestFacts(
        profile=spec.profile,
        common_name=spec.common_name,
        dns_names=spec.dns_names,
        ip_addresses=spec.ip_addresses,
        key_family=key.family,
        key_bits=key.bits,
        validity_days=spec.validity_days,
        ekus=ekus,
        renewal=asked.renewal,
        key_reused=asked.key_reused,
        csr_brought=spec.csr_der is not None,
        key_age_days=use.age_days,
        key_certificates=use.certificates,
        duplicate_of=duplicate_of,
    )
