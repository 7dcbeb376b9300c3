"""One state for each certificate, the same from Python and from the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from certs.bulk.submit import submit_order
from certs.enums import RequestState, RevocationReason
from certs.inventory import CertificateState, in_state, listed_state, state_of, states_of, with_state
from certs.models import Certificate, Issuer, Reissue
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.certs.bulk.orders import drafted, work_off_all
from tests.certs.inventory.estate import Estate

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

DAY = timedelta(days=1)
GOOD, PENDING, REVOKED = Certificate.Status


@pytest.fixture
def estate(twin_portal: Requester, make_spec: Callable[..., CertificateSpec]) -> Estate:
    submit_order(drafted([make_spec("a.example.com")], twin_portal), authority=twin_portal.authority)
    work_off_all()
    return Estate(Certificate.objects.get())


def test_the_state_in_python_and_in_the_database_agree(estate: Estate) -> None:
    """B6: the badge, the list and the mail each had a rule of their own."""
    now = database_now().replace(microsecond=0)
    persons: list[dict[str, Any]] = [{}, {"renewal_blocked": "policy"}, {"renewal_off_reason": "moved away"}]
    ends = (now - timedelta(seconds=1), now, now + 20 * DAY, now + 90 * DAY)
    for end, alert, person, following, renewal in product(
        ends,
        (None, now - DAY, now, now + DAY),
        persons,
        (None, GOOD, REVOKED),
        (None, RequestState.AWAITING_APPROVAL, RequestState.CSR_CREATED, RequestState.FAILED),
    ):
        if following is not None and renewal not in (None, RequestState.FAILED):
            continue  # the database allows one living renewal
        made = estate.add(not_after=end, alert_at=alert, **person)
        if following is not None:
            estate.add(not_after=now + 60 * DAY, alert_at=now + 30 * DAY, renewed_from=made, status=following)
        if renewal is not None:
            estate.add_request(renewed_from=made, state=renewal)
    for end, status, reason in product(ends, (PENDING, REVOKED), (RevocationReason.CERTIFICATE_HOLD, RevocationReason.SUPERSEDED)):
        estate.add(not_after=end, alert_at=now, status=status, reason=reason)
    estate.save()

    rows = Certificate.objects.select_related("issuer", "revocation")
    by_row = {row.pk: state_of(row, now) for row in rows}
    annotated = {row.pk: listed_state(row) for row in with_state(Certificate.objects.all(), now)}
    assert annotated == by_row
    for state in CertificateState:
        listed = set(in_state(Certificate.objects.all(), state, now).values_list("pk", flat=True))
        assert listed == {pk for pk, one in by_row.items() if one == state}, state
    assert set(Counter(by_row.values())) == set(CertificateState)  # each state was met


def test_states_say_what_a_reader_expects(estate: Estate) -> None:
    now = database_now()
    soon: dict[str, Any] = {"not_after": now + 20 * DAY, "alert_at": now - DAY}
    renewing = estate.add(**soon)
    estate.add_request(renewed_from=renewing, state=RequestState.APPROVED)
    renewed = estate.add(**soon)
    estate.add(not_after=now + 90 * DAY, alert_at=now + 60 * DAY, renewed_from=renewed)
    lost = estate.add(**soon)  # its renewal was revoked: nothing takes its place
    estate.add(**soon, renewed_from=lost, status=REVOKED)
    expected = [
        (estate.add(not_after=now + 90 * DAY, alert_at=now + 60 * DAY), "valid"),
        (estate.add(**soon), "renew_soon"),
        (estate.add(**soon, renewal_blocked="needs_csr"), "needs_you"),
        (estate.add(**soon, renewal_off_reason="replaced by another product"), "needs_you"),
        (estate.add(not_after=now + 90 * DAY, alert_at=now + 60 * DAY, renewal_off_reason="x"), "valid"),
        (renewing, "renewing"),
        (renewed, "renewed"),
        (lost, "renew_soon"),
        (estate.add(not_after=now - DAY, alert_at=now - 31 * DAY), "expired"),
        (estate.add(**soon, status=PENDING), "being_revoked"),
        (estate.add(**soon, status=REVOKED), "revoked"),
        (estate.add(**soon, status=REVOKED, reason=RevocationReason.CERTIFICATE_HOLD), "on_hold"),
        (estate.add(not_after=now - DAY, alert_at=now - 31 * DAY, status=REVOKED), "revoked"),
    ]
    estate.save()
    assert [state_of(row, now).value for row, _ in expected] == [state for _, state in expected]


def test_certificates_of_a_distrusted_ca_are_due_whatever_their_end(estate: Estate) -> None:
    now = database_now()
    made = estate.add(not_after=now + 90 * DAY, alert_at=now + 60 * DAY)
    estate.save()
    Issuer.objects.update(state=Issuer.State.DISTRUSTED)
    row = Certificate.objects.get(pk=made.pk)
    assert state_of(row, now) == CertificateState.RENEW_SOON
    assert row in in_state(Certificate.objects.all(), CertificateState.RENEW_SOON, now)


def test_certificates_of_a_ca_whose_re_issue_runs_are_due_until_it_is_paused(estate: Estate) -> None:
    """Lists, REST and the report said "valid" where the page of the certificate said that its CA is being replaced."""
    now = database_now()
    far: dict[str, Any] = {"not_after": now + 90 * DAY, "alert_at": now + 60 * DAY}
    made = [estate.add(**far), estate.add(**far, renewal_blocked="needs_csr"), estate.add(**far, renewal_off_reason="moved")]
    estate.save()
    issuer = made[0].issuer
    target = Issuer.objects.create(name="Other-CA", slug="other-ca", alias="Other-CA", created_at=now)
    reissue = Reissue.objects.create(public_id="reissue-1", issuer=issuer, target=target, state="running", created_at=now)
    ids = [one.pk for one in made]

    def states() -> list[str]:
        rows = Certificate.objects.filter(pk__in=ids).order_by("pk")
        found = [state_of(row, now).value for row in rows]
        assert [states_of(ids, now)[pk] for pk in ids] == found
        for state in CertificateState:
            listed = in_state(rows, state, now).values_list("pk", flat=True)
            assert list(listed) == [pk for pk, one in zip(ids, found, strict=True) if one == state], state
        return found

    assert states() == ["renew_soon", "needs_you", "needs_you"]
    Reissue.objects.filter(pk=reissue.pk).update(state=Reissue.State.PAUSED)
    assert states() == ["valid", "valid", "valid"]
    Reissue.objects.filter(pk=reissue.pk).update(state=Reissue.State.DONE)
    assert states() == ["valid", "valid", "valid"]


def test_a_list_with_states_is_one_query(estate: Estate) -> None:
    now = database_now()
    for _ in range(30):
        estate.add(not_after=now + DAY, alert_at=now - DAY)
    estate.save()
    with CaptureQueriesContext(connection) as queries:
        assert len(with_state(Certificate.objects.all(), now)) == 31
    assert len(queries) == 1
