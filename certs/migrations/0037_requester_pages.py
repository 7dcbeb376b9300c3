"""Notes, tags and runbook of certificates, revocations that wait for a replacement, cells of unreadable lines."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("certs", "0036_accounts_and_trust"),
        ("keys", "0005_slim_indexes"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="PlannedRevocation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("unspecified", "unspecified"),
                            ("keyCompromise", "keyCompromise"),
                            ("cACompromise", "cACompromise"),
                            ("affiliationChanged", "affiliationChanged"),
                            ("superseded", "superseded"),
                            ("cessationOfOperation", "cessationOfOperation"),
                            ("certificateHold", "certificateHold"),
                            ("privilegeWithdrawn", "privilegeWithdrawn"),
                            ("aACompromise", "aACompromise"),
                        ],
                        max_length=24,
                    ),
                ),
                ("requested_by", models.CharField(max_length=150)),
                ("requested_at", models.DateTimeField()),
                ("when_issued", models.BooleanField(help_text="Revoked once the replacement is issued; else at the deadline only.")),
                ("deadline", models.DateTimeField(help_text="Revoked then, whatever became of the replacement.")),
                ("spared", models.JSONField(default=list, help_text="Ids of certificates on the same key that are not revoked with it.")),
                ("invalidity_date", models.DateTimeField(blank=True, null=True)),
                ("comment", models.CharField(blank=True, max_length=500)),
                ("proven", models.BooleanField(default=False, help_text="The requester signed a challenge with the key.")),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("outcome", models.CharField(blank=True, choices=[("revoked", "revoked"), ("withdrawn", "withdrawn")], max_length=10)),
            ],
        ),
        migrations.AddField(
            model_name="bulkitem",
            name="given",
            field=models.JSONField(
                help_text="The cells of a line that cannot be read, by column, so that a person can correct them.", null=True
            ),
        ),
        migrations.AddField(
            model_name="certificate",
            name="notes",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="What whoever looks after it should know.", max_length=1000
            ),
        ),
        migrations.AddField(
            model_name="certificate",
            name="runbook",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="Address of the instructions for its service.", max_length=500
            ),
        ),
        migrations.AddField(
            model_name="certificate",
            name="tags",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Each between spaces, so that one is found by a comparison: ' production web '.",
                max_length=340,
            ),
        ),
        migrations.AddIndex(
            model_name="certificate",
            index=models.Index(
                condition=models.Q(("tags", ""), _negated=True), fields=["-id"], include=("tags",), name="certificate_tagged"
            ),
        ),
        migrations.AddIndex(
            model_name="certificaterequest",
            index=models.Index(condition=models.Q(("state", "awaiting_approval")), fields=["-id"], name="request_awaiting_approval"),
        ),
        migrations.AddField(
            model_name="plannedrevocation",
            name="certificate",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="planned_revocations", to="certs.certificate"
            ),
        ),
        migrations.AddField(
            model_name="plannedrevocation",
            name="replacement",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="planned_revocations", to="certs.certificaterequest"
            ),
        ),
        migrations.AddField(
            model_name="plannedrevocation",
            name="requester",
            field=models.ForeignKey(
                db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddConstraint(
            model_name="plannedrevocation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ended_at__isnull", True)), fields=("certificate",), name="planned_revocation_open_once"
            ),
        ),
    ]
