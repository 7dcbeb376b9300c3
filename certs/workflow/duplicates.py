"""Which requests ask for what a living certificate of the same team already serves: read only where the policy wants to know."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from certs.intake.spec import CertificateSpec
from certs.models import Certificate, CertificateName, Team

Content = tuple[int, str, frozenset[str]]  # team, profile, names


def content_of(spec: CertificateSpec, team: Team) -> Content:
    return team.pk, spec.profile, frozenset((*spec.dns_names, *spec.ip_addresses))


def living_duplicates(contents: Iterable[Content], *, at: datetime) -> dict[Content, str]:
    """The cert_id of a living certificate with exactly these names and this profile, in two queries for a whole batch.

    Never another team's: a refusal must not tell what others have.
    """
    wanted = set(contents)
    looked_up = {min(names) for _, _, names in wanted if names}
    near = Certificate.objects.filter(
        names__name__in=looked_up,
        team__in={team for team, _, _ in wanted},
        status=Certificate.Status.GOOD,
        not_before__lte=at,
        not_after__gt=at,
    )
    rows = {row.pk: row for row in near.only("cert_id", "team_id", "profile").order_by("pk")}
    names: dict[int, set[str]] = {}
    for pk, name in CertificateName.objects.filter(certificate__in=rows).values_list("certificate_id", "name"):
        names.setdefault(pk, set()).add(name)
    found = {(row.team_id, row.profile, frozenset(names.get(pk, ()))): row.cert_id for pk, row in rows.items()}
    return {content: found[content] for content in wanted if content in found}
