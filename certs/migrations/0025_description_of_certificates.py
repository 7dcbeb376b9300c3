"""Owner, purpose, review and renewal switch of certificates, and the indexes of their lists."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("certs", "0024_pause_of_security_team"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="certificate",
            name="critical_function",
            field=models.BooleanField(
                db_default=False, default=False, help_text="Supports a critical or important function (DORA, Regulation (EU) 2022/2554)."
            ),
        ),
        migrations.AddField(
            model_name="certificate",
            name="last_review",
            field=models.DateField(blank=True, help_text="When a person last checked it.", null=True),
        ),
        migrations.AddField(
            model_name="certificate",
            name="owner",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                help_text="The person who answers for it; by default the person who requested it.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="certificate",
            name="purpose",
            field=models.CharField(blank=True, db_default="", default="", max_length=200),
        ),
        migrations.AddField(
            model_name="certificate",
            name="renewal_blocked",
            field=models.CharField(
                blank=True,
                choices=[
                    ("needs_csr", "needs a new CSR"),
                    ("policy", "refused by the policy"),
                    ("approval", "waits for an approval"),
                    ("failed", "failed"),
                    ("off", "switched off"),
                ],
                db_default="",
                default="",
                help_text="What the last expiry run could not do without a person.",
                max_length=12,
            ),
        ),
        migrations.AddField(
            model_name="certificate",
            name="renewal_off_reason",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Why a person switched the automatic renewal off; empty where it is on.",
                max_length=300,
            ),
        ),
        migrations.AddIndex(
            model_name="certificate",
            index=models.Index(condition=models.Q(("owner__isnull", False)), fields=["owner", "-id"], name="certificate_owner_recent"),
        ),
        migrations.AddIndex(
            model_name="certificate",
            index=models.Index(condition=models.Q(("critical_function", True)), fields=["-id"], name="certificate_critical"),
        ),
        migrations.AddIndex(
            model_name="certificate",
            index=models.Index(condition=models.Q(("renewal_blocked", ""), _negated=True), fields=["-id"], name="certificate_blocked"),
        ),
        migrations.AddIndex(
            model_name="certificate",
            index=models.Index(
                condition=models.Q(("renewal_off_reason", ""), _negated=True), fields=["-id"], name="certificate_renewal_off"
            ),
        ),
        migrations.AddIndex(
            model_name="revocation",
            index=models.Index(fields=["requested_at"], name="revocation_requested"),
        ),
    ]
