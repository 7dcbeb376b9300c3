from django.db import migrations, models


class Migration(migrations.Migration):
    """As many indexes as before: two that pages read more from take the place of two.

    `certificate_ends`: the inventory page with `state=valid` passes over tens of thousands of
    certificates that are due; with `alert_at` beside the end, it does so within the index.
    `certificate_renewal`: every page that shows states asks whether a good renewal is there; with
    the status in the index, rows are not read for it. Both columns are in the predicates or keys
    of other indexes or never change, so no update becomes dearer.
    """

    dependencies = [("certs", "0051_cas_added_and_reissued")]

    operations = [
        migrations.AlterField("certificate", "not_after", models.DateTimeField()),
        migrations.AddIndex(
            "certificate",
            models.Index(fields=["not_after", "alert_at"], name="certificate_ends"),
        ),
        migrations.RemoveIndex("certificate", "certificate_renewal"),
        migrations.AddIndex(
            "certificate",
            models.Index(
                fields=["renewed_from"],
                include=["status"],
                condition=models.Q(("renewed_from__isnull", False)),
                name="certificate_renewal",
            ),
        ),
    ]
