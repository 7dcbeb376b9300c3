"""Two expiry runs at once, such as the schedule's and one that an operator started by hand: one record of each obstacle."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import transaction

from audit.models import AuditEvent
from certs.models import RenewalNotice
from certs.renewal.expiry import SCHEDULE
from certs.renewal.expiry_mail import note_obstacles
from certs.renewal.plan import plan_renewals
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.certs.life import events_of, issued, new_policy, years_later
from tests.portal.threads import in_thread, until_it_waits_for_a_lock

pytestmark = pytest.mark.django_db(transaction=True)


def test_obstacle_that_two_runs_find_at_once_is_one_event(twin_portal: Requester, make_spec: Callable[..., CertificateSpec]) -> None:
    certificate = years_later(issued(make_spec(), twin_portal), days_left=20)
    new_policy("v2.4", allowed_keys={"rsa": {"min_bits": 3072}, "ec": [384]})
    now = database_now()
    plans = plan_renewals([certificate], at=now)
    with transaction.atomic():
        note_obstacles(plans, actor=SCHEDULE, now=now)
        # The other run has found the same, and does not see what is not committed yet.
        other = in_thread(lambda: note_obstacles(plans, actor=SCHEDULE, now=now))
        until_it_waits_for_a_lock()
    other.join(30)
    assert events_of(certificate) == ["certificate:renewal_refused"]
    assert RenewalNotice.objects.count() == AuditEvent.objects.filter(event="certificate:renewal_refused").count() == 1
