"""Whatever happens to certificates in whatever order: the CRL and OCSP say what the inventory says, and nothing final is taken back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certs.access.permissions import Authority
from certs.enums import RevocationReason
from certs.errors import Conflict
from certs.models import CRL, Certificate
from certs.revocation.deliver import process_revocations
from certs.revocation.request import request_release, request_revocation
from certs.status.ocsp.respond import forget_answers
from certs.status.ocsp.signers import forget_signers
from certs.status.publishing import refresh_point
from tests.certs.status.crl.lists import point, serials
from tests.certs.status.ocsp.questions import said, word
from tests.portal.authority import issue, issuing_ca, publish_everything, published
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

ACTS = ["certificateHold", "superseded", "keyCompromise", "release", "tell", "publish"]
HISTORIES = st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 1)), min_size=1, max_size=10)


def _do(act: str, certificate: Certificate) -> None:
    try:
        if act == "release":
            request_release(certificate, authority=Authority(SYSTEM), begin=False)
        elif act == "tell":
            process_revocations()
        elif act == "publish":
            refresh_point(point())
        else:
            request_revocation(certificate, reason=RevocationReason(act), authority=Authority(SYSTEM), begin=False)
    except Conflict:
        return  # refused: what is then said must be what was said before


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HISTORIES)
def test_crl_and_ocsp_say_what_the_inventory_says(portal: Portal, history: list[tuple[str, int]]) -> None:
    forget_answers()
    forget_signers()
    certificates = issue(portal, 2)
    if not CRL.objects.exists():
        publish_everything()
    final: set[str] = set()
    numbers: list[int] = []
    for act, which in history:
        _do(act, certificates[which])
        rows: dict[str, Any] = {row.serial_number: row for row in Certificate.objects.select_related("issuer", "body", "revocation")}
        ours = [rows[certificate.serial_number] for certificate in certificates]
        for row in ours:
            revoked = row.status in Certificate.SAYS_REVOKED
            assert word(said(row)) == ("revoked" if revoked else "good")
            if revoked and row.revocation.reason != "certificateHold":
                final.add(row.serial_number)
            assert revoked or row.serial_number not in final
        numbers.append(point().last_number)
    refresh_point(point())
    listed = set(serials(published(issuing_ca())))
    expected = set(Certificate.objects.filter(status__in=Certificate.SAYS_REVOKED).values_list("serial_number", flat=True))
    assert listed == expected
    assert final <= listed
    assert numbers == sorted(numbers)
