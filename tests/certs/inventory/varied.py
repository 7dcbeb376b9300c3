"""A small inventory in which every figure counts something."""

from __future__ import annotations

from datetime import timedelta

from certs.bulk.submit import submit_order
from certs.enums import RequestState
from certs.models import Certificate, Issuer, PolicyVerdict, Team
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.clock import database_now
from keys.models import PublicKey
from tests.cast import person
from tests.certs.bulk.orders import drafted, work_off_all
from tests.certs.inventory.estate import Estate

DAY = timedelta(days=1)


def varied(twin_portal: Requester, spec: CertificateSpec) -> Estate:
    """Return certificates of two teams, two CAs and two kinds of keys, in every state and for every need."""
    submit_order(drafted([spec], twin_portal), authority=twin_portal.authority)
    work_off_all()
    template = Certificate.objects.select_related("request").get()
    now = database_now()
    alice = person("alice", team=twin_portal.team)
    other = Team.objects.create(slug="other", name="Other")
    elsewhere = Issuer.objects.create(name="Elsewhere", slug="elsewhere", created_at=now)
    PublicKey.objects.create(spki_sha256="b" * 64, team="web", recorded_at=now, blocked_at=now)
    made = Estate(template)
    for days, blocked in ((5, "needs_csr"), (9, "policy"), (12, "failed"), (20, "approval"), (29, ""), (30, "policy"), (31, "policy")):
        made.add(not_after=now + days * DAY, alert_at=now - DAY, renewal_blocked=blocked, owner=alice)
    made.add(not_after=now + 3 * DAY, alert_at=now - DAY, renewal_off_reason="ends", renewal_blocked="off")
    made.add(not_after=now + 300 * DAY, team=other, key_type="rsa-2048", issuer=elsewhere)
    made.add(not_after=now + 70 * DAY, team=other, spki_sha256="b" * 64)
    made.add(not_after=now + 190 * DAY, not_before=now - 2 * DAY, team=other, owner=alice)
    made.add(not_after=now - DAY, alert_at=now - 31 * DAY)
    made.add(not_after=now - 100 * DAY, alert_at=now - 131 * DAY)
    made.add(not_after=now + 4000 * DAY, owner=alice)
    made.add(status="revoked")
    renewed = made.add(not_after=now + 8 * DAY, alert_at=now - DAY, owner=alice)
    made.add(renewed_from=renewed, not_after=now + 98 * DAY, owner=alice)
    renewing = made.add(not_after=now + 6 * DAY, alert_at=now - DAY, team=other)
    made.add_request(renewed_from=renewing, state=RequestState.APPROVED)
    made.save()
    refused = Certificate.objects.get(key_type="rsa-2048")
    PolicyVerdict.objects.create(certificate=refused, rules=" allowed_keys ")
    return made
