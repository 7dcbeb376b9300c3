import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    """A figure says since when it is not zero: how long certificates have been without an owner. Of those that are there, since now."""

    dependencies = [("certs", "0066_rare_certificates")]

    operations = [
        migrations.AddField(
            "figure",
            "since",
            models.DateTimeField(
                db_default=django.db.models.functions.datetime.Now(),
                help_text="When it was counted first; it has not been zero since.",
            ),
        ),
    ]
