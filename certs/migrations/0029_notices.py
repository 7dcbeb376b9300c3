import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


def one_row_for_each_recipient(apps, schema_editor):
    """Split each mail into one row for each of its recipients."""
    mails = apps.get_model("certs", "OutgoingMail").objects
    for pk in list(mails.order_by("pk").values_list("pk", flat=True)):
        mail = mails.get(pk=pk)
        first, *others = list(mail.to) or [""]
        mails.filter(pk=pk).update(recipient=first)
        for other in others:
            mail.pk, mail.recipient = None, other
            mail.save(force_insert=True)


class Migration(migrations.Migration):
    dependencies = [
        ("certs", "0028_persons_tokens_issuers_as_found"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="DigestEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("topic", models.CharField(max_length=32)),
                ("at", models.DateTimeField()),
                ("announced", models.BooleanField(default=False, help_text="Webhooks have been notified.")),
                ("batch", models.UUIDField(help_text="The digest that takes the entry, inside its transaction.", null=True)),
            ],
        ),
        migrations.CreateModel(
            name="MailAttachment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100)),
                ("media_type", models.CharField(max_length=100)),
                ("content_id", models.CharField(blank=True, help_text="For <img src=cid:...>; empty for a file.", max_length=100)),
                ("content", models.BinaryField()),
            ],
        ),
        migrations.CreateModel(
            name="MailChoice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("topic", models.CharField(max_length=32)),
                ("wanted", models.BooleanField()),
            ],
        ),
        migrations.CreateModel(
            name="Webhook",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=64)),
                ("url", models.CharField(max_length=500)),
                ("topics", models.JSONField(default=list)),
                ("salt", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField()),
                ("failing_since", models.DateTimeField(blank=True, null=True)),
                ("disabled_at", models.DateTimeField(blank=True, null=True)),
                ("removed_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="WebhookDelivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("message_id", models.CharField(max_length=40, unique=True)),
                ("topic", models.CharField(max_length=32)),
                ("body", models.TextField(help_text="The JSON document, exactly as it is signed.")),
                ("created_at", models.DateTimeField()),
                ("not_before", models.DateTimeField()),
                ("tries", models.PositiveSmallIntegerField(default=0)),
                ("lease_until", models.DateTimeField(blank=True, null=True)),
                ("delivered_at", models.DateTimeField(blank=True, null=True)),
                ("given_up_at", models.DateTimeField(blank=True, null=True)),
                ("last_tried_at", models.DateTimeField(blank=True, null=True)),
                ("last_status", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("last_error", models.CharField(blank=True, max_length=300)),
            ],
        ),
        migrations.AddField(
            model_name="operatoralert",
            name="tried_at",
            field=models.DateTimeField(blank=True, help_text="When the work that fails was last tried again.", null=True),
        ),
        migrations.AddField(
            model_name="operatoralert",
            name="trials",
            field=models.PositiveSmallIntegerField(default=0, db_default=0),
        ),
        migrations.AddField(
            model_name="operatoralert",
            name="end_notified_at",
            field=models.DateTimeField(blank=True, help_text="When the operators were notified that an outage is over.", null=True),
        ),
        migrations.AddField(
            model_name="outgoingmail",
            name="given_up_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="outgoingmail",
            name="html",
            field=models.TextField(blank=True, help_text="The HTML part, with its style sheet inlined."),
        ),
        migrations.AddField(
            model_name="outgoingmail",
            name="recipient",
            field=models.CharField(default="", max_length=254),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="outgoingmail",
            name="reply_to",
            field=models.CharField(blank=True, max_length=254),
        ),
        migrations.AddField(
            model_name="outgoingmail",
            name="topic",
            field=models.CharField(default="machinery", max_length=32),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name="outgoingmail",
            name="body",
            field=models.TextField(help_text="The text part."),
        ),
        migrations.AlterField(
            model_name="outgoingmail",
            name="dedup_key",
            field=models.CharField(max_length=160),
        ),
        migrations.RunPython(one_row_for_each_recipient, migrations.RunPython.noop),
        migrations.RemoveField(
            model_name="outgoingmail",
            name="to",
        ),
        migrations.AddIndex(
            model_name="operatoralert",
            index=models.Index(fields=["kind", "cause", "-closed_at"], name="alert_latest"),
        ),
        migrations.AddIndex(
            model_name="outgoingmail",
            index=models.Index(
                condition=models.Q(("given_up_at__isnull", True), ("sent_at__isnull", True)), fields=["not_before"], name="mail_waiting"
            ),
        ),
        migrations.AddConstraint(
            model_name="outgoingmail",
            constraint=models.UniqueConstraint(fields=("dedup_key", "recipient"), name="mail_once_for_recipient"),
        ),
        migrations.AddField(
            model_name="digestentry",
            name="certificate",
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="certs.certificate"),
        ),
        migrations.AddField(
            model_name="mailattachment",
            name="mail",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="attachments", to="certs.outgoingmail"),
        ),
        migrations.AddField(
            model_name="mailchoice",
            name="user",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="mail_choices", to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name="webhook",
            name="created_by",
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name="webhook",
            name="team",
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="webhooks", to="certs.team"),
        ),
        migrations.AddField(
            model_name="webhookdelivery",
            name="webhook",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="deliveries", to="certs.webhook"
            ),
        ),
        migrations.AddIndex(
            model_name="digestentry",
            index=models.Index(fields=["topic", "at"], name="digest_entry_due"),
        ),
        migrations.AddConstraint(
            model_name="mailchoice",
            constraint=models.UniqueConstraint(fields=("user", "topic"), name="mail_choice_once"),
        ),
        migrations.AddConstraint(
            model_name="webhook",
            constraint=models.UniqueConstraint(
                condition=models.Q(("removed_at__isnull", True)), fields=("team", "name"), name="webhook_name_once"
            ),
        ),
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(fields=["webhook", "-id"], name="webhook_delivery_recent"),
        ),
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(
                condition=models.Q(("delivered_at__isnull", True), ("given_up_at__isnull", True)),
                fields=["not_before"],
                name="webhook_delivery_waiting",
            ),
        ),
    ]
