"""Brought CSRs whose callers wait become requests: all that must be known first is asked in one message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from audit.unit_of_work import gathering
from certs.access.membership import members_query
from certs.models import Attempt, CertificateRequest, IssuanceIntent, Issuer
from certs.models.rows import locked
from certs.requests.facts.policy_facts import facts_queries
from certs.requests.lineage import claimed_keys_query
from certs.requests.submit import Requester, active_among, admitted, issuers_shared, make_rows
from certs.spec import CertificateSpec
from db.clock import now_query, time_of
from db.sql import ask, ids_of, ids_query
from keys.lifecycle import shared_keys_query
from keys.spec import spki_sha256

# Of each request that goes straight on to the CA; what is needed besides is asked for at the end.
_EVENTS, _TO_COME = 5, (Attempt, IssuanceIntent)


@dataclass(frozen=True, slots=True)
class Arrived:
    """Requests made in this transaction, and what was found out for judging them: `facts_queries`, and the public keys' rows."""

    requests: list[CertificateRequest]
    now: datetime
    facts: Sequence[Sequence[Any]]
    keys: tuple[Sequence[Any], Sequence[Any]]


def arrive(asked: Sequence[tuple[CertificateSpec, Requester]], idempotency_keys: Sequence[str]) -> Arrived:
    """Make requests at the default CA, within `audit.log.one_transaction()`.

    Raises NotPermitted, InputRefused; and IntegrityError, also at the end, for an idempotency key used before or for a public key
    that another transaction has recorded meanwhile: tried again, it is found.
    """
    count, name = len(asked), settings.PKI_DEFAULT_CA
    tables = [(CertificateRequest._meta.db_table, count), ("audit_event", count * _EVENTS)]
    tables += [(model._meta.db_table, count) for model in _TO_COME]
    spkis = {spki_sha256(spec.spki_der) for spec, _ in asked if spec.spki_der}
    requesters = [requester for _, requester in asked]
    persons = {requester.member for requester in requesters if requester.member is not None}
    time, numbers, issuers, keys, claimed, version, domains, profiles, *members = ask(
        now_query(),
        ids_query(*tables),
        issuers_shared("name = %s", [name]),
        shared_keys_query(spkis),
        claimed_keys_query(spkis),
        *facts_queries([(spec, requester.team) for spec, requester in asked]),
        *([members_query(persons)] if persons else ()),
    )
    belongs = {pair for rows in members for pair in rows}
    for requester in requesters:
        requester.check_among(belongs)
    target, now, (ids, *to_come) = _target(issuers, name), time_of(time), ids_of(numbers, len(tables))
    requests = make_rows(admitted(asked, idempotency_keys, target, profiles), ids, {target.pk: target}, now=now)
    gathering.foresee({request.subject: 0 for request in requests}, dict(zip([table for table, _ in tables[1:]], to_come, strict=True)))
    return Arrived(requests, now, (version, domains, profiles), (keys, claimed))


def _target(rows: Sequence[Sequence[Any]], name: str) -> Issuer:
    """Locked too where another CA has taken over."""
    target = active_among(rows, name)
    return target if target.name == name else locked(Issuer, [target.pk], share=True)[0]
