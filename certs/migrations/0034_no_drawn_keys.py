from django.db import migrations


class Migration(migrations.Migration):
    """Whether a chunk was begun is seen from its requests."""

    dependencies = [("certs", "0033_figures_of_states")]

    operations = [migrations.RemoveField(model_name="bulkchunk", name="begun")]
