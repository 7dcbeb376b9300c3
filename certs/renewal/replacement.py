"""Which certificates something has replaced, so that nobody is reminded of their end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.db.models import Exists, OuterRef, Q

from certs.enums import RevocationReason
from certs.models import Certificate, CertificateName
from db.sql import among_ids, fetch, id_list

LATER_BY = timedelta(days=1)  # a certificate of the same order ends within seconds; a replacement does not
Content = tuple[int, str, frozenset[str]]  # team, profile, names


def replaced_among(certificates: Sequence[Certificate]) -> set[int]:
    """Return the ids of the certificates that are replaced; a few queries for all of them.

    A certificate is replaced by its renewal, or by a good certificate of the same team with the
    same names and profile that was issued later and ends later: owners who send a new CSR request
    a new certificate instead of renewing the old one.
    """
    ids = [certificate.pk for certificate in certificates]
    # A renewal revoked as superseded was itself replaced.
    good = Q(status=Certificate.Status.GOOD) | Q(revocation__reason=RevocationReason.SUPERSEDED)
    renewed = Certificate.objects.filter(good, renewed_from__in=ids)
    replaced = {pk for pk in renewed.values_list("renewed_from", flat=True) if pk is not None}
    return replaced | newer_of([one for one in certificates if one.pk not in replaced]).keys()


def may_have_newer() -> Exists:
    """Return the condition that `newer_of` may find something: a later certificate of the team has one of the names.

    For a page of few rows, so that those without one, which are most, cost no query more.
    """
    names = CertificateName.objects.filter(certificate=OuterRef(OuterRef("pk"))).values("name")
    later = Certificate.objects.filter(
        names__name__in=names,
        team=OuterRef("team"),
        profile=OuterRef("profile"),
        status=Certificate.Status.GOOD,
        issued_at__gt=OuterRef("issued_at"),
        not_after__gt=OuterRef("not_after"),
    )
    return Exists(later)


def newer_of(certificates: Sequence[Certificate]) -> dict[int, Certificate]:
    """Return, by the ids of those that have one, the later certificate for the same content that is no renewal of theirs.

    Its `cert_id` and `not_after` are read. Three queries at most, however many certificates.
    """
    if not certificates:
        return {}
    contents = _contents(certificates)
    # One name of each is enough to find candidates by the index of names; all names are compared afterwards.
    looked_up = {min(names) for _, _, names in contents.values() if names}
    if not looked_up:
        return {}
    others = Certificate.objects.filter(
        names__name__in=looked_up,
        team__in={one.team_id for one in certificates},
        status=Certificate.Status.GOOD,
        issued_at__gt=min(one.issued_at for one in certificates),
    )
    newest: dict[Content, Certificate] = {}
    rows = list(others.only("cert_id", "team_id", "profile", "issued_at", "not_after").order_by("not_after", "pk"))
    contents_of_others = _contents(rows)
    for row in rows:
        newest[contents_of_others[row.pk]] = row
    found = {one.pk: newest.get(contents[one.pk]) for one in certificates if contents[one.pk][2]}
    return {one.pk: other for one in certificates if (other := found.get(one.pk)) is not None and _replaces(other, one)}


def _replaces(other: Certificate, one: Certificate) -> bool:
    """Return whether the one with the same content is issued and ends clearly later."""
    # A third of the life where that is less than a day: certificates of some hours are replaced within the hour.
    margin = min(LATER_BY, (one.not_after - one.not_before) / 3)
    return other.issued_at > one.issued_at and other.not_after > one.not_after + margin


def _contents(certificates: Sequence[Certificate]) -> dict[int, Content]:
    names: dict[int, set[str]] = {certificate.pk: set() for certificate in certificates}
    sql = f"SELECT certificate_id, name FROM certs_certificatename WHERE {among_ids('certificate_id')}"  # noqa: S608 - constants
    for pk, name in fetch(sql, [id_list(sorted(names))]):
        names[pk].add(name)
    return {one.pk: (one.team_id, one.profile, frozenset(names[one.pk])) for one in certificates}
