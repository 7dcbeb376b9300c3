"""Domains are kept as lower-case A-labels; the database refuses every other spelling.

A row that has no normal form (`com`, `*.w.example`), or whose normal form another row has already,
grants nothing afterwards: the row is removed, an audit event keeps what was there, and an alert
asks the operators to decide.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import migrations, models

from db.clock import database_now
from audit.events import EventType
from audit.log import Actor, record
from certs.errors import InputRefused
from certs.x509.domains import NORMAL_FORM, is_inside, normalise_domain

ACTOR = Actor("command", "migrate")


def normalise(apps: Any, _schema_editor: Any) -> None:
    domains = apps.get_model("certs", "Domain").objects
    # A row that is in normal form already keeps its name, whichever row was written first.
    taken = set(domains.values_list("name", flat=True))
    for domain in domains.select_related("team").order_by("pk"):
        try:
            name = normalise_domain(domain.name, private_suffixes=settings.PKI_PRIVATE_SUFFIXES)
        except InputRefused as exc:
            _remove(apps, domain, exc.message)
            continue
        if name == domain.name:
            continue
        if name in taken:
            _remove(apps, domain, f"Domain {name} is already assigned in another row.")
            continue
        taken.add(name)
        data = {"team": domain.team.slug, "old_name": domain.name[:253], "new_name": name}
        _record(EventType.DOMAIN_CHANGED, f"certs.domain:{domain.pk}", data)
        domain.name = name
        domain.save(update_fields=["name"])
    for team in apps.get_model("certs", "Team").objects.order_by("pk"):
        _default_domain(apps, team)


def _default_domain(apps: Any, team: Any) -> None:
    if not team.default_domain:
        return
    owned = apps.get_model("certs", "Domain").objects.filter(team=team)
    owned = list(owned.values_list("name", flat=True))
    try:
        name = normalise_domain(team.default_domain, private_suffixes=settings.PKI_PRIVATE_SUFFIXES)
    except InputRefused:
        name = ""
    if owned and not is_inside(name, owned):
        name = ""
    if name != team.default_domain:
        data = {"old_default_domain": team.default_domain[:253], "new_default_domain": name}
        _record(EventType.TEAM_CHANGED, f"certs.team:{team.pk}", data)
        team.default_domain = name
        team.save(update_fields=["default_domain"])


def _remove(apps: Any, domain: Any, reason: str) -> None:
    now = database_now()
    text, team = domain.name[:253], domain.team
    data = {"name": text, "team": team.slug, "reason": reason[:300]}
    _record(EventType.DOMAIN_DELETED, f"certs.domain:{domain.pk}", data)
    apps.get_model("certs", "OperatorAlert").objects.create(
        kind="domain_removed",
        cause=f"domain:{domain.pk}",
        message=f"Domain {text!r} was taken from team {team.name}: {reason}"[:1000],
        next_step="Certificates stay valid, but the team gets no new ones under it. Give the right "
        "domain to the right team in the admin, then close this alert.",
        raised_at=now,
        last_seen_at=now,
    )
    domain.delete()


def _record(event: EventType, subject: str, data: dict[str, Any]) -> None:
    record(event, subject=subject, actor=ACTOR, at=database_now(), data=data)


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0004_room_for_counters"),
        ("certs", "0012_named_permissions"),
    ]

    operations = [
        migrations.AlterField(
            model_name="team",
            name="default_domain",
            field=models.CharField(
                blank=True,
                help_text="Completes a bare label: api-1 becomes api-1.<default domain>. One of the "
                "team's domains or a name beneath one. Empty: bare labels are refused.",
                max_length=253,
            ),
        ),
        migrations.AlterField(
            model_name="domain",
            name="name",
            field=models.CharField(
                help_text="Such as example.com. It covers every name beneath it. International names are converted.",
                max_length=253,
                unique=True,
            ),
        ),
        migrations.RunPython(normalise, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="domain",
            constraint=models.CheckConstraint(
                condition=models.Q(name__regex=NORMAL_FORM),
                name="domain_name_is_normal",
                violation_error_message="The domain is not in lower-case A-label form.",
            ),
        ),
        migrations.AddConstraint(
            model_name="team",
            constraint=models.CheckConstraint(
                condition=models.Q(default_domain="") | models.Q(default_domain__regex=NORMAL_FORM),
                name="team_default_domain_is_normal",
                violation_error_message="The default domain is not in lower-case A-label form.",
            ),
        ),
    ]
