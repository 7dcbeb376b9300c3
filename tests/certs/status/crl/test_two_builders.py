"""Two CRLs made at once, and revocations while one is made: a number each, nothing goes back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from certs.models import CRL, CRLPoint
from certs.status.crl import publish, publish_crl
from certs.status.crl.points import take_number
from certs.status.crl.segments import Snapshot
from certs.status.publishing import refresh_point
from db.clock import database_now
from tests.certs.status.crl.lists import number_of, point, serials
from tests.portal.authority import issue, publish_everything, published, revoke
from tests.portal.fixtures import SYSTEM, Portal
from tests.portal.threads import in_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def test_revoked_while_a_crl_is_signed_is_on_the_next(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    early, late = issue(portal, 2)
    issuer = publish_everything()
    revoke(early)
    sign = publish.sign_crl
    once: list[bool] = []

    def signing(*arguments: Any) -> Any:
        if not once:
            once.append(True)
            in_thread(lambda: revoke(late)).join(20)
        return sign(*arguments)

    monkeypatch.setattr(publish, "sign_crl", signing)
    refresh_point(point())  # goes on until nothing is left to say
    numbers = list(CRL.objects.filter(point=point()).order_by("number").values_list("number", "count"))
    assert [count for _, count in numbers] == [0, 1, 2]
    assert serials(published(issuer)) == sorted([early.serial_number, late.serial_number])


def test_of_two_builders_at_once_the_higher_number_wins(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second builder begins while the first signs, and is done before: the first gives up, and nothing goes back."""
    early, late = issue(portal, 2)
    issuer = publish_everything()
    revoke(early)
    sign = publish.sign_crl
    once: list[bool] = []
    others: list[CRL | None] = []

    def second() -> None:
        revoke(late)
        others.append(publish_crl(point(), actor=SYSTEM))

    def overtaken(*arguments: Any) -> Any:
        if not once:
            once.append(True)
            in_thread(second).join(20)
        return sign(*arguments)

    monkeypatch.setattr(publish, "sign_crl", overtaken)
    assert publish_crl(point(), actor=SYSTEM) is None
    assert [crl.count for crl in others if crl] == [2]
    assert serials(published(issuer)) == sorted([early.serial_number, late.serial_number])
    taken = point().last_number
    numbers = list(CRL.objects.filter(point=point()).values_list("number", flat=True))
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) == taken  # the overtaken builder's number is used up, and lower


def test_builder_that_waited_for_the_lock_sees_what_was_published_meanwhile(portal: Portal) -> None:
    publish_everything()
    mine = point()
    now = database_now()
    lower, higher = (publish.signed_crl(mine, take_number(mine), Snapshot(), now=now, validity=timedelta(days=3)) for _ in range(2))
    higher.published_at = now
    outcomes: list[bool] = []
    with transaction.atomic():
        row = CRLPoint.objects.select_for_update().get(pk=mine.pk)
        waiting = in_thread(lambda: outcomes.append(publish.publish_signed(point(), lower, Snapshot(), actor=SYSTEM)))
        waiting.join(0.5)
        assert outcomes == []
        higher.save()
        row.published = higher
        row.save()
    waiting.join(30)
    assert (outcomes, point().published) == ([False], higher)


def test_many_builders_at_once_have_a_number_each(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    revoke(certificate)
    made: list[CRL | None] = []
    threads = [in_thread(lambda: made.append(publish_crl(point(), actor=SYSTEM))) for _ in range(4)]
    for thread in threads:
        thread.join(60)
    numbers = [crl.number for crl in made if crl is not None]
    assert numbers
    assert len(set(numbers)) == len(numbers)
    assert number_of(published(issuer)) == max(numbers)
    assert serials(published(issuer)) == [certificate.serial_number]


def test_builder_whose_segments_were_cleared_up_builds_anew(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was suspended for longer than KEPT_FOR, or a clock that jumped: nothing fails, and nothing is lost."""
    early, late = issue(portal, 2)
    issuer = publish_everything()
    revoke(early)
    sign = publish.sign_crl
    once: list[bool] = []

    def hours_later() -> None:
        with monkeypatch.context() as later:
            later.setattr(publish, "database_now", lambda: database_now() + 2 * publish.KEPT_FOR)
            revoke(late)
            publish_crl(point(), actor=SYSTEM)

    def held_up(*arguments: Any) -> Any:
        if not once:
            once.append(True)
            in_thread(hours_later).join(20)
        return sign(*arguments)

    monkeypatch.setattr(publish, "sign_crl", held_up)
    made = publish_crl(point(), actor=SYSTEM)
    assert made is not None
    assert made.number == max(CRL.objects.filter(point=point()).values_list("number", flat=True))
    assert serials(published(issuer)) == sorted([early.serial_number, late.serial_number])
