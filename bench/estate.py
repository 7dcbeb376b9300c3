"""A large inventory as a company has it: teams, CAs, keys, ends, renewals, revocations, places; made inside PostgreSQL."""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection

from bench.inventory import copy, fill
from certs.inventory.figures import count_states
from certs.models import Certificate, CertificateRequest, Domain, Issuer, Team
from certs.reports.verdicts import keep_verdicts
from db.clock import database_now

TEAMS = 200
OWNERS = 20

# A third of all belongs to five teams.
_OF_TEAM = "CASE WHEN mod({id}, 3) = 0 THEN mod({id}, 5) ELSE mod({id}, {teams}) END"
# SQL by column of the copies; `n` counts them, and {id} is their own.
_VARIED = {
    "cert_id": "'bench-' || n",
    "request_id": "{request} + n",
    "serial_number": "'4' || md5(random()::text || n) || substr(md5(random()::text), 1, 7)",
    "sha256_fingerprint": "md5(n::text) || md5(n::text || 'x')",
    "common_name": "'host-' || {id} || '.t' || {of_team} || '.example.com'",
    "team_id": "{team} + {of_team}",
    "issuer_id": "CASE WHEN mod({id}, 100) < 70 THEN t.issuer_id WHEN mod({id}, 100) < 90 THEN {issuer}"
    " WHEN mod({id}, 1000) <> 999 THEN {issuer} + 1 ELSE {issuer} + 2 END",
    "key_type": "CASE WHEN mod({id}, 1000) < 600 THEN 'ec-p256' WHEN mod({id}, 1000) < 850 THEN 'rsa-3072'"
    " WHEN mod({id}, 1000) < 950 THEN 'rsa-4096' WHEN mod({id}, 1000) < 996 THEN 'ec-p384'"
    " WHEN mod({id}, 10000) = 9999 THEN 'ed25519' ELSE 'rsa-2048' END",
    "not_after": "now() + (mod({id} * 7919, 800) - 100) * interval '1 day' + mod({id} * 31, 86400) * interval '1 second'",
    "not_before": "now() + (mod({id} * 7919, 800) - 190) * interval '1 day'",
    "issued_at": "now() + (mod({id} * 7919, 800) - 190) * interval '1 day'",
    "alert_at": "now() + (mod({id} * 7919, 800) - 130) * interval '1 day'",
    "spki_sha256": "CASE WHEN mod({id}, 20000) = 0 THEN repeat('ab', 32) ELSE md5({id}::text) || md5({id}::text || 'k') END",
    "renewal_blocked": "CASE mod({id}, 500) WHEN 0 THEN 'policy' WHEN 1 THEN 'needs_csr' WHEN 2 THEN 'failed' ELSE '' END",
    "tags": "CASE WHEN mod({id}, 300) = 0 THEN ' production web ' WHEN mod({id}, 50000) = 7 THEN ' rare ' ELSE '' END",
    "owner_id": "CASE WHEN mod({id}, 10) < 6 THEN {owner} + mod({id}, {owners}) END",
    "status": "CASE WHEN mod({id}, 33) = 0 THEN 'revoked' ELSE 'good' END",
    "renewed_from_id": "CASE WHEN mod({id}, 12) = 1 AND n > 1 THEN {id} - 1 END",
}
_REQUESTED = {
    "public_id": "'bench-' || n",
    "digest": "md5(n::text)",
    "door": "(ARRAY['portal', 'api', 'schedule', 'command'])[1 + mod(n, 4)]",
}
_NAMES = """
INSERT INTO certs_certificatename (certificate_id, kind, name, reversed_labels)
SELECT id, 'dns', common_name, 'com.example.t' || {of_team} || '.host-' || id
FROM certs_certificate WHERE cert_id LIKE 'bench-%'
"""
_REVOKED = """
INSERT INTO certs_revocation (certificate_id, reason, requested_at, requested_by, comment, confirmed_at, tries,
  release_requested_by, last_error, by_security_team)
SELECT id, (ARRAY['superseded', 'keyCompromise', 'cessationOfOperation', 'certificateHold'])[1 + mod(id, 4)],
  now() - mod(id, 365) * interval '1 day', '', '', now(), 1, '', '', false
FROM certs_certificate WHERE status = 'revoked'
"""
_PLACES = """
INSERT INTO certs_installedplace (certificate_id, host, port, starttls, asked_at, asked_by, seen_at, outcome, detail,
  failures, address, protocol, cipher, served_id, served_sha256, served_issuer, chain)
SELECT id, common_name, 443, '', now(), '', now(), CASE WHEN mod(id, 4000) = 0 THEN 'old' ELSE 'served' END, '',
  0, '', '', '', id, '', '', ''
FROM certs_certificate WHERE mod(id, 500) = 0
"""


def fill_estate(count: int) -> Certificate:
    """That many certificates; returns one of the middle. Roles: `auditor` sees all, `member` the smallest team."""
    template = fill(0)
    now = database_now()
    Team.objects.bulk_create([Team(slug=f"t{n}", name=f"Team {n:03}") for n in range(TEAMS)])
    teams = Team.objects.filter(slug__in=[f"t{n}" for n in range(TEAMS)])
    Domain.objects.bulk_create([Domain(name=f"{one.slug}.example.com", team=one) for one in teams])
    Issuer.objects.bulk_create([Issuer(name=f"CA {n}", slug=f"ca-{n}", alias=f"CA {n}", created_at=now) for n in range(3)])
    accounts = get_user_model()
    accounts.objects.bulk_create([accounts(username=f"owner-{n}") for n in range(OWNERS)])
    values = {
        "id": "(t.id + n)",
        "teams": TEAMS,
        "of_team": _OF_TEAM.format(id="(t.id + n)", teams=TEAMS),
        "team": Team.objects.get(slug="t0").pk,
        "issuer": Issuer.objects.get(slug="ca-0").pk,
        "owner": accounts.objects.get(username="owner-0").pk,
        "owners": OWNERS,
        "request": template.request_id,
    }
    copy(CertificateRequest, template.request_id, count, _REQUESTED)
    varied = {column: sql.format(**values) for column, sql in _VARIED.items()}
    copy(Certificate, template.pk, count, varied)
    of_team = _OF_TEAM.format(id="id", teams=TEAMS)
    # The constants of this file: no value comes from elsewhere.
    with connection.cursor() as cursor:
        for statement in (_NAMES.format(of_team=of_team), _REVOKED, _PLACES):
            cursor.execute(statement)
        for table in ("certificate", "certificatename", "certificaterequest", "revocation", "installedplace"):
            cursor.execute(f"VACUUM ANALYZE certs_{table}")
    auditor = accounts.objects.create_user("auditor")
    auditor.groups.add(Group.objects.get(name="auditor"))
    Team.objects.get(slug=f"t{TEAMS - 1}").members.add(accounts.objects.create_user("member"))
    count_states()
    keep_verdicts()
    return Certificate.objects.select_related("request", "team").get(pk=template.pk + count // 2)
