"""Who owns the domains around the names asked for, read once for a whole batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from certs.models import Team
from certs.spec import CertificateSpec
from db.backend import dialect
from db.sql import Query, among_ids, among_texts, id_list, text_list
from policy.facts import RequesterFacts

# The suffixes that a domain ends in; without LIKE, for whose sake they would have to be escaped.
_BENEATH = {
    "postgresql": "jsonb_array_elements_text(CAST(%s AS jsonb)) AS suffix WHERE right(name, length(suffix)) = suffix",
    "sqlite": "json_each(%s) AS suffix WHERE substr(name, -length(suffix.value)) = suffix.value",
}


Domains = Sequence[tuple[str, int]]  # with the id of the team that owns each


def domains_query(asked: Sequence[tuple[CertificateSpec, Team]]) -> Query:
    """For `ask`: the domains of these teams, and any team's at or above a name or beneath a wildcard's base, with the team's id."""
    names = {name for spec, _ in asked for name in spec.dns_names}
    among = [id_list(list({team.pk for _, team in asked})), text_list(sorted({d for name in names for d in _ancestors(name)}))]
    beneath = sorted({name[1:] for name in names if name.startswith("*.")})
    sql = f"SELECT name, team_id FROM certs_domain WHERE {among_ids('team_id')} OR {among_texts('name')}"  # noqa: S608 - constants
    if beneath:
        sql += f" OR EXISTS (SELECT 1 FROM {_BENEATH[dialect()]})"  # noqa: S608 - constants
    return sql, [*among, text_list(beneath)] if beneath else among


def requesters_for(asked: Sequence[tuple[CertificateSpec, Team]], domains: Domains) -> list[RequesterFacts]:
    """For each request its team's domains, and those of other teams at, above or beneath the names asked for."""
    owners = dict(domains)
    owned: dict[int, list[str]] = {}
    for domain, team_id in sorted(owners.items()):
        owned.setdefault(team_id, []).append(domain)
    own = {team_id: tuple(domains) for team_id, domains in owned.items()}
    return [RequesterFacts(team.slug, own.get(team.pk, ()), _foreign(spec, team, owners)) for spec, team in asked]


def _foreign(spec: CertificateSpec, team: Team, owners: Mapping[str, int]) -> tuple[str, ...]:
    near = {domain for name in spec.dns_names for domain in _ancestors(name) if domain in owners}
    for name in spec.dns_names:
        if name.startswith("*."):
            near |= {domain for domain in owners if domain.endswith(name[1:])}
    return tuple(sorted(domain for domain in near if owners[domain] != team.pk))


def _ancestors(name: str) -> list[str]:
    labels = name.removeprefix("*.").split(".")
    return [".".join(labels[n:]) for n in range(len(labels))]
