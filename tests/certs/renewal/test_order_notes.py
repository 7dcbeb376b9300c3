"""What a requester is told where the schedule cannot renew in time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from certs.requests.submit import Requester, preview
from certs.spec import CertificateSpec

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_short_life_that_the_nightly_run_alone_cannot_renew_is_warned_of(
    twin_portal: Requester, make_spec: Callable[..., CertificateSpec]
) -> None:
    """D5."""

    def notes(days: int) -> str:
        return " ".join(preview([make_spec(days=days)], requester=twin_portal).notes)

    every, _ = IntervalSchedule.objects.get_or_create(every=900, period=IntervalSchedule.SECONDS)
    for name in ("check_expiry", "renew_due"):
        PeriodicTask.objects.create(name=name, task=f"certs.tasks.{name}", interval=every)
    assert notes(1) == ""
    PeriodicTask.objects.filter(name="renew_due").update(enabled=False)
    assert "can end before it is renewed" in notes(1)
    assert notes(4) == ""
