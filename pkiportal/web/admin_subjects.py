"""The subjects by which the admin's index groups its tables, each table with a plain name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

REST = "Other tables"
# In the order in which operators look; by the label that Django knows a model by.
SUBJECTS: Mapping[str, Mapping[str, str]] = {
    "Requests": {
        "certs.certificaterequest": "Requests",
        "certs.approval": "Approvals and refusals",
        "certs.policyevaluation": "Decisions of the policy",
        "certs.attempt": "Attempts (calls of a key backend or CA)",
        "certs.unclaimedresult": "Late results",
    },
    "Bulk orders": {
        "certs.bulkorder": "Orders",
        "certs.bulkitem": "Lines of orders",
        "certs.bulkchunk": "Chunks (what a worker takes at once)",
    },
    "Certificates": {
        "certs.certificate": "Certificates",
        "certs.revocation": "Revocations",
        "certs.quarantinedcertificate": "Wrong certificates in quarantine",
        "certs.unknowncertificate": "Certificates at CAs that nobody requested",
    },
    "Keys": {
        "keys.key": "Keys in Vault, HSM or portal",
        "keys.publickey": "Public keys seen and blocked",
    },
    "CAs and their status": {
        "certs.issuer": "CAs",
        "certs.issuanceintent": "What own CAs signed (ledger)",
        "certs.crl": "CRLs",
        "certs.respondercertificate": "OCSP responders",
    },
    "Policy": {
        "policy.policy": "Policies",
        "policy.policyversion": "Versions of policies",
        "policy.profile": "Profiles",
        "policy.policywaiver": "Waivers",
    },
    "People": {
        "auth.user": "Accounts",
        "auth.group": "Roles (groups)",
        "certs.groupmapping": "Groups of the identity provider",
        "certs.team": "Teams and their domains",
        "certs.apitoken": "API tokens",
    },
    "Notices": {
        "certs.operatoralert": "Alerts",
        "certs.outgoingmail": "Mails",
    },
    "Schedules": {
        "django_celery_beat.periodictask": "Schedules",
        "django_celery_beat.intervalschedule": "Intervals",
        "django_celery_beat.crontabschedule": "Times of day",
        "django_celery_beat.clockedschedule": "Single moments",
        "django_celery_beat.solarschedule": "Solar times",
    },
    "Audit log": {
        "audit.auditevent": "Events",
        "audit.checkpoint": "Signed checkpoints",
    },
}
_PLACES = {model: (subject, name) for subject, models in SUBJECTS.items() for model, name in models.items()}


def by_subject(apps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return Django's list of applications as a list of subjects; a table of no subject is in the last one."""
    groups: dict[str, list[dict[str, Any]]] = {subject: [] for subject in (*SUBJECTS, REST)}
    for app in apps:
        for table in app["models"]:
            subject, name = _PLACES.get(table["model"]._meta.label_lower, (REST, table["name"]))
            groups[subject].append({**table, "name": name})
    return [_group(subject, tables) for subject, tables in groups.items() if tables]


def _group(subject: str, tables: list[dict[str, Any]]) -> dict[str, Any]:
    order = list(_PLACES)
    tables.sort(key=lambda table: (_rank(table, order), table["name"]))
    return {"name": subject, "app_label": "", "app_url": "", "has_module_perms": True, "models": tables}


def _rank(table: Mapping[str, Any], order: Sequence[str]) -> int:
    label = table["model"]._meta.label_lower
    return order.index(label) if label in order else len(order)
