"""What somebody with the database might do, and the kind of row that is named. `{AB}`: a literal of bytes."""

from __future__ import annotations

CERT = "(SELECT id FROM certs_certificate WHERE common_name = '{}.example.com')"
OF = f"WHERE certificate_id = {CERT}"
REQUEST = "WHERE common_name = '{}.example.com'"
A_TIME = "'2027-01-01 00:00:00'"
BOB = "(SELECT id FROM auth_user WHERE username = 'bob')"
OTHER = "(SELECT id FROM certs_team WHERE slug = 'other')"

# What somebody with the database might do, and the kind of row that is named.
FORGERIES: list[tuple[str, str]] = [
    ("certificate", f"UPDATE certs_certificate SET status = 'good' {REQUEST.format('revoked')}"),
    ("certificate", f"UPDATE certs_certificate SET status = 'good' {REQUEST.format('pending')}"),
    ("certificate", f"UPDATE certs_certificate SET status = 'revoked' {REQUEST.format('good')}"),
    ("certificate", f"UPDATE certs_certificate SET status = 'good' {REQUEST.format('held')}"),
    ("certificate", f"UPDATE certs_certificate SET status = 'revoked' {REQUEST.format('released')}"),
    ("certificate", f"UPDATE certs_certificate SET not_after = {A_TIME} {REQUEST.format('good')}"),
    (
        "certificate",
        f"UPDATE certs_certificate SET sha256_fingerprint = 'ab' {REQUEST.format('good')}",
    ),
    ("certificate", f"UPDATE certs_certificate SET cert_id = 'cert-x' {REQUEST.format('good')}"),
    ("revocation", f"DELETE FROM certs_revocation {OF.format('revoked')}"),
    ("revocation", f"UPDATE certs_revocation SET reason = 'superseded' {OF.format('stolen')}"),
    ("revocation", f"UPDATE certs_revocation SET confirmed_at = NULL {OF.format('revoked')}"),
    ("revocation", f"UPDATE certs_revocation SET confirmed_at = {A_TIME} {OF.format('pending')}"),
    ("revocation", f"UPDATE certs_revocation SET released_at = {A_TIME} {OF.format('held')}"),
    (
        "revocation",
        f"UPDATE certs_revocation SET certificate_id = {CERT.format('good')} {OF.format('revoked')}",
    ),
    ("approval", "DELETE FROM certs_approval WHERE granted"),
    ("approval", "DELETE FROM certs_approval WHERE NOT granted"),
    ("approval", "UPDATE certs_approval SET granted = true WHERE NOT granted"),
    ("approval", "UPDATE certs_approval SET digest = 'ab' WHERE granted"),
    (
        "approval",
        "UPDATE certs_approval SET approver_id = (SELECT id FROM auth_user WHERE username = 'bob')",
    ),
    ("request", f"UPDATE certs_certificaterequest SET state = 'approved' {REQUEST.format('*.no')}"),
    ("request", f"UPDATE certs_certificaterequest SET state = 'issued' {REQUEST.format('waiting')}"),
    ("request", f"UPDATE certs_certificaterequest SET state = 'approved' {REQUEST.format('waiting')}"),
    ("request", "UPDATE certs_certificaterequest SET state = 'submitted' WHERE state = 'rejected'"),
    ("request", f"UPDATE certs_certificaterequest SET digest = 'ab' {REQUEST.format('waiting')}"),
    (
        "request",
        f"UPDATE certs_certificaterequest SET public_id = 'req-x' {REQUEST.format('waiting')}",
    ),
    ("key block", "UPDATE keys_publickey SET blocked_at = NULL, blocked_reason = ''"),
    (
        "key block",
        f"UPDATE keys_publickey SET blocked_at = {A_TIME} WHERE blocked_at IS NULL",
    ),
    ("key block", "DELETE FROM keys_publickey WHERE blocked_at IS NOT NULL"),
    ("token", f"UPDATE certs_apitoken SET revoked_at = {A_TIME}"),
    ("token", "UPDATE certs_apitoken SET scopes = '[\"certificates:revoke\"]'"),
    (
        "token",
        "UPDATE certs_apitoken SET user_id = (SELECT id FROM auth_user WHERE username = 'carol')",
    ),
    ("token", "DELETE FROM certs_apitoken"),
    ("issuer", "UPDATE certs_issuer SET state = 'distrusted'"),
    ("policy version", "UPDATE policy_policyversion SET version = 'v9'"),
    (
        "policy version",
        (
            "INSERT INTO policy_policywithdrawal (version_id, withdrawn_at, withdrawn_by, reason) "
            f"SELECT id, {A_TIME}, 'bob', 'x' FROM policy_policyversion"
        ),
    ),
    (
        "policy waiver",
        (
            "INSERT INTO policy_policywaiver (policy_id, rule, params, names, teams, reason, begins, ends, requested_at, requester_id, "
            "approver_id, approved_at, ended_by, end_reason) "
            f"SELECT id, 'max_names', '{{\"maximum\": 9}}', '[]', '[\"web\"]', 'x', {A_TIME}, '2028-01-01 00:00:00', "
            f"{A_TIME}, {BOB}, {BOB}, "
            f"{A_TIME}, '', '' FROM policy_policy"
        ),
    ),
    ("user", "UPDATE auth_user SET is_superuser = true WHERE username = 'bob'"),
    ("user", "UPDATE auth_user SET email = 'eve@example.com' WHERE username = 'carol'"),
    (
        "user",
        (
            "INSERT INTO auth_user_groups (user_id, group_id) SELECT u.id, g.id FROM auth_user u, "
            "auth_group g WHERE u.username = 'bob' AND g.name = 'security-team'"
        ),
    ),
    (
        "user",
        (
            "INSERT INTO auth_user (username, password, is_superuser, is_staff, is_active, first_name, "
            f"last_name, email, date_joined) VALUES ('eve', '', true, true, true, '', '', '', {A_TIME})"
        ),
    ),
    ("team", "DELETE FROM certs_team_members"),
    ("team", "UPDATE certs_team SET organization = 'Evil'"),
    ("domain", "UPDATE certs_domain SET name = 'evil.example'"),
    ("domain", "INSERT INTO certs_domain (name, team_id) SELECT 'x.test', id FROM certs_team WHERE slug = 'other'"),
    ("domain", "DELETE FROM certs_domain"),
    ("profile", "UPDATE policy_profile SET subject_organization = 'Evil'"),
    ("schedule", "UPDATE django_celery_beat_periodictask SET enabled = false"),
    ("schedule", "UPDATE django_celery_beat_intervalschedule SET every = 100000"),
    ("group", "INSERT INTO auth_group (name) VALUES ('shadow')"),
    (
        "group",
        "DELETE FROM auth_group_permissions WHERE group_id IN (SELECT id FROM auth_group WHERE name = 'security-team')",
    ),
    # Content of certificates and requests, which decides what is trusted and who may act on it.
    *(
        ("certificate", f"UPDATE certs_certificate SET {change} {REQUEST.format('good')}")
        for change in (
            "common_name = 'evil.test'",
            "serial_number = 'abc'",
            "spki_sha256 = 'abc'",
            f"not_before = {A_TIME}",
            "profile = 'x'",
            "crl_shard = 7",
            "key_id = NULL",
            f"requester_id = {BOB}",
            f"team_id = {OTHER}",
            f"renewed_from_id = {CERT.format('revoked')}",
            # What people write about a certificate.
            f"owner_id = {BOB}",
            "purpose = 'x'",
            "critical_function = true",
            "last_review = '2026-01-01'",
            "renewal_off_reason = 'x'",
        )
    ),
    *(
        ("certificate", f"UPDATE certs_certificate SET {change} {REQUEST.format('renewed')}")
        for change in ("owner_id = NULL", "purpose = ''", "critical_function = false", "last_review = NULL", "renewal_off_reason = ''")
    ),
    ("certificate", f"UPDATE certs_certificatebody SET der = {{AB}} {OF.format('revoked')}"),
    ("certificate", f"DELETE FROM certs_certificatebody {OF.format('revoked')}"),
    ("certificate", f"UPDATE certs_certificatename SET name = 'evil.test' {OF.format('revoked')}"),
    ("certificate", f"DELETE FROM certs_certificatename {OF.format('revoked')}"),
    ("chain", "UPDATE certs_chain SET pem = 'x'"),
    *(
        ("request", f"UPDATE certs_certificaterequest SET {change} {REQUEST.format('waiting')}")
        for change in (
            "common_name = 'evil.test', dns_names = '[\"evil.test\"]'",
            "dns_names = '5'",
            "dns_names = '[1, \"a\"]'",
            "validity_days = 300",
            "profile = 'x'",
            "key_type = 'rsa-2048'",
            "door = 'schedule'",
            f"requester_id = {BOB}",
            f"team_id = {OTHER}",
            f"renewed_from_id = {CERT.format('revoked')}",
        )
    ),
    ("request", f"UPDATE certs_certificaterequest SET spki_sha256 = 'ab' {REQUEST.format('external')}"),
    *(
        (
            "request",
            f"UPDATE certs_requestcsr SET {change} WHERE request_id IN (SELECT id FROM certs_certificaterequest {REQUEST.format('good')})",
        )
        for change in ("der = {AB}", "spki_der = {AB}", "spki_sha256 = 'ab'")
    ),
    ("approval", f"UPDATE certs_approval SET decided_at = {A_TIME} WHERE granted"),
    (
        "approval",
        (
            "INSERT INTO certs_approval (request_id, approver_id, digest, granted, comment, decided_at) "
            "SELECT request_id, approver_id, digest, granted, comment, decided_at FROM certs_approval WHERE granted"
        ),
    ),
    ("revocation", f"UPDATE certs_revocation SET requested_at = {A_TIME} {OF.format('stolen')}"),
    ("revocation", f"UPDATE certs_revocation SET invalidity_date = {A_TIME} {OF.format('stolen')}"),
    ("revocation", f"UPDATE certs_revocation SET by_security_team = false {OF.format('held')}"),
    ("revocation", f"UPDATE certs_revocation SET requested_by = 'bob' {OF.format('held')}"),
    ("revocation", f"UPDATE certs_revocation SET release_requested_at = {A_TIME} {OF.format('held')}"),
    ("bulk order", "UPDATE certs_bulkorder SET state = 'running'"),
    ("bulk order", "UPDATE certs_bulkorder SET paused_by_security_team = false"),
    ("bulk order", f"UPDATE certs_bulkorder SET submitter_id = {BOB}"),
    ("bulk order", "UPDATE certs_bulkorder SET content_sha256 = 'ab'"),
    ("bulk order", "UPDATE certs_bulkorder SET submitted_at = NULL, public_id = 'bulk-x'"),
    ("public key", "UPDATE keys_publickey SET team = 'other' WHERE blocked_at IS NULL"),
    ("public key", "DELETE FROM keys_publickey WHERE blocked_at IS NULL"),
    ("key block", "UPDATE keys_publickey SET blocked_reason = 'x' WHERE blocked_at IS NOT NULL"),
    ("key", "UPDATE keys_key SET state = 'active' WHERE state = 'compromised'"),
    ("key", "UPDATE keys_key SET state = 'compromised' WHERE state = 'active'"),
    ("token", "UPDATE certs_apitoken SET revoked_at = NULL WHERE name = 'ended'"),
    *(
        ("token", f"UPDATE certs_apitoken SET {change} WHERE name = 'ci'")
        for change in ("sha256 = 'ab'", f"expires_at = {A_TIME}", "name = 'x'", "profiles = '[\"x\"]'", f"team_id = {OTHER}")
    ),
    *(
        ("issuer", f"UPDATE certs_issuer SET {change}")
        for change in ("alias = 'x'", "certificate_der = {AB}", "trust_anchor_der = {AB}", "successor_id = id", "name = 'x'")
    ),
    *(
        ("policy version", f"UPDATE policy_policyversion SET {change}")
        for change in (
            f"effective_from = {A_TIME}",
            "rules = '{}'",
            "published_by = 'bob'",
            "drafted_by = 'bob'",
            f"drafter_id = {BOB}",
            "state = 'draft', published_at = NULL, effective_from = NULL, published_by = ''",
        )
    ),
    ("policy version", "DELETE FROM policy_policyversion"),
    ("person", f"UPDATE policy_person SET verified_email = 'eve@example.com' WHERE user_id = {BOB}"),
    ("person", f"UPDATE policy_person SET person_id = 'p' WHERE user_id = {BOB}"),
    ("person", "DELETE FROM policy_person"),
]

# Rows that point at nothing, as the owner of the tables can write them: the constraints are out of force.
BROKEN_LINKS: list[str] = [
    f"UPDATE certs_certificaterequest SET requester_id = 99999 {REQUEST.format('waiting')}",
    f"UPDATE certs_certificaterequest SET team_id = 99999 {REQUEST.format('waiting')}",
    f"UPDATE certs_certificate SET request_id = 99999 {REQUEST.format('revoked')}",
    f"UPDATE certs_revocation SET certificate_id = 99999 {OF.format('stolen')}",
    "UPDATE certs_approval SET approver_id = 99999 WHERE granted",
    "UPDATE certs_approval SET request_id = 99999 WHERE granted",
    "UPDATE certs_apitoken SET user_id = 99999",
    "UPDATE certs_domain SET team_id = 99999",
    "UPDATE certs_team_members SET user_id = 99999",
    "UPDATE policy_policyversion SET policy_id = 99999",
    "DELETE FROM certs_team",
    "DELETE FROM auth_user",
]

# Events that were made unreadable: `verify_audit` names them, and `verify_states` must not end with a traceback.
FORGED_EVENTS = [
    "UPDATE audit_event SET data = '[]'",
    "UPDATE audit_event SET data = '{}'",
    'UPDATE audit_event SET data = \'{"cert_id": {}, "digest": [], "state": {}, "approver": [], "version": {}, "at": 1}\'',
    "UPDATE audit_event SET subject = 'token:abc' || id WHERE event = 'token:created'",
    "DELETE FROM audit_event",
]
