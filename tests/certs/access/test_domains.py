"""S7: a domain given to a team is what the portal compares, however it was typed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import IntegrityError, connection, transaction

from audit.models import AuditEvent
from certs.models import Domain, OperatorAlert, Team
from certs.requests.submit import preview
from certs.spec import CertificateSpec
from pkiportal.bootstrapping import Bootstrap
from policy.models import Policy
from tests.audit.ledger import execute
from tests.certs.access.upgrading import migration, models_before
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


@pytest.fixture
def alpha() -> Team:
    team = Team.objects.create(slug="alpha", name="Alpha", default_domain="Alpha.Example.")
    Domain.objects.create(name="ALPHA.example.", team=team)
    return team


@pytest.fixture
def _any_spelling() -> Iterator[None]:
    """The database takes every spelling, as it did before the migration."""
    if connection.vendor == "sqlite":
        execute("PRAGMA ignore_check_constraints = ON")
        yield
        execute("PRAGMA ignore_check_constraints = OFF")
    else:
        execute("ALTER TABLE certs_domain DROP CONSTRAINT domain_name_is_normal")
        execute("ALTER TABLE certs_team DROP CONSTRAINT team_default_domain_is_normal")
        yield


@pytest.fixture
def beta() -> Team:
    return Team.objects.create(slug="beta", name="Beta", default_domain="beta.example")


def test_every_way_to_write_a_domain_keeps_its_normal_form(alpha: Team) -> None:
    domain = Domain.objects.get()
    assert (domain.name, alpha.default_domain) == ("alpha.example", "alpha.example")
    Domain.objects.bulk_create([Domain(name=" Bücher.example ", team=alpha)])
    domain.name = "Gamma.Example"
    domain.save()
    assert set(alpha.domain_names()) == {"gamma.example", "xn--bcher-kva.example"}
    Domain.objects.filter(pk=domain.pk).update(name="Delta.Example")
    assert set(alpha.domain_names()) == {"delta.example", "xn--bcher-kva.example"}


@pytest.mark.parametrize("name", ["com", "*.w.example", "a" * 64 + ".example", "a b.example"])
def test_what_is_no_domain_is_refused_at_the_model(alpha: Team, name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        Domain.objects.create(name=name, team=alpha)


@pytest.mark.parametrize(
    "name",
    [
        *("Upper.example", "dot.example.", "*.w.example", "a b.example", " a.example"),
        *("bücher.example", "a" * 64 + ".example", "", "a.example\n", "a..example"),
    ],
)
def test_the_database_itself_refuses_another_spelling(alpha: Team, name: str) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        execute("INSERT INTO certs_domain (name, team_id) VALUES (%s, %s)", [name, alpha.pk])
    if name:
        with pytest.raises(IntegrityError), transaction.atomic():
            execute("UPDATE certs_team SET default_domain = %s", [name])


def test_default_domain_lies_inside_the_domains_of_the_team(alpha: Team) -> None:
    alpha.default_domain = "apps.alpha.example"
    alpha.save()
    alpha.default_domain = "elsewhere.example"
    with pytest.raises(ValidationError, match="outside the team's domains"):
        alpha.save()


@pytest.mark.parametrize("way", ["delete", "queryset", "move"])
def test_default_domain_goes_with_its_domain(alpha: Team, beta: Team, way: str) -> None:
    Domain.objects.create(name="other.example", team=alpha)
    domain = Domain.objects.get(name="alpha.example")
    if way == "delete":
        domain.delete()
    elif way == "queryset":
        Domain.objects.filter(pk=domain.pk).delete()
    else:
        domain.team = beta
        domain.save()
    alpha.refresh_from_db()
    assert alpha.default_domain == ""


def test_names_by_which_keys_and_settings_know_a_team_and_a_policy_are_final(alpha: Team) -> None:
    """Public keys belong to the slug: a team that took it over would own them."""
    alpha.slug = "taken"
    with pytest.raises(ValidationError, match="slug of a team is final"):
        alpha.save()
    policy = Policy.objects.create(name="default")
    policy.name = "taken"
    with pytest.raises(ValidationError, match="name of a policy is final"):
        policy.save()


@pytest.mark.django_db(transaction=True)
def test_domain_of_another_team_carves_its_part_out(portal: Portal) -> None:
    """S7: the longest match on A-labels wins, whatever the spelling in which it was given."""
    other = Team.objects.get(slug="other")

    def decisions() -> dict[str, str]:
        names = ("www.example.com", "api.pay.example.com", "*.example.com")
        specs = [
            CertificateSpec(
                common_name=name,
                dns_names=(name,),
                ip_addresses=(),
                key="ec-p256",
                validity_days=90,
                profile="tls-server",
            )
            for name in names
        ]
        found = preview(specs, requester=portal.requester()).decisions
        return {name: str(one.outcome) for name, one in zip(names, found, strict=True)}

    assert decisions()["api.pay.example.com"] == "allow"
    for typed in ("Pay.Example.com", "pay.example.com.", " pay.example.COM "):
        domain = Domain.objects.create(name=typed, team=other)
        found = decisions()
        assert found["www.example.com"] == "allow", typed
        assert found["api.pay.example.com"] == found["*.example.com"] == "deny", typed
        domain.delete()


@pytest.mark.usefixtures("_any_spelling")
def test_migration_normalises_old_rows_and_takes_away_what_has_no_normal_form(beta: Team) -> None:
    """S7: what cannot be normalised grants nothing, and a person is told."""
    gamma = Team.objects.create(slug="gamma", name="Gamma")
    rows = [("Finance.example", beta), ("com", beta), ("*.w.example", beta)]
    for name, team in [*rows, ("shared.example", gamma), ("SHARED.example", beta)]:
        execute("INSERT INTO certs_domain (name, team_id) VALUES (%s, %s)", [name, team.pk])
    execute("UPDATE certs_team SET default_domain = 'Finance.Example' WHERE slug = 'beta'")
    migration("certs", "domains_in_normal_form").normalise(models_before("certs", "domains_in_normal_form"), None)
    assert beta.domain_names() == ("finance.example",)
    assert gamma.domain_names() == ("shared.example",)
    beta.refresh_from_db()
    assert beta.default_domain == "finance.example"
    alerts: Any = OperatorAlert.objects.filter(kind="domain_removed").order_by("pk")
    assert [alert.message.split("'")[1] for alert in alerts] == [
        "com",
        "*.w.example",
        "SHARED.example",
    ]
    events = AuditEvent.objects.filter(event="domain:deleted").order_by("id")
    assert [event.data["name"] for event in events] == ["com", "*.w.example", "SHARED.example"]


@pytest.mark.parametrize("domain", ["co.uk", "github.io"])
def test_bootstrap_refuses_a_public_suffix_before_it_makes_anything(settings: Any, domain: str) -> None:
    settings.PKI_DEFAULT_DOMAINS = ["example.com", domain]
    with pytest.raises(ImproperlyConfigured, match="PKI_DEFAULT_DOMAINS"):
        Bootstrap(ca_key="ec-p256", report=print).check_settings()
    settings.PKI_PRIVATE_SUFFIXES = [domain]
    Bootstrap(ca_key="ec-p256", report=print).check_settings()
