"""Many mails of one kind to one recipient become one: what each says in it, and which mail holds it."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("certs", "0054_owner_changes")]

    operations = [
        migrations.AddField(
            model_name="outgoingmail",
            name="bundle_kind",
            field=models.CharField(blank=True, db_default="", help_text="Many of one kind become one mail.", max_length=32),
        ),
        migrations.AddField(
            model_name="outgoingmail",
            name="bundle_line",
            field=models.JSONField(blank=True, help_text="What the mail says in a bundle: name, why, path.", null=True),
        ),
        migrations.AddField(
            model_name="outgoingmail",
            name="bundled_into",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="bundled",
                to="certs.outgoingmail",
            ),
        ),
        migrations.RemoveIndex(model_name="outgoingmail", name="mail_waiting"),
        migrations.AddIndex(
            model_name="outgoingmail",
            index=models.Index(
                condition=models.Q(("bundled_into__isnull", True), ("given_up_at__isnull", True), ("sent_at__isnull", True)),
                fields=["not_before"],
                name="mail_waiting",
            ),
        ),
        migrations.AddIndex(
            model_name="outgoingmail",
            index=models.Index(
                condition=models.Q(("bundle_kind", ""), _negated=True),
                fields=["recipient", "bundle_kind", "written_at"],
                name="mail_of_kind",
            ),
        ),
    ]
