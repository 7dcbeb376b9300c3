"""The owner of a certificate counts while the account is active and belongs to its team."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from certs.access.owners import current_owner, has_owner
from certs.models import Certificate
from certs.spec import CertificateSpec
from tests.cast import Cast
from tests.certs.life import issued

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def leaves(cast: Cast) -> None:
    cast.web.members.remove(cast["leaver"])


def is_deactivated(cast: Cast) -> None:
    type(cast["leaver"]).objects.filter(username="leaver").update(is_active=False)


def moves_to_another_team(cast: Cast) -> None:
    leaves(cast)
    cast.other.members.add(cast["leaver"])


def owner_of(certificate: Certificate) -> str:
    """The owner by both spellings of the rule: the function's and the database's."""
    row = Certificate.objects.get(pk=certificate.pk)
    owner = current_owner(row)
    assert Certificate.objects.filter(has_owner(), pk=row.pk).exists() is (owner is not None)
    return owner.username if owner else ""


@pytest.mark.parametrize("leave", [leaves, is_deactivated, moves_to_another_team])
def test_an_owner_who_left_owns_nothing_and_the_row_keeps_the_name(
    cast: Cast, make_spec: Callable[..., CertificateSpec], leave: Callable[[Cast], None]
) -> None:
    certificate = issued(make_spec(), cast.requester("leaver"))
    assert owner_of(certificate) == "leaver"
    leave(cast)
    assert owner_of(certificate) == ""
    certificate.refresh_from_db()
    assert certificate.owner == cast["leaver"]


def test_a_superuser_belongs_to_every_team(cast: Cast, make_spec: Callable[..., CertificateSpec]) -> None:
    certificate = issued(make_spec(), cast.requester("requester"))
    Certificate.objects.update(owner=cast["root"])
    assert owner_of(certificate) == "root"
    Certificate.objects.update(owner=None)
    assert owner_of(certificate) == ""
