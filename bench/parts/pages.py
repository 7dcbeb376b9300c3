"""The server's time for each page of the portal, over a large and varied inventory on PostgreSQL.

Called in this process through Django's test client: middleware, view, database and template, without
a web server and without a network. One warm-up, then ROUNDS calls; the broker of Estate and
Machinery is real.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from bench.inventory import fill
from bench.machine import loop_ms, row, timed
from certs.estate.compliance import judge_day
from certs.inventory.figures import count_states
from certs.models import Certificate, Team

LARGEST = int(os.environ.get("PKI_BENCH_CERTIFICATES", "100000"))
ROUNDS = 15
SLOW = 50  # ms; the slowest statements of such a page are printed
TEAMS = 40


def run() -> None:
    print(f"Server time of the portal's pages with {LARGEST:,} certificates of {TEAMS} teams, {ROUNDS} calls each, ms")
    template = fill(LARGEST)
    _vary(template)
    row("counting the figures, once a minute at most", f"{timed(count_states):.2f} s")
    row("judging compliance, once a day", f"{timed(judge_day):.1f} s")
    row("page", "median", "slowest", "ratio to a fixed loop", "statements", "database")
    officer, member = _person("bench-officer", "security-team"), _person("bench-member")
    Team.objects.get(slug="bench-1").members.add(member)
    auditor = _person("bench-auditor", "auditor")
    administrator = get_user_model().objects.create_superuser("bench-administrator")
    for label, user, path in (*_pages(officer, member, auditor), *_of_people(administrator)):
        client = Client(SERVER_NAME="localhost")
        client.force_login(user)
        _measure(label, client, path)
    print()


def _pages(officer: Any, member: Any, auditor: Any) -> Iterator[tuple[str, Any, str]]:
    """Yield what is opened, by whom."""
    rows = Certificate.objects.filter(team__slug="bench-1", status="good").select_related("request").order_by("pk")
    one = rows.exclude(renewal_blocked="")[0]
    of_one = [one.cert_id]
    yield "home of a requester", member, reverse("home")
    yield "home of an officer", officer, reverse("home")
    yield "estate, all teams", auditor, reverse("estate")
    yield "estate, own team", member, reverse("estate")
    yield "readiness", auditor, reverse("estate-readiness")
    certificates = reverse("certificates")
    lists = {
        "all": "",
        "needs you": "?state=needs_you",
        "of a team": "?team=bench-7",
        "with a tag": "?tag=rare",
        "ends within 30 days": "?expiring=30",
        "not renewed automatically": "?state=active&renewal=person",
        "of a key type": "?key=rsa-2048",
        "exact name": "?q=host-777.example.com",
        "part of a name": "?q=host-77",
        "without owner": "?owner=none",
    }
    for name, query in lists.items():
        yield f"certificates: {name}", officer, certificates + query
    yield "certificates of a requester", member, certificates
    for name in ("certificate", "certificate-install", "certificate-renewals", "certificate-history", "certificate-technical"):
        yield f"page {name}", member, reverse(name, args=of_one)
    yield "renew", member, reverse("certificate-renew", args=of_one)
    yield "revoke: what happened", member, reverse("certificate-revoke", args=of_one)
    yield "revoke for theft", member, reverse("certificate-revoke", args=of_one) + "?reason=keyCompromise"
    yield "requests", officer, reverse("requests")
    yield "requests that wait for an approval", officer, reverse("requests") + "?state=awaiting_approval"
    yield "requests of a requester", member, reverse("requests")
    yield "one request", member, reverse("request", args=[one.request.public_id])
    for name in ("inbox", "alerts", "machinery", "cas", "register", "reports", "policy", "bulk"):
        yield name, officer, reverse(name)
    yield "tokens", member, reverse("tokens")
    yield "mails and notices", member, reverse("mails")
    yield "webhooks of a team", member, reverse("webhooks", args=["bench-1"])


def _of_people(administrator: Any) -> Iterator[tuple[str, Any, str]]:
    """Yield the pages about a person who owns four fifths of all, the log, and lists of the administration."""
    owner = get_user_model().objects.get(username="bench-owner")
    yield "people", administrator, reverse("people")
    yield "a person who owns 80,000", administrator, reverse("person", args=[owner.pk])
    yield "hand over 80,000", administrator, reverse("person-certificates", args=[owner.pk])
    yield "remove the access of their owner", administrator, reverse("person-remove", args=[owner.pk])
    yield "people of a team", administrator, reverse("team-people", args=["bench-1"])
    yield "audit log", administrator, reverse("audit")
    for table in ("certs_certificate", "certs_certificaterequest", "audit_auditevent", "certs_team", "django_celery_beat_periodictask"):
        yield f"administration, {table}", administrator, reverse(f"admin:{table}_changelist")


@dataclass
class Statements:
    """What a call sends through the ORM, and how long each statement took in ms. (Prepared ones go another way.)"""

    sent: list[tuple[float, str]] = field(default_factory=list)

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001 - Django's interface
        start = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.sent.append(((time.perf_counter() - start) * 1000, sql))


def _measure(label: str, client: Client, path: str) -> None:
    response = client.get(path, follow=True)
    if response.status_code != 200:
        row(label, f"answers {response.status_code}")
        return
    statements = Statements()
    with connection.execute_wrapper(statements), CaptureQueriesContext(connection) as sent:
        client.get(path, follow=True)
    count = len(sent)  # before other calls: each begins a log of its own
    times, loop = [], loop_ms()
    for _ in range(ROUNDS):
        start = time.perf_counter()
        client.get(path, follow=True)
        times.append((time.perf_counter() - start) * 1000)
    database = sum(taken for taken, _ in statements.sent)
    median = statistics.median(times)
    row(label, f"{median:.1f}", f"{max(times):.1f}", f"{median / loop:.2f}", str(count), f"{database:.1f}")
    if median > SLOW:
        for taken, sql in sorted(statements.sent, reverse=True)[:2]:
            print(f"    {taken:.0f} ms: {sql[:1500]}")


def _person(name: str, role: str = "") -> Any:
    user = get_user_model().objects.create_user(name)
    if role:
        user.groups.add(Group.objects.get(name=role))
    return user


def _vary(template: Certificate) -> None:
    """Teams, owners, keys, ends over a year, obstacles, tags, renewals, names; as a real inventory has them."""
    for number in range(TEAMS):
        Team.objects.create(slug=f"bench-{number}", name=f"Bench {number}")
    first = Team.objects.get(slug="bench-0").pk
    owner = _person("bench-owner")
    for team in Team.objects.filter(slug__startswith="bench-"):
        team.members.add(owner)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE certs_certificate SET common_name = 'host-' || (id - %(first)s) || '.example.com',"
            " team_id = %(team)s + mod(id, %(teams)s), owner_id = CASE WHEN mod(id, 5) > 0 THEN %(owner)s END,"
            " spki_sha256 = md5((id / 2)::text) || md5('x' || id / 2),"
            " key_type = (ARRAY['ec-p256','ec-p256','ec-p256','rsa-3072','rsa-4096','ec-p384','ed25519','rsa-2048'])[1 + mod(id * 7, 8)],"
            " not_before = now() - mod(id, 60) * interval '1 day',"
            " not_after = now() + mod(id * 13, 370) * interval '1 day' + interval '1 hour',"
            " alert_at = now() + (mod(id * 13, 370) - 30) * interval '1 day',"
            " issued_at = now() - mod(id, 60) * interval '1 day',"
            " tags = CASE WHEN mod(id, 50) = 0 THEN ' shop ' WHEN mod(id, 20011) = 7 THEN ' rare ' ELSE '' END,"
            " renewal_blocked = CASE WHEN mod(id * 13, 370) > 45 THEN '' WHEN mod(id, 11) = 0 THEN 'needs_csr'"
            " WHEN mod(id, 17) = 0 THEN 'policy' WHEN mod(id, 53) = 0 THEN 'failed' ELSE '' END,"
            " renewal_off_reason = CASE WHEN mod(id, 211) = 0 THEN 'ends' ELSE '' END,"
            " renewed_from_id = CASE WHEN mod(id, 10) = 3 THEN id - 1 END"
            " WHERE cert_id LIKE 'bench-%%'",
            {"first": template.pk, "team": first, "teams": TEAMS, "owner": owner.pk},
        )
        cursor.execute(
            "UPDATE certs_certificaterequest r SET team_id = c.team_id, common_name = c.common_name,"
            " dns_names = jsonb_build_array(c.common_name) FROM certs_certificate c"
            " WHERE c.request_id = r.id AND c.cert_id LIKE 'bench-%%'"
        )
        cursor.execute(
            "INSERT INTO certs_certificatename (certificate_id, kind, name, reversed_labels)"
            " SELECT id, 'dns', common_name, 'com.example.host-' || id FROM certs_certificate WHERE cert_id LIKE 'bench-%%'"
        )
        cursor.execute(
            "INSERT INTO certs_certificatebody (certificate_id, der)"
            " SELECT c.id, b.der FROM certs_certificate c, certs_certificatebody b"
            " WHERE b.certificate_id = %s AND c.cert_id LIKE 'bench-%%' AND c.team_id = %s",
            [template.pk, first + 1],
        )
        cursor.execute(
            "INSERT INTO certs_requestcsr (request_id, der, spki_der, spki_sha256, created_at)"
            " SELECT c.request_id, b.der, b.spki_der, c.spki_sha256, b.created_at FROM certs_certificate c, certs_requestcsr b"
            " WHERE b.request_id = %s AND c.cert_id LIKE 'bench-%%' AND c.team_id = %s",
            [template.request_id, first + 1],
        )
        for table in ("certs_certificate", "certs_certificaterequest", "certs_certificatename"):
            cursor.execute(f"VACUUM ANALYZE {table}")
