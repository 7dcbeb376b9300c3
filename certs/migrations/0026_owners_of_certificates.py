"""The person who requested a certificate becomes its owner, as for new certificates."""

from __future__ import annotations

from typing import Any

from django.db import migrations
from django.db.models import F

BATCH = 20_000


def set_owners(apps: Any, _schema_editor: Any) -> None:
    """Write the owners in batches that commit one by one. Running it again changes nothing."""
    certificates = apps.get_model("certs", "Certificate").objects
    last = certificates.order_by("-pk").values_list("pk", flat=True).first() or 0
    for start in range(0, last + 1, BATCH):
        part = certificates.filter(pk__range=(start, start + BATCH - 1))
        part.filter(owner=None, requester__isnull=False).update(owner=F("requester"))


class Migration(migrations.Migration):
    # No transaction around it: a million rows would be locked until its end.
    atomic = False
    dependencies = [("certs", "0025_description_of_certificates")]
    operations = [migrations.RunPython(set_owners, migrations.RunPython.noop)]
