"""Leads of teams, invitations, requests to join; and teams recorded as they are, because digests cover leads from now on."""

from __future__ import annotations

from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from audit.changes import record_as_found, watched
from audit.log import Actor
from certs.models import Team


def record(apps: Any, _schema_editor: Any) -> None:
    rows = apps.get_model("certs.Team").objects.order_by("pk")
    record_as_found(rows.iterator(), watched()[Team], actor=Actor("command", "migrate"))


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("certs", "0047_approvals"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="portalrights",
            options={
                "default_permissions": (),
                "managed": False,
                "permissions": [
                    ("see_every_team", "Can see the requests, orders and certificates of every team"),
                    ("act_for_every_team", "Can renew, revoke, release, cancel and resume for every team"),
                    ("decide_requests", "Can approve and reject requests of other persons"),
                    ("decide_keys", "Can block public keys and undo a block"),
                    ("revoke_tokens", "Can revoke the API tokens of every user"),
                    ("operate", "Can close alerts, and pause and resume the work of every team"),
                    ("manage_people", "Can manage teams, their domains and people, and give the roles it holds"),
                ],
            },
        ),
        migrations.AddField(
            model_name="team",
            name="leads",
            field=models.ManyToManyField(
                blank=True,
                help_text="Members who may also take people in and out, and give names away. A lead who is no member counts for nothing.",
                related_name="led_teams",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.CreateModel(
            name="Invitation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("address", models.EmailField(max_length=254)),
                ("as_lead", models.BooleanField(default=False, help_text="The person is to lead the team.")),
                ("nonce", models.CharField(max_length=64)),
                ("token_sha256", models.CharField(max_length=64, unique=True)),
                ("created_at", models.DateTimeField()),
                ("sent_at", models.DateTimeField()),
                ("sent_times", models.PositiveSmallIntegerField(default=1)),
                ("expires_at", models.DateTimeField()),
                ("accepted_at", models.DateTimeField(null=True)),
                ("withdrawn_at", models.DateTimeField(null=True)),
                (
                    "accepted_by",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "invited_by",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL),
                ),
                ("role", models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="auth.group")),
                (
                    "team",
                    models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name="invitations", to="certs.team"),
                ),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="JoinRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("why", models.CharField(max_length=300)),
                ("asked_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(null=True)),
                (
                    "outcome",
                    models.CharField(
                        blank=True, choices=[("accepted", "taken in"), ("declined", "declined"), ("withdrawn", "withdrawn")], max_length=10
                    ),
                ),
                ("answer", models.CharField(blank=True, max_length=300)),
                (
                    "decided_by",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="join_requests", to=settings.AUTH_USER_MODEL
                    ),
                ),
                ("team", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="join_requests", to="certs.team")),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(condition=models.Q(("decided_at", None)), fields=["team", "asked_at"], name="join_request_open")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("decided_at", None)), fields=("person", "team"), name="join_request_open_once"
                    )
                ],
            },
        ),
        migrations.RunPython(record, migrations.RunPython.noop),
    ]
