import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


def identify(apps, schema_editor):
    """Accounts of before: administrators made them, and their address counts as verified, as for a new account.

    Drafts get their drafter's account. Published versions never change.
    """
    users = apps.get_model("auth", "User").objects
    apps.get_model("policy", "Person").objects.bulk_create(
        [apps.get_model("policy", "Person")(user_id=pk, verified_email=email or "") for pk, email in users.values_list("pk", "email")]
    )
    for draft in apps.get_model("policy", "PolicyVersion").objects.filter(state="draft"):
        drafter = users.filter(username=draft.drafted_by).first()
        if drafter is not None:
            apps.get_model("policy", "PolicyVersion").objects.filter(pk=draft.pk).update(drafter=drafter)


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("policy", "0003_publish_permission"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Person",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="person",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("person_id", models.CharField(blank=True, help_text="The same for all accounts of one person.", max_length=200)),
                ("verified_email", models.EmailField(blank=True, max_length=254)),
            ],
        ),
        migrations.AddField(
            "policyversion",
            "drafter",
            models.ForeignKey(
                blank=True,
                help_text="The account that drafted it; empty for the portal itself.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.RunPython(identify, migrations.RunPython.noop),
    ]
