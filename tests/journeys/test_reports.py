"""The compliance reports in a browser: accessible, in both themes, on a phone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from certs.reports.keeping import keep_report
from certs.reports.weeks import Week
from db.clock import database_now
from tests.journeys.conftest import Visitor
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_reports_have_no_accessibility_fault_and_fit_a_phone(look: Callable[..., Visitor], portal: Portal, dark: bool) -> None:
    week = Week.of(database_now())
    carol = look("carol", width=360, height=740, dark=dark)
    carol.open("/reports/")
    assert carol.page.get_by_text("No report yet").is_visible()
    keep_report(week)
    carol.open("/reports/")
    faults, widths = {"list": carol.axe()}, {"list": carol.width()}
    carol.follow(carol.page.get_by_role("link", name=str(week)))
    faults["report"], widths["report"] = carol.axe(), carol.width()
    assert faults == {"list": [], "report": []}
    assert max(widths.values()) <= 360
    assert carol.page.get_by_text("Policy compliance").is_visible()
