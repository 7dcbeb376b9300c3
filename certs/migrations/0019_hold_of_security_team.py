from django.db import migrations, models
from django.db.models import Q


def mark_holds(apps, schema_editor):
    """Holds in force that an officer or the portal placed. The row keeps only a name, so the officers of now count."""
    users = apps.get_model("auth", "User").objects
    officers = users.filter(Q(is_superuser=True) | Q(groups__name="security-team")).values("username")
    holds = apps.get_model("certs", "Revocation").objects.filter(reason="certificateHold", released_at=None)
    by_portal = ~Q(requested_by__in=users.values("username")) & ~Q(requested_by__contains=":pkip_")
    holds.filter(Q(requested_by__in=officers) | by_portal).update(by_security_team=True)


class Migration(migrations.Migration):
    dependencies = [("certs", "0018_power_as_found")]

    operations = [
        migrations.AddField(
            "revocation",
            "by_security_team",
            models.BooleanField(db_default=False, default=False, help_text="A hold that only an officer releases."),
        ),
        migrations.RunPython(mark_holds, migrations.RunPython.noop),
    ]
