"""Every figure counts what its definition says, and its link leads to exactly what it counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.db import transaction
from django.http import QueryDict
from django.test import Client

from certs.bulk.submit import submit_order
from certs.enums import RevocationReason
from certs.inventory.filters import CertificateFilter, filter_certificates, search_certificates
from certs.models import Certificate, CertificateRequest, OperatorAlert, OutgoingMail, Revocation
from certs.reports.documents import as_html
from certs.reports.facts import compute, list_lines, percent_complying
from certs.reports.keeping import keep_report, write_mails
from certs.reports.machinery import union
from certs.reports.persons import EXPIRED_WITHIN
from certs.reports.verdicts import keep_verdicts
from certs.reports.weeks import Week
from certs.reports.words import sentence, subject
from certs.requests.submit import Requester, submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from keys.models import PublicKey
from tests.cast import person
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


def _counted(url: str, now: datetime) -> int:
    query = QueryDict(urlsplit(url).query)
    return filter_certificates(Certificate.objects.all(), CertificateFilter.from_query(query), now=now).count()


def _facts(now: datetime) -> dict[str, Any]:
    return compute(Week.of(now), now=now).facts


def _value(facts: dict[str, Any], key: str) -> Any:
    return next(figure["value"] for figure in facts["figures"] if figure["key"] == key)


def test_figures_count_what_they_say_and_link_to_what_they_count(estate: Estate) -> None:
    now = database_now()
    alice = person("owner", team=estate.template.team)
    estate.add(not_after=now + 200 * DAY, alert_at=now + 170 * DAY, owner=alice)
    estate.add(not_after=now + 20 * DAY, alert_at=now - DAY, renewal_blocked="needs_csr", owner=alice)
    estate.add(not_after=now + 20 * DAY, alert_at=now - DAY, renewal_blocked="failed", owner=alice)
    estate.add(not_after=now + 20 * DAY, alert_at=now - DAY, renewal_off_reason="moved away", owner=alice)
    old = estate.add(not_after=now + 10 * DAY, alert_at=now - DAY)
    estate.add(not_after=now + 90 * DAY, alert_at=now + 60 * DAY, renewed_from=old, owner=alice)
    estate.add(not_after=now - 5 * DAY, alert_at=now - 30 * DAY)
    estate.add(not_after=now - 200 * DAY, alert_at=now - 230 * DAY)
    estate.add(not_after=now + 50 * DAY, alert_at=now + 20 * DAY, spki_sha256="b" * 64, owner=alice)
    estate.add(not_after=now + 50 * DAY, alert_at=now + 20 * DAY, key_type="rsa-2048")
    estate.add(not_after=now + 90 * DAY, status=REVOKED)
    estate.add(not_after=now + 90 * DAY, status=PENDING, reason=RevocationReason.CERTIFICATE_HOLD)
    estate.save()
    PublicKey.objects.create(spki_sha256="b" * 64, team="web", recorded_at=now, blocked_at=now, blocked_reason="keyCompromise")
    Revocation.objects.filter(certificate__status=REVOKED).update(requested_at=now - timedelta(seconds=1))
    Revocation.objects.filter(certificate__status=PENDING).update(requested_at=Week.of(now).start - DAY)

    facts = _facts(now)
    assert _value(facts, "active") == 8  # the estate's own template is one of them
    assert _value(facts, "revoked") == 1
    for figure in facts["figures"]:
        if figure["key"] != "compliance":
            assert _counted(figure["url"], now) == figure["value"], figure
    needs = {kind["key"]: kind for kind in facts["needs"]}
    assert {key: kind["count"] for key, kind in needs.items()} == {
        "renewal_failed": 1,
        "nothing_renews": 2,
        "expired": 1,
        "no_owner": needs["no_owner"]["count"],
        "blocked_keys": 1,
        "weak_keys": 1,
    }
    for key in ("renewal_failed", "expired", "no_owner", "blocked_keys", "weak_keys"):
        assert _counted(needs[key]["url"], now) == needs[key]["count"], key
    assert "1 renewal that failed" in sentence(facts)
    assert "need a person" in subject(facts)


def test_certificate_on_a_blocked_key_is_nowhere_called_valid_alone(estate: Estate) -> None:
    """Page, mail and file say beside its state that its key is known to others, and no badge of it is green.

    It is in three lists: on blocked keys, on keys that are not allowed, and refused by the rule on keys.
    """
    now = database_now()
    alice = person("owner", team=estate.template.team)
    one = estate.add(
        not_after=now + 50 * DAY, alert_at=now + 20 * DAY, spki_sha256="b" * 64, owner=alice, key_type="rsa-2048", name="known.example.com"
    )
    estate.add(not_after=now + 50 * DAY, alert_at=now + 20 * DAY, owner=alice, key_type="rsa-2048", name="other.example.com")
    estate.save()
    PublicKey.objects.create(spki_sha256="b" * 64, team="web", recorded_at=now, blocked_at=now, blocked_reason="keyCompromise")
    row = keep_report(Week.of(now))
    officer = Client()
    officer.force_login(person("sec", "security officer", email="sec@example.com"))
    with transaction.atomic():
        write_mails(row, key="a test", now=now)
    mail = OutgoingMail.objects.get(recipient="sec@example.com")
    page = officer.get(f"/reports/{row.week}/").content.decode()
    certificate = officer.get(f"/certificates/{one.cert_id}/").content.decode()
    lists = ("/", f"/certificates/?q={one.cert_id}", f"/teams/{estate.template.team.slug}/certificates/", "/register/")
    for address in lists:
        assert "</span> valid, key blocked</span>" in officer.get(address, follow=True).content.decode(), address
    badge = '<span class="badge-state {}"'
    for place, html, expected in (
        ("page", page, 3),
        ("file", as_html(row).decode(), 3),
        ("mail", mail.html, 3),
        ("own page", certificate, 1),
    ):
        assert html.count("</span> valid, key blocked</span>") == expected, place
        assert html.count(badge.format("is-bad")) >= expected, place
    assert mail.body.count("valid, key blocked") == 3
    assert page.count("</span> valid</span>") == 3  # the other one in two lists, and one without an owner
    assert "clients still accept the certificate" in certificate


def test_what_does_not_comply_is_grouped_by_rule_with_reason_and_list(estate: Estate) -> None:
    now = database_now()
    weak = estate.add(not_after=now + 50 * DAY, not_before=now - 40 * DAY, key_type="rsa-2048", name="weak.example.com")
    estate.add(not_after=now + 500 * DAY, not_before=now - 40 * DAY, key_type="rsa-2048", name="\uff1dcmd.elsewhere.test")
    estate.save()
    computed = compute(Week.of(now), now=now)
    compliance = computed.facts["compliance"]
    assert (compliance["total"], compliance["fails"]) == (3, 2)
    assert compliance["percent"] == 33.3
    assert {rule["rule"]: rule["count"] for rule in compliance["rules"]} == {"allowed_keys": 2, "max_validity": 1, "allowed_names": 1}
    worst = next(rule for rule in compliance["rules"] if rule["rule"] == "allowed_keys")["worst"]
    assert worst[1]["cert_id"] == weak.cert_id
    assert worst[1]["why"] == "Key size 2048 below minimum 3072"
    lines = list(list_lines(now=now))
    assert computed.list_csv.splitlines() == "".join(lines).splitlines()
    assert len(lines) == 3
    assert "'\uff1dcmd.elsewhere.test" in lines[2]  # no spreadsheet reads a formula


def test_one_certificate_that_cannot_be_judged_stops_nothing_and_does_not_comply(estate: Estate) -> None:
    now = database_now()
    estate.add(not_after=now + 50 * DAY, key_type="unheard-of")
    estate.save()
    compliance = _facts(now)["compliance"]
    assert compliance["fails"] == 1
    assert len(compliance["unjudged"]) == 1


def test_an_empty_inventory_has_no_percentage(portal: object) -> None:
    facts = _facts(database_now())
    assert facts["compliance"]["percent"] is None
    assert [_value(facts, key) for key in ("active", "expiring", "revoked")] == [0, 0, 0]
    assert "compliant" not in subject(facts)


@pytest.mark.parametrize(("total", "fails", "percent"), [(0, 0, None), (1000, 0, 100.0), (100_000, 1, 99.9), (3, 2, 33.3), (2, 2, 0.0)])
def test_a_percentage_is_never_rounded_up(total: int, fails: int, percent: float | None) -> None:
    assert percent_complying(total, fails) == percent


def test_the_time_away_is_what_alerts_cover_together(estate: Estate) -> None:
    now = database_now()
    start = max(Week.of(now).start, now - timedelta(hours=3))
    for begin, end in ((0, 20), (10, 30), (40, 50)):
        OperatorAlert.objects.create(
            kind="ca_unavailable",
            cause="ca:Far",
            message="m",
            next_step="n",
            raised_at=start + timedelta(seconds=begin),
            last_seen_at=start,
            closed_at=start + timedelta(seconds=end),
        )
    (found,) = _facts(now)["availability"]
    assert (found["name"], found["away_seconds"], found["outages"]) == ("CA Far", 40, 3)
    assert found["percent"] < 100
    assert union([]) == timedelta()


def test_every_figure_is_the_length_of_the_list_to_which_it_links(estate: Estate) -> None:
    now = database_now()
    alice = person("alice", team=estate.template.team)
    soon: dict[str, Any] = {"not_after": now + 20 * DAY, "alert_at": now - DAY, "owner": alice}
    for blocked in ("failed", "policy", "needs_csr", "off", ""):
        estate.add(**soon, renewal_blocked=blocked)
    estate.add(**soon, renewal_off_reason="moved away", renewal_blocked="off")
    estate.add(not_after=now - EXPIRED_WITHIN + timedelta(minutes=1), owner=alice)
    estate.add(not_after=now + 300 * DAY, key_type="rsa-2048")
    estate.add(not_after=now + 4000 * DAY, owner=alice)
    estate.add(status="revoked")
    estate.save()
    keep_verdicts()
    officer = person("sec", "security officer")
    facts = _facts(now)
    compliance = facts["compliance"]
    figures = [(one["key"], one["value"], one["url"]) for one in facts["figures"] if one["unit"] != "%"]
    figures += [(one["key"], one["count"], one["url"]) for one in facts["needs"]]
    figures += [(one["rule"], one["count"], one["url"]) for one in compliance["rules"]]
    figures += [("fails", compliance["fails"], compliance["url"])]
    for key, count, url in figures:
        path, query = urlsplit(url)[2:4]
        assert path == "/certificates/", key
        sought = CertificateFilter.from_query(dict(parse_qsl(query, keep_blank_values=True)))
        assert search_certificates(officer, sought, now=now).count() == count, key
    counts = {key: count for key, count, _ in figures}
    assert (counts["renewal_failed"], counts["nothing_renews"], counts["expired"], counts["fails"]) == (2, 3, 1, 2)
    (percent,) = [one for one in facts["figures"] if one["unit"] == "%"]
    assert percent["url"] == compliance["url"]


def test_the_figure_of_overdue_approvals_links_to_those_that_are_overdue(
    twin_portal: Requester, make_spec: Callable[..., CertificateSpec]
) -> None:
    now = database_now()
    rows = submit_many([make_spec(f"{name}.example.com") for name in "abc"], requester=twin_portal)
    for row, days in zip(rows, (0, 2, 9), strict=True):
        CertificateRequest.objects.filter(pk=row.pk).update(state="awaiting_approval", state_changed_at=now - days * DAY)
    (kind,) = [one for one in _facts(now)["needs"] if one["key"] == "overdue_approvals"]
    client = Client()
    client.force_login(person("sec", "security officer"))
    shown = client.get(kind["url"]).content.decode()
    assert (kind["count"], [name in shown for name in ("a.example.com", "b.example.com", "c.example.com")]) == (2, [False, True, True])
