from django.db import migrations, models


class Migration(migrations.Migration):
    """A chunk of which every line has its certificate says how many they are.

    The page of an order that runs counted all its lines every two seconds, for each who looked.
    """

    dependencies = [("certs", "0061_ends_with_status")]

    operations = [
        migrations.AddField(
            "bulkchunk",
            "issued",
            models.PositiveIntegerField(
                blank=True,
                help_text="How many lines it has, where each had its certificate as it was closed: none changes again.",
                null=True,
            ),
        ),
    ]
