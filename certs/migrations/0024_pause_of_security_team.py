from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("certs", "0023_bulk_submitter")]

    operations = [
        migrations.AddField(
            "bulkorder",
            "paused_by_security_team",
            models.BooleanField(db_default=False, default=False, help_text="A pause that only the security team or an operator ends."),
        ),
    ]
