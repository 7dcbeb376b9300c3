"""`check_csr --policy`: what the policy in force says of requests that the gate accepted. Reads the database, writes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from django.core.management import CommandError

from certs.models import Team
from certs.requests.facts.policy_facts import PolicyInput, evaluate_many
from certs.requests.plan import defaults_for
from certs.spec import CertificateSpec
from certs.x509.csr.gate import CSRFacts
from db.clock import database_now
from policy.engine import Outcome
from policy.errors import PolicyError


def refusals(accepted: Sequence[CSRFacts]) -> list[str]:
    """For each request the policy's reason to refuse it, or an empty string. The first team asks. Raises CommandError."""
    team = Team.objects.order_by("pk").first()
    if team is None:
        raise CommandError("There is no team yet; run `manage.py bootstrap` first, or leave --policy out.")
    now = database_now()
    try:
        defaults = defaults_for(team, now=now)
        asked = [
            PolicyInput(
                CertificateSpec(
                    common_name=facts.common_name,
                    dns_names=facts.dns_names,
                    ip_addresses=facts.ip_addresses,
                    key=facts.key.name,
                    validity_days=defaults.validity_days,
                    profile=defaults.profile,
                    csr_der=b"",
                    spki_der=facts.spki_der,
                ),
                team,
            )
            for facts in accepted
        ]
        _, decisions = evaluate_many(asked, at=now)
    except PolicyError as exc:
        raise CommandError(str(exc)) from exc
    return [decision.reason if decision.outcome is Outcome.DENY else "" for decision in decisions]
