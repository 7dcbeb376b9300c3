from django.db import migrations, models


class Migration(migrations.Migration):
    """When the test certificate of a CA that is being added was revoked: one that was left is found by it.

    Rows of earlier releases that are ready or live have been through the whole test, which revokes.
    """

    dependencies = [("certs", "0059_requests_of_people")]

    operations = [
        migrations.AddField(
            "caaddition",
            "test_settled_at",
            models.DateTimeField(
                blank=True,
                help_text="When the test certificate was revoked, or was known not to exist.",
                null=True,
            ),
        ),
    ]
