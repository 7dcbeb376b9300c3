"""The input of the policy engine: facts about requests, read now, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.conf import settings
from django.db.models import Q

from certs.enums import RequestState
from certs.models import CertificateRequest, Domain, Team
from certs.requests.facts.duplicates import FirstRequested, Waiting, content_of, living_duplicates, one_at_a_time, requests_under_way
from certs.spec import CertificateSpec
from db.reads import Read, combined, read, read_together, rows_of
from db.rows import selection
from db.sql import among_ids, among_texts, id_list, text_list
from keys.models import PublicKey
from keys.spec import KeyFacts
from policy.engine import Decision, Outcome, evaluate
from policy.facts import RequesterFacts, RequestFacts
from policy.models import PolicyVersion, Profile
from policy.publishing import Found, newest_version, version_found, waivers_at
from policy.rules.names import Duplicates
from policy.rules.ruleset import RuleSet
from policy.waivers.waiver import Waiver


@dataclass(frozen=True, slots=True)
class KeyUse:
    """Whole days since the public key was first recorded here, and certificates in the inventory that carry it."""

    age_days: int
    certificates: int


UNUSED = KeyUse(0, 0)


@dataclass(frozen=True, slots=True)
class PolicyInput:
    """What the policy evaluates of a request, whether its row exists or not."""

    spec: CertificateSpec
    team: Team
    renewal: bool = False
    key_reused: bool = False
    spki_sha256: str = ""  # of the key that is used again
    judged_first: bool = False  # a request that the policy has not let pass yet
    request_id: int | None = None
    called: str = "another line"  # how people call it


def policy_input(request: CertificateRequest) -> PolicyInput:
    spec = CertificateSpec(
        common_name=request.common_name,
        dns_names=tuple(request.dns_names),
        ip_addresses=tuple(request.ip_addresses),
        key=request.key_type,
        validity_days=request.validity_days,
        not_after=request.not_after,
        profile=request.profile,
        csr_der=b"" if request.csr_brought else None,
    )
    return PolicyInput(
        spec,
        request.team,
        renewal=request.renewed_from_id is not None,
        key_reused=request.key_reused,
        spki_sha256=request.spki_sha256 if request.key_reused else "",
        judged_first=request.state == RequestState.SUBMITTED,
        request_id=request.pk,
        called=f"request {request.public_id}",
    )


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """What an evaluation needs to know of the portal, read at one moment."""

    version: PolicyVersion
    has_waivers: bool
    ekus: Mapping[str, tuple[str, ...]]  # by name of the profile
    owners: Mapping[str, int]  # teams of the domains that concern the requests, by name


def policy_facts(content: Collection[tuple[CertificateSpec, Team]], *, at: datetime | None) -> Read[PolicyFacts]:
    """Return a read of the facts for requests of this content, under the version in force at `at` (None: now)."""
    name = settings.PKI_DEFAULT_POLICY

    def facts(found: Found | None, profiles: list[Profile], owners: dict[str, int]) -> PolicyFacts:
        ekus = {profile.name: tuple(profile.ekus) for profile in profiles}
        return PolicyFacts(*version_found(name, found), ekus, owners | _owners_beneath(content))

    return combined([newest_version(name, at), selection(Profile), _owners_near(content)], facts)


def evaluate_many(
    inputs: Sequence[PolicyInput], *, at: datetime, requested_before: FirstRequested | None = None, known: PolicyFacts | None = None
) -> tuple[PolicyVersion, list[Decision]]:
    """Evaluate under the version in force at `at`, with facts as they are now.

    `requested_before`: what earlier parts of the same order request, where the policy wants to know; this part is added to it.
    `known`: the facts of these requests, where they were read in this transaction.
    """
    content = [(one.spec, one.team) for one in inputs]
    known = known or read(policy_facts(content, at=at))
    version, ekus = known.version, known.ekus
    waivers = waivers_at(version.policy, at) if known.has_waivers else ()
    ruleset = version.ruleset
    requesters = requesters_for(content, known.owners)
    uses = key_use({one.spki_sha256 for one in inputs if one.key_reused}, at=at)
    facts = [request_facts(one, ekus.get(one.spec.profile, ()), at=at, use=uses.get(one.spki_sha256, UNUSED)) for one in inputs]
    if _twins_matter(ruleset):
        first = {} if requested_before is None else requested_before
        return version, _evaluate_in_turn(ruleset, inputs, facts, requesters, waivers, first, at)
    on = at.date()
    return version, [evaluate(ruleset, one, requester, on=on, waivers=waivers) for one, requester in zip(facts, requesters, strict=True)]


def _twins_matter(ruleset: RuleSet) -> bool:
    """Return whether duplicates are looked for: only where the policy does not allow a second certificate anyway."""
    rule = ruleset.rule(Duplicates)
    return rule is not None and rule.inventory != "allow"


def _evaluate_in_turn(
    ruleset: RuleSet,
    inputs: Sequence[PolicyInput],
    facts: Sequence[RequestFacts],
    requesters: Sequence[RequesterFacts],
    waivers: Sequence[Waiver],
    first: FirstRequested,
    at: datetime,
) -> list[Decision]:
    """Evaluate one after another: of several requests for the same content only the first that is not refused may have it.

    A renewal is never a duplicate.
    """
    contents = [content_of(one.spec, one.team) for one in inputs]
    if any(one.request_id is not None for one in inputs):
        one_at_a_time(contents)
    fresh = {content for one, content in zip(inputs, contents, strict=True) if not one.renewal}
    living = living_duplicates(fresh, at=at)
    under_way, passed = requests_under_way(fresh, judged={one.request_id for one in inputs if one.request_id is not None})
    decisions = []
    for one, content, fact, requester in zip(inputs, contents, facts, requesters, strict=True):
        if not one.renewal:
            twin = first.get(content, "") or _earlier(under_way.get(content), passed.get(content), one)
            fact = replace(fact, duplicate_of=living.get(content, ""), also_asked_by=twin)  # noqa: PLW2901 - the same fact, completed
        decision = evaluate(ruleset, fact, requester, on=at.date(), waivers=waivers)
        if not one.renewal and decision.outcome is not Outcome.DENY:
            first.setdefault(content, one.called)
        decisions.append(decision)
    return decisions


def _earlier(other: Waiting | None, passed: Waiting | None, one: PolicyInput) -> str:
    """Return the request because of which this one is a duplicate, or an empty text.

    Of two requests the older one has the content, so that they do not refuse each other. But one that
    is evaluated for the first time is too late when another has passed, which may be on its way to the CA.
    """
    if passed is not None and one.judged_first:
        return f"request {passed[1]}"
    if other is None or (one.request_id is not None and one.request_id < other[0]):
        return ""
    return f"request {other[1]}"


def request_facts(one: PolicyInput, ekus: tuple[str, ...], *, at: datetime, use: KeyUse = UNUSED) -> RequestFacts:
    """Return what the policy engine evaluates. `at`: the time of the evaluation, from which the days to an end date are counted."""
    spec, key = one.spec, KeyFacts.from_name(one.spec.key)
    return RequestFacts(
        profile=spec.profile,
        common_name=spec.common_name,
        dns_names=spec.dns_names,
        ip_addresses=spec.ip_addresses,
        key_family=key.family,
        key_bits=key.bits,
        validity_days=spec.validity.days_left(at),
        not_after=spec.not_after,
        ekus=ekus,
        renewal=one.renewal,
        key_reused=one.key_reused,
        csr_brought=spec.csr_der is not None,
        key_age_days=use.age_days,
        key_certificates=use.certificates,
    )


def key_use(spkis: Collection[str], *, at: datetime) -> dict[str, KeyUse]:
    """Return the use of each key by its SPKI hash, in two statements. Every certificate counts, revoked and expired ones too."""
    if not spkis:
        return {}
    sql = f"SELECT spki_sha256, count(*) FROM certs_certificate WHERE {among_texts('spki_sha256')} GROUP BY 1"  # noqa: S608 - constants
    counted: Read[dict[str, int]] = rows_of((sql, [text_list(spkis)]), dict)
    counts, keys = read_together(counted, selection(PublicKey, spki_sha256=set(spkis)))
    since = {key.spki_sha256: key.recorded_at for key in keys}
    return {spki: KeyUse((at - since[spki]).days if spki in since else 0, counts.get(spki, 0)) for spki in spkis}


def _owners_near(content: Collection[tuple[CertificateSpec, Team]]) -> Read[dict[str, int]]:
    """Return a read of the domains of these teams, and of those of other teams at or above the names."""
    names = {name for spec, _ in content for name in spec.dns_names}
    teams, near = sorted({team.pk for _, team in content}), sorted({domain for name in names for domain in _ancestors(name)})
    sql = f"SELECT name, team_id FROM certs_domain WHERE {among_ids('team_id')} OR {among_texts('name')}"  # noqa: S608 - constants
    return rows_of((sql, [id_list(teams), text_list(near)]), dict)


def _owners_beneath(content: Collection[tuple[CertificateSpec, Team]]) -> dict[str, int]:
    """Return the domains beneath wildcards. Costs nothing where no name is a wildcard."""
    beneath = [Q(name__endswith=name[1:]) for spec, _ in content for name in spec.dns_names if name.startswith("*.")]
    return dict(Domain.objects.filter(Q(*beneath, _connector=Q.OR)).values_list("name", "team_id")) if beneath else {}


def requesters_for(content: Sequence[tuple[CertificateSpec, Team]], owners: Mapping[str, int]) -> list[RequesterFacts]:
    """Return for each request its team's domains, and those of other teams at, above or beneath the names asked for."""
    owned: dict[int, list[str]] = {}
    for domain, team_id in sorted(owners.items()):
        owned.setdefault(team_id, []).append(domain)
    own = {team_id: tuple(domains) for team_id, domains in owned.items()}
    return [RequesterFacts(team.slug, own.get(team.pk, ()), _foreign(spec, team, owners)) for spec, team in content]


def _foreign(spec: CertificateSpec, team: Team, owners: Mapping[str, int]) -> tuple[str, ...]:
    near = {domain for name in spec.dns_names for domain in _ancestors(name) if domain in owners}
    for name in spec.dns_names:
        if name.startswith("*."):
            near |= {domain for domain in owners if domain.endswith(name[1:])}
    return tuple(sorted(domain for domain in near if owners[domain] != team.pk))


def _ancestors(name: str) -> list[str]:
    labels = name.removeprefix("*.").split(".")
    return [".".join(labels[n:]) for n in range(len(labels))]
