"""Duplicates: requests with the names and profile of a valid certificate, or of another request, of the same team. Read only where
the policy has a rule about them.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable
from datetime import datetime

from django.db import connection

from certs.enums import RequestState
from certs.models import Certificate, CertificateName, CertificateRequest, Team
from certs.requests.states import UNFINISHED
from certs.spec import CertificateSpec
from db.sql import advisory_lock

Content = tuple[int, str, frozenset[str]]  # team, profile, names
FirstRequested = dict[Content, str]  # the first line or request for it, as people call it


def content_of(spec: CertificateSpec, team: Team) -> Content:
    return team.pk, spec.profile, frozenset((*spec.dns_names, *spec.ip_addresses))


def living_duplicates(contents: Iterable[Content], *, at: datetime) -> dict[Content, str]:
    """Return the cert_id of a valid certificate with exactly these names and this profile, in two queries for a whole batch.

    Never another team's: a refusal must not reveal what others have.
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


_LOCKS = 64
_LOCK_SPACE = 0x74776E73  # "twns": the first of the two numbers of an advisory lock that nothing else in this database uses


def one_at_a_time(contents: Iterable[Content]) -> None:
    """Let no two transactions evaluate requests for the same content at once: the later one waits until it can see the earlier one's.

    Locks are taken in order, so that two batches cannot wait for each other; on SQLite one transaction writes at a time anyway.
    """
    if not connection.in_atomic_block:
        return
    numbers = {zlib.crc32(repr((team, profile, sorted(names))).encode()) % _LOCKS for team, profile, names in contents}
    for number in sorted(numbers):
        advisory_lock(_LOCK_SPACE, number)


Waiting = tuple[int, str]  # id and public id of a request


def requests_under_way(contents: Iterable[Content], *, judged: Collection[int]) -> tuple[dict[Content, Waiting], dict[Content, Waiting]]:
    """Return the oldest request under way with exactly these names and this profile, and the oldest of those that the policy has
    let pass already.

    Not those that are `judged` together with the contents. Two transactions that begin at the same moment see each other only
    after `one_at_a_time`.
    """
    wanted = set(contents)
    known_by = {""} | {name for _, _, names in wanted for name in names}
    rows = CertificateRequest.objects.filter(
        state__in=UNFINISHED, team__in={team for team, _, _ in wanted}, common_name__in=known_by, renewed_from__isnull=True
    )
    found: dict[Content, Waiting] = {}
    passed: dict[Content, Waiting] = {}
    columns = ("pk", "public_id", "state", "team_id", "profile", "dns_names", "ip_addresses")
    for pk, public_id, state, team_id, profile, dns_names, ip_addresses in rows.order_by("pk").values_list(*columns):
        content = (team_id, profile, frozenset((*dns_names, *ip_addresses)))
        if content in wanted and pk not in judged:
            found.setdefault(content, (pk, public_id))
            if state != RequestState.SUBMITTED:
                passed.setdefault(content, (pk, public_id))
    return found, passed
