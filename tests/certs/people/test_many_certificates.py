"""Who owns more certificates than one transaction hands over: the account is off at once, workers do the rest."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from audit.log import record_many
from audit.models import AuditEvent
from certs.models import Certificate, OutgoingMail, OwnerChange
from certs.people import departure
from certs.requests import owner_change
from certs.requests.owner_change import sweep_owner_changes, work_on
from db.clock import database_now
from tests.cast import Cast
from tests.certs.access.matrix import spec
from tests.certs.inventory.estate import Estate
from tests.certs.life import issued

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]
MANY = 7


@pytest.fixture
def many(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seven certificates of the requester, where three are too many for one transaction and a part has two."""
    monkeypatch.setattr(owner_change, "AT_ONCE", 3)
    monkeypatch.setattr(owner_change, "BATCH", 2)
    made = Estate(issued(spec("a.example.com"), cast.requester("requester")))
    for number in range(MANY - 1):
        made.add(name=f"n{number}.example.com")
    made.save()
    Certificate.objects.update(owner=cast["requester"])
    return list(Certificate.objects.order_by("pk").values_list("pk", flat=True))


def remove(cast: Cast, owner: str) -> OwnerChange:
    authority = cast.authority("officer")
    shown = departure.plan_removal(cast["requester"], authority=authority)
    given: dict[str, Any] = {"owners": {"owner-web": owner}, "remove_webhooks": False, "shown": shown.sealed}
    departure.remove_access(cast["requester"], **given, authority=authority)
    return OwnerChange.objects.get()


def owners() -> list[str]:
    return [str(row.owner or "") for row in Certificate.objects.select_related("owner").order_by("pk")]


def events() -> int:
    return AuditEvent.objects.filter(event="certificate:described").count()


def test_the_account_is_off_at_once_and_a_worker_hands_over_each_certificate_once(cast: Cast, many: list[int]) -> None:
    change = remove(cast, "colleague")
    assert not get_user_model().objects.get(username="requester").is_active
    assert (owners(), events(), change.certificates) == (["requester"] * MANY, 0, many)
    assert [work_on(change.pk), work_on(change.pk)] == [MANY, 0]
    assert (owners(), events()) == (["colleague"] * MANY, MANY)
    change.refresh_from_db()
    assert (change.done, change.changed, change.ended_at is not None) == (MANY, MANY, True)
    assert OutgoingMail.objects.filter(recipient="colleague@example.org", topic="ownership").count() == 1


def test_a_worker_that_dies_in_a_part_loses_and_repeats_nothing(cast: Cast, many: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    change = remove(cast, "colleague")
    recorded, real = [], record_many

    def dies_at_the_second(written: Any) -> Any:
        recorded.append(written)
        if len(recorded) == 2:
            raise RuntimeError("killed")
        return real(written)

    monkeypatch.setattr(owner_change, "record_many", dies_at_the_second)
    with pytest.raises(RuntimeError):
        work_on(change.pk)
    assert (owners().count("colleague"), events()) == (2, 2)
    OwnerChange.objects.update(ordered_at=database_now() - timedelta(minutes=5))
    assert sweep_owner_changes() == 1
    assert work_on(change.pk) == MANY - 2
    assert (owners(), events(), sweep_owner_changes()) == (["colleague"] * MANY, MANY, 0)


def test_what_changed_since_the_order_is_respected(cast: Cast, many: list[int]) -> None:
    """One certificate got another owner; then the next owner left the team, which answers for the rest."""
    change = remove(cast, "colleague")
    Certificate.objects.filter(pk=many[0]).update(owner=cast["leaver"])
    cast.web.members.remove(cast["colleague"])
    assert work_on(change.pk) == MANY - 1
    assert owners() == ["leaver", *[""] * (MANY - 1)]


def test_the_page_of_the_person_shows_how_far_it_is(cast: Cast, many: list[int], client: Client) -> None:
    change = remove(cast, "colleague")
    OwnerChange.objects.update(done=4)
    client.force_login(cast["officer"])
    page = client.get(f"/people/{cast['requester'].pk}/").content.decode()
    assert "4 of 7 certificates are handed over to colleague" in page
    OwnerChange.objects.filter(pk=change.pk).update(ended_at=database_now())
    assert "handed over to" not in client.get(f"/people/{cast['requester'].pk}/").content.decode()
