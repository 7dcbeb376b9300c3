"""The pages of CAs: what each is and does now, and who sees what."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from certs.authorities.figures import count_by_issuer
from certs.authorities.overview import all_cas, ca_of, trees
from certs.ca.local.setup import succeed
from certs.models import Certificate, CRLPoint, Issuer, ResponderCertificate
from db.clock import database_now
from keys.spec import KeySpec
from tests.portal.authority import issue, issuing_ca, publish_everything, revoke
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = pytest.mark.django_db(transaction=True)


def opened(name: str, *args: Any, user: Any) -> str:
    client = Client()
    client.force_login(user)
    response = client.get(reverse(name, args=args))
    assert response.status_code == 200
    return response.content.decode()


def test_figures_count_what_the_linked_list_shows(portal: Portal) -> None:
    """A revoked certificate and one that has ended are in neither."""
    first, second, third = issue(portal, 3)
    revoke(first)
    Certificate.objects.filter(pk=second.pk).update(not_after=database_now() - timedelta(days=1))
    assert count_by_issuer() == 1
    ca = ca_of("internal-ca-prod")
    assert ca is not None
    assert ca.valid == 1
    client = Client()
    client.force_login(portal.carol)
    listed = client.get(ca.certificates_url).content.decode()
    assert third.cert_id in listed
    assert first.cert_id not in listed
    assert second.cert_id not in listed


def test_a_ca_that_works_needs_nobody(portal: Portal) -> None:
    publish_everything()
    issue(portal, 1)
    now = database_now()
    for ca in all_cas():
        assert ca.problems(now) == []
    issuing = ca_of("internal-ca-prod")
    assert issuing is not None
    assert issuing.last_success_at is not None
    assert issuing.key_place == "the portal, encrypted, local"
    assert [crl.entries for crl in issuing.crls] == [0]


def test_what_runs_out_is_named_with_its_cure(portal: Portal) -> None:
    """CRL, responder, circuit and end, each as its own sentence."""
    issuer = publish_everything()
    now = database_now()
    later = now + timedelta(days=9)
    issuing = ca_of(issuer.slug)
    assert issuing is not None
    assert {problem.text.split()[1] for problem in issuing.problems(later)} == {"CRL", "certificate"}
    Issuer.objects.filter(pk=issuer.pk).update(circuit_opened_at=now, circuit_reason="it signed for another")
    stopped = ca_of(issuer.slug)
    assert stopped is not None
    assert "it signed for another" in stopped.problems(now)[0].text
    assert stopped.ends_at is not None
    texts = [problem.text for problem in stopped.problems(stopped.ends_at - timedelta(days=30, hours=1))]
    assert any("ends in 30 days" in text for text in texts)
    assert all(problem.next_step for problem in stopped.problems(later))


def test_a_predecessor_stands_below_its_successor_and_needs_nobody(portal: Portal) -> None:
    publish_everything()
    old = issuing_ca()
    new = succeed(old, name="Internal-CA-Prod-G2", spec=KeySpec.EC_P256, actor=SYSTEM, tell=lambda _line: None)
    (tree,) = trees()
    assert [ca.issuer for ca in tree.cas] == [new, old]
    assert tree.own_root is not None
    assert tree.root is not None
    assert tree.root.sha256 == tree.own_root.certificate.sha256  # type: ignore[union-attr]
    assert not any("ends in" in problem.text for problem in tree.cas[1].problems(database_now() + timedelta(days=3640)))


def test_the_tree_costs_the_same_for_many_cas(portal: Portal, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """And none of its queries reads the inventory."""
    old = publish_everything()
    issue(portal, 2)
    count_by_issuer()
    with django_assert_num_queries(8) as before:
        all_cas()
    for number in range(2, 5):
        old = succeed(old, name=f"Internal-CA-Prod-G{number}", spec=KeySpec.EC_P256, actor=SYSTEM, tell=lambda _line: None)
    with django_assert_num_queries(8):
        all_cas()
    assert [one["sql"] for one in before.captured_queries if 'certs_certificate"' in one["sql"]] == []


def test_members_of_teams_see_names_and_trust_only(portal: Portal) -> None:
    """No rate, no key place, no circuit and no history: those are for the people who run it."""
    issuer = publish_everything()
    Issuer.objects.filter(pk=issuer.pk).update(circuit_reason="mean words", circuit_opened_at=database_now())
    root = issuer.parent
    assert root is not None
    for name, args in (("cas", ()), ("ca", ("internal-ca-prod",))):
        seen = opened(name, *args, user=portal.alice)
        everything = opened(name, *args, user=portal.carol)
        assert root.name in seen
        assert "mean words" in everything
        for secret in ("mean words", "encrypted", "Last success", "History"):
            assert secret not in seen


def test_history_leaves_routine_out_until_it_is_wanted(portal: Portal) -> None:
    publish_everything()
    page = opened("ca", "internal-ca-prod", user=portal.carol)
    assert "made the CA Internal-CA-Prod with the key" in page
    assert "CRL number" not in page
    client = Client()
    client.force_login(portal.carol)
    assert "CRL number" in client.get(reverse("ca", args=["internal-ca-prod"]), {"all": "yes"}).content.decode()
    assert client.get(reverse("ca", args=["internal-ca-prod"]), {"before": "9" * 40}).status_code == 200


def test_a_portal_without_a_ca_says_what_to_do(portal: Portal) -> None:
    CRLPoint.objects.all().delete()
    ResponderCertificate.objects.all().delete()
    Issuer.objects.filter(parent__isnull=False).delete()
    Issuer.objects.all().delete()
    assert "manage.py bootstrap" in opened("cas", user=portal.carol)


def test_roll_over_is_explained_with_its_command_where_the_key_of_the_root_is_elsewhere(portal: Portal, settings: Any) -> None:
    """What the page says is what the dry run prints."""
    publish_everything()
    settings.KEY_BACKENDS = {}
    page = opened("ca-roll-over", "internal-ca-prod", user=portal.carol)
    assert "manage.py roll_over_ca" in page
    out = StringIO()
    call_command("roll_over_ca", "Internal-CA-Prod", "--dry-run", "--json", stdout=out)
    told = json.loads(out.getvalue())
    assert (told["dry_run"], told["new"], told["root"]) == (True, "Internal-CA-Prod-G2", "Internal-CA-Prod Root")
    assert told["new"] in page
    assert Issuer.objects.count() == 2
    client = Client()
    for user, slug in ((portal.alice, "internal-ca-prod"), (portal.carol, "internal-ca-prod-root"), (portal.carol, "nowhere")):
        client.force_login(user)
        assert client.get(reverse("ca-roll-over", args=[slug])).status_code == 404
