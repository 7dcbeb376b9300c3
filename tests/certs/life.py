"""A certificate on twins, and what tests of its later life need: steps run here and now, clocks turned by moving dates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.issuance.advance import Unavailable
from certs.models import Certificate, CertificateRequest
from certs.renewal.renew import Renewal, renew
from certs.requests.submit import Requester, submit_many
from certs.spec import CertificateSpec
from certs.x509.csr.build import build_csr
from db.clock import database_now
from keys.spec import spki_der
from policy.drafting import draft_version
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from tests.certs import steps

CHAIN = (steps.check_policy, steps.ensure_keys, steps.create_csrs, steps.submit_to_ca, steps.record_inventory)
PORTAL = Authority(Actor("command", "test"))
SYSTEM = Actor("system", "test")


def walk(ids: Sequence[int]) -> None:
    """What the Celery chain does, without Celery."""
    for step in CHAIN:
        try:
            step(ids)
        except Unavailable:
            continue


def issued(spec: CertificateSpec, requester: Requester) -> Certificate:
    (request,) = submit_many([spec], requester=requester)
    walk([request.pk])
    return Certificate.objects.get(request=request)


def renewed(certificate: Certificate, **more: Any) -> Certificate:
    return Certificate.objects.get(request=finished(renew(certificate, authority=PORTAL, channel="command", begin=False, **more)))


def finished(renewal: Renewal) -> CertificateRequest:
    walk([renewal.request.pk])
    renewal.request.refresh_from_db()
    return renewal.request


def brought(name: str, *, key: Any = None, days: int = 90) -> CertificateSpec:
    """A specification whose CSR and key are its requester's own."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    der = build_csr(key, common_name=name, dns_names=(name,), ip_addresses=())
    return CertificateSpec(name, (name,), (), "ec-p256", days, "tls-server", csr_der=der, spki_der=spki_der(key.public_key()))


def new_policy(version: str, **rules: Any) -> None:
    """A stricter policy, in force from now on."""
    now = database_now()
    content = DEFAULT_V2_3 | {"version": version, "rules": DEFAULT_V2_3["rules"] | rules}
    if "max_validity" in rules:
        content = content | {"defaults": {**DEFAULT_V2_3["defaults"], "validity_days": min(90, rules["max_validity"]["days"])}}
    publish_version(draft_version("default", content, actor=SYSTEM, now=now), actor=SYSTEM, now=now)


def years_later(certificate: Certificate, *, days_left: int) -> Certificate:
    """The certificate as it will be when it has so many days left: its dates are moved back, the clock stays."""
    shift = certificate.not_after - database_now() - timedelta(days=days_left)
    values = {name: getattr(certificate, name) - shift for name in ("not_before", "not_after", "issued_at", "alert_at")}
    Certificate.objects.filter(pk=certificate.pk).update(**values)
    certificate.refresh_from_db()
    return certificate


def events_of(certificate: Certificate) -> list[str]:
    rows = AuditEvent.objects.filter(subject=f"certificate:{certificate.cert_id}").order_by("subject_seq")
    return list(rows.values_list("event", flat=True))
