import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """One index takes the place of another, and a small one is added.

    `certificate_owner_ends`: the inventory page with `owner=`, the page of a person and everything that
    is handed over are read by their end; of an owner of 50,000 the page looked for 26 among all
    certificates. Nothing reads an owner's certificates by id, as `certificate_owner_recent` had them.
    `revocation_hold`: the inventory page with `state=on_hold` read everything that is revoked. It holds
    what is on hold, so issuance and all other revocations do not write it.
    `bulk_item_outcome` takes the place of the index that Django had made of `order`, with which
    `bulk_item_number_once` begins too: the page of an order counted the lines of each outcome by
    reading all of them. `bulk_item_team` in the same way takes the place of the one of `team`: the page
    asks for which teams the lines are, and how many another team has. `bulk_item_duplicate`: the tab of duplicates, which are few.
    `ended_as`: the page of an order that has ended counted its lines again each time.
    """

    dependencies = [("certs", "0056_former_owner_of_act_line")]

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
        migrations.AddIndex(
            "bulkitem",
            models.Index(fields=["order", "outcome", "number"], include=["id"], name="bulk_item_outcome"),
        ),
        migrations.AlterField(
            "bulkitem",
            "order",
            models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="items",
                to="certs.bulkorder",
            ),
        ),
        migrations.AddIndex("bulkitem", models.Index(fields=["order", "team"], name="bulk_item_team")),
        migrations.AlterField(
            "bulkitem",
            "team",
            models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="certs.team",
            ),
        ),
        migrations.AddIndex(
            "bulkitem",
            models.Index(
                condition=models.Q(("duplicate", ""), _negated=True),
                fields=["order"],
                name="bulk_item_duplicate",
            ),
        ),
        migrations.AddField(
            "bulkorder",
            "ended_as",
            models.JSONField(
                blank=True,
                help_text="How many lines became what when it was finished, so that its page need not count them.",
                null=True,
            ),
        ),
    ]
