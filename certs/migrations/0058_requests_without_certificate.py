from django.db import migrations, models


class Migration(migrations.Migration):
    """An index of requests that ended without a certificate.

    The page of requests with `state=rejected`, `failed` or `cancelled` looked for them among all, and a
    search for a part of a name looked through the names of all. An issuance does not write it.
    """

    dependencies = [("certs", "0057_indexes_of_holds_and_owners")]

    operations = [
        migrations.AddIndex(
            "certificaterequest",
            models.Index(
                fields=["-id"],
                condition=models.Q(("state__in", ["rejected", "failed", "cancelled"])),
                name="request_ended_without",
            ),
        ),
    ]
