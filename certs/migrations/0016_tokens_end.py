from datetime import timedelta

from django.db import migrations, models
from django.db.models import Q
from django.utils import timezone


def bound_lives(apps, schema_editor):
    """Tokens without an end, and those that would live longer than a new one may, get the longest life from now on."""
    latest = timezone.now() + timedelta(days=397)
    apps.get_model("certs", "ApiToken").objects.filter(Q(expires_at=None) | Q(expires_at__gt=latest)).update(expires_at=latest)


class Migration(migrations.Migration):
    dependencies = [("certs", "0015_sign_in_limits")]

    operations = [
        migrations.AddField(
            "apitoken",
            "ended_because",
            models.CharField(blank=True, db_default="", help_text="Why it was revoked.", max_length=200),
        ),
        migrations.RunPython(bound_lives, migrations.RunPython.noop),
        migrations.AlterField("apitoken", "expires_at", models.DateTimeField()),
    ]
