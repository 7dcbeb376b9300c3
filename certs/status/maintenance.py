"""The scheduled maintenance of CRLs and OCSP responders: each own CA alone, and the watch at the end.

Beat runs it every few seconds, and a revocation starts it at once. Each step looks first and does only
what is missing, so that a storm of revocations gives one CRL after another and not one for each.
Needs the CA role.
"""

from __future__ import annotations

from certs.ca.lifetime import has_ended
from certs.ca.local.ocsp_responder import ensure_responder, newest_responder
from certs.models import CRLPoint, Issuer
from certs.notifications.alerts import ca_cause
from certs.requests.states import WORKER
from certs.status.crl import points_of
from certs.status.isolation import Failures
from certs.status.publishing import (
    abandon_old_intents,
    open_next_shard,
    own_issuing_cas,
    refresh_point,
    retire_predecessors,
)
from certs.status.responder_keys import destroy_old_responder_keys
from certs.status.watch import watch
from db.clock import database_now


def keep_status_information() -> dict[str, int]:
    """Publish what is due and return how many CRLs and responders were made.

    The failure of a CA or of a step is logged, raises an alert of its own and stops nothing else.
    A CA past its notAfter is left out: every certificate of it has expired, and its last CRL stays
    public (RFC 5280 3.3 asks for entries until a CRL after the expiry).
    """
    # 1. Each CA alone: one whose key cannot be used must not keep the revocations of the others from being published.
    done = {"crls": 0, "responders": 0}
    for issuer in own_issuing_cas():
        failures = Failures(issuer.name, ca_cause(issuer))
        with failures.caught("the CA"):
            if not has_ended(issuer, now=database_now()):
                _keep_up(issuer, failures, done)
        failures.report()
    # 2. What is not about one CA.
    failures = Failures("The own CAs", "ca:*")
    with failures.caught("abandoned signing intents"):
        abandon_old_intents()
    with failures.caught("CAs that were replaced"):
        retire_predecessors()
    with failures.caught("keys of old OCSP responders"):
        destroy_old_responder_keys()
    failures.report()
    # 3. The watch last, on what the steps above have left: it alerts before a CRL or a responder runs out.
    watch()
    return done


def _keep_up(issuer: Issuer, failures: Failures, done: dict[str, int]) -> None:
    """Renew the responder, open the next CRL shard, refresh each CRL: none waits for the one before."""
    with failures.caught("OCSP responder"):
        before = newest_responder(issuer)
        done["responders"] += ensure_responder(issuer, actor=WORKER) != before
    with failures.caught("next CRL shard"):
        open_next_shard(issuer)
    points: list[CRLPoint] = []
    with failures.caught("CRLs"):
        points = points_of(issuer)
    for point in points:
        with failures.caught(f"CRL of {point}"):
            done["crls"] += refresh_point(point) is not None
