from django.db import migrations, models


class Migration(migrations.Migration):
    """An index of the requests that people made one by one, with which the page of requests opens.

    Among the lines of a large order or the renewals of a night they are few. Issuance for programs,
    bulk orders and the schedule does not write it.
    """

    dependencies = [("certs", "0058_requests_without_certificate")]

    operations = [
        migrations.AddIndex(
            "certificaterequest",
            models.Index(
                fields=["-id"],
                include=["team", "requester"],
                condition=models.Q(("bulk_item__isnull", True), ("door__in", ["portal", "command"])),
                name="request_by_people",
            ),
        ),
    ]
