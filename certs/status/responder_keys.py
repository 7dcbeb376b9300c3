"""Destroy the keys of former OCSP responders, once no response that they signed can be relied on any more.

A response's nextUpdate is never later than the end of its responder's certificate (RFC 6960 4.2.2.1), so from then on the key
is of no use but to a thief. A key that a crash left without a certificate is destroyed with them.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef

from audit.events import EventType
from audit.log import Event, Value, record_many
from certs.ca.local.ocsp_responder import RENEW_EVERY
from certs.models import ResponderCertificate
from certs.requests.states import WORKER
from certs.revocation.key_destruction import begin_destroying
from db.clock import database_now
from keys.lifecycle.destroy import intend_destruction
from keys.models import Key

KEPT_ON = timedelta(days=1)  # for clocks that go wrong
CHUNK = 50
_WHY = "no response of this OCSP responder can be valid any more"


@transaction.atomic
def destroy_old_responder_keys() -> int:
    """Order the destruction of old responder keys, which a worker with that right carries out. Returns how many. Safe to run
    twice at once.

    Effects, in one transaction: the rows of the keys, `key:destruction_requested` each; after the commit the task of the
    queue `destroy`.
    """
    now = database_now()
    valid = ResponderCertificate.objects.filter(key=OuterRef("pk"), not_after__gt=now - KEPT_ON)
    # The claim's name has an index, the purpose has none. A claim as young as this may be getting its certificate just now.
    over = Key.objects.filter(~Exists(valid), claimed_for__startswith="ocsp:", purpose=Key.Purpose.OCSP)
    over = over.filter(claimed_at__lt=now - RENEW_EVERY - KEPT_ON).exclude(state__in=Key.ENDED)
    keys = list(over.order_by("claimed_at")[:CHUNK])
    if not keys:
        return 0
    served = dict(ResponderCertificate.objects.filter(key__in=keys).values_list("key", "order_ref"))
    certificates = {key.pk: [served[key.pk]] for key in keys if key.pk in served}
    intended = intend_destruction([key.pk for key in keys], reason=_WHY, certificates=certificates, actor=WORKER, now=now)
    begun = [key for key in intended.values() if isinstance(key, Key)]
    data: dict[UUID, dict[str, Value]] = {
        key.pk: {"key": str(key), "version": key.version, "backend": key.backend, "because_of": _WHY} for key in begun
    }
    record_many([Event(EventType.KEY_DESTRUCTION_REQUESTED, f"key:{pk}", WORKER, now, content) for pk, content in data.items()])
    transaction.on_commit(begin_destroying)
    return len(begun)
