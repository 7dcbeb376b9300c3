from django.db import migrations, models


class Migration(migrations.Migration):
    """The index of ends has what filters of the inventory compare most: they read it in place of the table.

    Of 100,000 certificates it is an eighth of the table. Nothing that it has changes in the ordinary
    life of a certificate but its status, which it had. An issuance writes 46 octets more to the log of
    the database, and takes no time more that could be measured. The index of what people requested one
    by one has the channel, which tells the portal from commands. What is served where is looked up by the
    certificate.
    """

    dependencies = [("certs", "0063_ends_with_begin")]

    operations = [
        migrations.RemoveIndex("certificate", "certificate_ends"),
        migrations.AddIndex(
            "certificate",
            models.Index(
                fields=["not_after", "alert_at"],
                include=["id", "status", "not_before", "team", "issuer", "key_type", "request"],
                name="certificate_ends",
            ),
        ),
        migrations.RemoveIndex("certificaterequest", "request_by_people"),
        migrations.AddIndex(
            "certificaterequest",
            models.Index(
                fields=["-id"],
                include=["team", "requester", "door"],
                condition=models.Q(("bulk_item__isnull", True), ("door__in", ["portal", "command"])),
                name="request_by_people",
            ),
        ),
        migrations.AddIndex(
            "installedplace",
            models.Index(fields=["served"], condition=models.Q(("served__isnull", False)), name="place_served"),
        ),
    ]
