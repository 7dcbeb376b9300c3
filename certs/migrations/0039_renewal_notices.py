"""Notes of obstacles to renewals, from which one mail for each recipient and run is made."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("certs", "0038_request_drafts")]

    operations = [
        migrations.CreateModel(
            name="RenewalNotice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("csr", "needs a new CSR"),
                            ("refused", "refused by the policy, or by the state of its CA"),
                            ("failed", "failed"),
                            ("approval", "waits for an approval"),
                        ],
                        max_length=8,
                    ),
                ),
                ("cause", models.CharField(help_text="The policy version, a digest of the error, or the request.", max_length=64)),
                ("reason", models.TextField()),
                ("advice", models.TextField()),
                ("command", models.TextField(help_text="The OpenSSL command for a new CSR; empty where none is needed.")),
                ("noted_at", models.DateTimeField()),
                ("batch", models.UUIDField(help_text="The run that wrote the mails; none while they are not written.", null=True)),
                (
                    "certificate",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="certs.certificate"
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        db_index=False,
                        help_text="The renewal that failed or waits.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="certs.certificaterequest",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["batch"], name="renewal_notice_batch")],
                "constraints": [models.UniqueConstraint(fields=("certificate", "kind", "cause"), name="renewal_notice_once")],
            },
        ),
    ]
