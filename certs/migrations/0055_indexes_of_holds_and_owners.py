from django.db import migrations, models


class Migration(migrations.Migration):
    """One index takes the place of another, and a small one is added.

    `certificate_owner_ends`: the inventory page with `owner=`, the page of a person and everything that
    is handed over are read by their end; of an owner of 50,000 the page looked for 26 among all
    certificates. Nothing reads an owner's certificates by id, as `certificate_owner_recent` had them.
    `revocation_hold`: the inventory page with `state=on_hold` read everything that is revoked. It holds
    what is on hold, so issuance and all other revocations do not write it.
    """

    dependencies = [("certs", "0054_owner_changes")]

    operations = [
        migrations.RemoveIndex("certificate", "certificate_owner_recent"),
        migrations.AddIndex(
            "certificate",
            models.Index(
                fields=["owner", "not_after"],
                condition=models.Q(("owner__isnull", False)),
                name="certificate_owner_ends",
            ),
        ),
        migrations.AddIndex(
            "revocation",
            models.Index(
                fields=["certificate"],
                condition=models.Q(("reason", "certificateHold"), ("released_at__isnull", True)),
                name="revocation_hold",
            ),
        ),
    ]
