"""What a row of the list shows beside its certificate, and in which order rows stand by their end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client

from certs.bulk.submit import submit_order
from certs.inventory import CertificateFilter
from certs.inventory.listing.listed import listed, view_of
from certs.models import Certificate
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.cast import person
from tests.certs.bulk.orders import drafted, work_off_all
from tests.certs.inventory.estate import Estate
from tests.certs.life import brought, issued
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def test_order_by_end_the_other_way_round_begins_with_the_latest_end(
    twin_portal: Requester, make_spec: Callable[..., CertificateSpec]
) -> None:
    """What has ended stays last: turned round as a whole, the list began with what ended a year ago."""
    submit_order(drafted([make_spec("in89.example.com")], twin_portal), authority=twin_portal.authority)
    work_off_all()
    made, now = Estate(Certificate.objects.get()), database_now()
    for days in (5, -50, 50, -5):
        made.add(name=f"in{days}.example.com", not_after=now + timedelta(days=days))
    made.save()

    def names(sort: str) -> list[str]:
        ids = view_of(None, CertificateFilter(), sort, now=database_now()).window().ids
        rows = Certificate.objects.in_bulk(ids)
        return [rows[pk].common_name.partition(".")[0] for pk in ids]

    assert names("ends") == ["in5", "in50", "in89", "in-5", "in-50"]
    assert names("-ends") == ["in89", "in50", "in5", "in-5", "in-50"]


def test_owner_who_is_gone_is_marked_as_gone(portal: Portal) -> None:
    """As the filter "without owner" finds them: by the account and by the team."""
    certificate, owner = issued(brought("shop.example.com"), portal.requester()), person("olga", team=portal.team)
    Certificate.objects.update(owner=owner)

    def found() -> list[bool]:
        return [one.owner_left for one in listed([certificate.pk], now=database_now())]

    assert found() == [False]
    portal.team.members.remove(owner)
    assert found() == [True]
    portal.team.members.add(owner)
    owner.is_active = False
    owner.save()
    assert found() == [True]
    client = Client()
    client.force_login(portal.carol)
    assert "olga (left)" in client.get("/certificates/?owner=none").content.decode()
    Certificate.objects.update(owner=None)
    assert found() == [False]
