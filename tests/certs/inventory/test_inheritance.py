"""What people write about a certificate goes on with its renewals."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from certs.models import Certificate
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from tests.cast import person
from tests.certs.life import issued, renewed

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


def test_the_person_who_requests_a_certificate_owns_it(twin_portal: Requester, make_spec: MakeSpec) -> None:
    alice = person("alice", team=twin_portal.team)
    asked = Requester(actor=twin_portal.actor, team=twin_portal.team, channel="portal", user=alice)
    assert issued(make_spec("a.example.com"), asked).owner == alice
    assert issued(make_spec("b.example.com"), twin_portal).owner is None  # a command, and no person


def test_a_renewal_inherits_what_people_wrote(twin_portal: Requester, make_spec: MakeSpec) -> None:
    bob = person("bob")
    written = {
        "owner": bob.pk,
        "purpose": "Shop front end",
        "notes": "Reload both nodes.",
        "tags": " web production ",
        "runbook": "https://wiki.example.com/shop",
        "critical_function": True,
        "last_review": date(2026, 11, 1),
        "renewal_off_reason": "The product ends in March.",
    }
    before = issued(make_spec("a.example.com"), twin_portal)
    Certificate.objects.filter(pk=before.pk).update(**written, renewal_blocked="off")
    after = renewed(Certificate.objects.get(pk=before.pk))
    assert Certificate.objects.values(*written).get(pk=after.pk) == written
    assert Certificate.objects.get(pk=after.pk).renewal_blocked == ""  # a fact of the old certificate
