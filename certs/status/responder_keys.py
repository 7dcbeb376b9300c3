"""Keys of OCSP responders whose time is over: destroyed like every other key, once no answer signed with them can be relied on.

An answer's nextUpdate is never later than its responder's certificate lasts (RFC 6960 4.2.2.1), so from the end of that
certificate on the key can only be stolen, not used. A key that a crash left without a certificate goes with them.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef

from audit.events import EventType
from audit.log import Event, Value, record_many
from certs.ca.local.ocsp_responder import RENEW_EVERY
from certs.models import ResponderCertificate
from certs.requests.states import WORKER
from certs.revocation.key_destruction import begin_destroying
from db.clock import database_now
from keys.lifecycle import intend_destruction
from keys.models import Key

KEPT_ON = timedelta(days=1)  # for clocks that go wrong
CHUNK = 50
_WHY = "no answer of this OCSP responder can be valid any more"


@transaction.atomic
def destroy_old_responder_keys() -> int:
    """Have old responder keys destroyed, by the worker that may. Returns how many were begun. Safe
    to run twice at once.
    """
    now = database_now()
    speaking = ResponderCertificate.objects.filter(key=OuterRef("pk"), not_after__gt=now - KEPT_ON)
    # The claim's name has an index, the purpose has none. A claim as young as this may be getting its certificate just now.
    over = Key.objects.filter(~Exists(speaking), claimed_for__startswith="ocsp:", purpose=Key.Purpose.OCSP)
    over = over.filter(claimed_at__lt=now - RENEW_EVERY - KEPT_ON).exclude(state__in=Key.ENDED)
    keys = list(over.order_by("claimed_at")[:CHUNK])
    if not keys:
        return 0
    served = dict(ResponderCertificate.objects.filter(key__in=keys).values_list("key", "order_ref"))
    certificates = {key.pk: [served[key.pk]] for key in keys if key.pk in served}
    intended = intend_destruction([key.pk for key in keys], reason=_WHY, certificates=certificates, actor=WORKER, now=now)
    begun = [key for key in intended.values() if isinstance(key, Key)]
    record_many([Event(EventType.KEY_DESTRUCTION_REQUESTED, f"key:{key.pk}", WORKER, now, _told(key)) for key in begun])
    transaction.on_commit(begin_destroying)
    return len(begun)


def _told(key: Key) -> dict[str, Value]:
    return {"key": str(key), "version": key.version, "backend": key.backend, "because_of": _WHY}
