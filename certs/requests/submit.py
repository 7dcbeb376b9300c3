"""Submit requests: the one use case behind every channel. A specification becomes a request, and its chain of steps starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import IntegrityError

from audit.events import EventType
from audit.log import Actor, Event, UnitOfWork
from certs.access.permissions import Authority, members, members_among
from certs.ca.lifetime import Ending, ending_of
from certs.enums import RequestState
from certs.errors import Conflict, InputRefused, NotPermitted
from certs.language.secret_scan import find_secret
from certs.models import Certificate, CertificateRequest, Issuer, RequestCSR, Team, new_public_id
from certs.pipeline import start_on_commit
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.requests.facts.advice import advice_on, schedule_notes
from certs.requests.facts.policy_facts import PolicyFacts, PolicyInput, evaluate_many, policy_facts
from certs.spec import CertificateSpec
from certs.x509.certificate.profiles import PROFILE_NAMES
from db.clock import CLOCK, database_now
from db.reads import read_together
from db.rows import Lock, by_key, new_ids, select, selection
from keys.models import Key
from keys.spec import spki_sha256
from policy.engine import Decision
from policy.models import Profile

MOST_IN_A_CHAIN = 100
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True, slots=True)
class Requester:
    """The person or program that requests, the team, and the channel.

    `user` is None only for the portal's own commands and schedules.
    """

    actor: Actor
    team: Team
    channel: str
    user: Any = None
    idempotency_scope: str = ""
    idempotency_key: str = ""
    profiles: tuple[str, ...] = ()  # those of an API token; empty for all

    @property
    def member(self) -> tuple[int, int] | None:
        """Ids of the team and of the user who must belong to it; None for the portal's own commands and schedules."""
        return None if self.user is None else (self.team.pk, self.user.pk)

    @property
    def authority(self) -> Authority:
        """The rights of the same actor within the team, for what follows from the request."""
        return Authority(self.actor, self.user, self.team, self.profiles)

    def check(self) -> None:
        """Raise NotPermitted unless the user's account is active and belongs to the team now."""
        _check_members([self], members_among(_members_of([self])))


def _members_of(requesters: Sequence[Requester]) -> set[tuple[int, int]]:
    return {one.member for one in requesters if one.member is not None}


def _check_members(requesters: Sequence[Requester], members: Collection[tuple[int, int]]) -> None:
    for one in requesters:
        if one.member is not None and one.member not in members:
            raise NotPermitted(
                f"{one.user} is not a member of team {one.team.slug}.",
                field="team",
                next_step="Ask a member of that team to request it, or an administrator to add you.",
            )


@dataclass(frozen=True, slots=True)
class Preview:
    """What a submission would do. Nothing was written."""

    specs: tuple[CertificateSpec, ...]
    decisions: tuple[Decision, ...]
    policy_version: str
    endings: tuple[Ending | None, ...]
    notes: tuple[str, ...]  # what people should know before they confirm


def preview(specs: Sequence[CertificateSpec], *, requester: Requester) -> Preview:
    """Return what the policy decides about the specifications now. Writes nothing.

    Raises NotPermitted, InputRefused without a CA that issues, and Conflict where the CA's end leaves no useful validity.
    """
    requester.check()
    requester.authority.check_profiles(spec.profile for spec in specs)
    now, issuer = database_now(), active_issuer(settings.PKI_DEFAULT_CA)
    version, decisions = evaluate_many([PolicyInput(spec, requester.team) for spec in specs], at=now)
    endings = tuple(ending_of(issuer, spec.validity, now=now) for spec in specs)
    for ending in endings:
        if ending and ending.refusal:
            raise Conflict(ending.refusal, field="validity_days", next_step="Ask the operators of the portal.")
    notes = dict.fromkeys(note for spec in specs for note in advice_on(spec, issuer, now=now))
    notes |= dict.fromkeys(schedule_notes(specs))
    return Preview(tuple(specs), tuple(decisions), version.version, endings, tuple(notes))


def submit(spec: CertificateSpec, *, requester: Requester, issuer: str | None = None) -> CertificateRequest:
    """Request one certificate. Returns the row of the request; the steps run in the background."""
    return submit_many([spec], requester=requester, issuer=issuer)[0]


def submit_many(specs: Sequence[CertificateSpec], *, requester: Requester, issuer: str | None = None) -> list[CertificateRequest]:
    """Request certificates: one request each.

    With an idempotency key the same call again returns the first requests; another content under
    the same key is refused. Effects, in one transaction: the rows of the requests and of their
    external CSRs, and `request:submitted` each; after the commit the chain of steps is published.
    Raises NotPermitted, InputRefused; CSRRefused for an idempotency key that holds a secret.
    """
    # 1. Refuse what this requester may not request, before anything is written: rights are facts of now, whatever the channel
    #    has checked. The policy is evaluated by the chain, whose refusal is a rejected request on record.
    check_idempotency_key(requester)
    # The idempotency key itself for one certificate, with a number for each of several.
    key, count = requester.idempotency_key, len(specs)
    keys = [key] * count if not key or count == 1 else [f"{key}:{number}" for number in range(count)]
    admitted = admit_all([(spec, requester) for spec in specs], keys, issuer=issuer)
    try:
        with UnitOfWork() as work:
            # 2. The rows and their events, in one transaction: no request without its event.
            requests = insert_requests(work, admitted, now=database_now())
            # 3. The chain starts when they are committed: before that a worker would not find them. A large batch is split into
            #    several chains on the bulk queue, so that it does not delay interactive requests. Where the broker is away, the
            #    sweeper starts them.
            ids = [request.pk for request in requests]
            for first in range(0, len(ids), MOST_IN_A_CHAIN):
                start_on_commit(ids[first : first + MOST_IN_A_CHAIN], bulk=len(ids) > MOST_IN_A_CHAIN)
    except IntegrityError as exc:
        # 4. At the end of the unit: another call has used this idempotency key. The unique index decides between two calls at
        #    once, so that neither has to look before it writes.
        if not requester.idempotency_key:
            raise
        return replayed(admitted, conflict=exc)
    return requests


def check_idempotency_key(requester: Requester) -> None:
    """Raise CSRRefused for a key that holds a secret: it would be kept as long as the request. No transaction may be open."""
    if requester.idempotency_key and find_secret(requester.idempotency_key) is not None:
        requester.check()  # first, for the refusal has effects of its own
        refuse_secrets(
            requester.idempotency_key,
            actor=requester.actor,
            team=requester.team.slug,
            field="Idempotency-Key",
            channel=requester.channel,
        )


@dataclass(frozen=True, slots=True)
class Admitted:
    """A specification that its requester may submit, with what else its row needs."""

    spec: CertificateSpec
    requester: Requester
    issuer: Issuer
    digest: str
    idempotency_key: str = ""
    bulk_item_id: int | None = None
    renewal: RenewalOf | None = None


@dataclass(frozen=True, slots=True)
class RenewalOf:
    """What only the row of a renewal has: the certificate that it renews, and the key that it keeps or makes."""

    certificate: Certificate
    key_backend: str  # where its key is or will be; empty for an external CSR
    key: Key | None  # the key of the portal that is used again
    keeps_key: bool  # the old public key is used again, the portal's or that of an external CSR


def admit_all(
    requested: Sequence[tuple[CertificateSpec, Requester]], idempotency_keys: Sequence[str], *, issuer: str | None = None
) -> list[Admitted]:
    """Check what can be checked before anything is written, in one round trip. Raises NotPermitted, InputRefused."""
    name = issuer or settings.PKI_DEFAULT_CA
    members_now, issuers, profiles = read_together(
        members(_members_of([requester for _, requester in requested])), selection(Issuer, name=name), selection(Profile)
    )
    return _admitted(requested, idempotency_keys, members_now, _active(issuers, name), {profile.name for profile in profiles})


def _admitted(
    requested: Sequence[tuple[CertificateSpec, Requester]],
    idempotency_keys: Sequence[str],
    members_now: Collection[tuple[int, int]],
    target: Issuer,
    profiles: Collection[str],
) -> list[Admitted]:
    _check_members([requester for _, requester in requested], members_now)
    _check_profiles({spec.profile for spec, _ in requested}, profiles)
    for spec, requester in requested:
        requester.authority.check_profiles((spec.profile,))
    return [
        Admitted(spec, requester, target, request_digest(spec, team=requester.team, issuer=target, requester=_who(requester)), key)
        for (spec, requester), key in zip(requested, idempotency_keys, strict=True)
    ]


def _who(requester: Requester) -> str:
    """Return the name under which the requester is part of the digest."""
    return str(requester.user or requester.actor.name)


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a transaction that begins with specifications has read.

    The time, the requests that it may make with their CA and ids, and the facts that the policy needs about them.
    """

    now: datetime
    admitted: Sequence[Admitted]
    issuer: Issuer
    ids: Sequence[int]
    facts: PolicyFacts


def begin(requested: Sequence[tuple[CertificateSpec, Requester]], idempotency_keys: Sequence[str]) -> Beginning:
    """Check specifications within the open transaction, and read what `insert_begun` and the policy need: one round trip.

    The CA's row is locked until the transaction ends. Raises NotPermitted, InputRefused.
    """
    name = settings.PKI_DEFAULT_CA
    now, members_now, issuers, ids, facts = read_together(
        CLOCK,
        members(_members_of([requester for _, requester in requested])),
        selection(Issuer, lock=Lock.SHARE, name=name),
        new_ids(CertificateRequest._meta.db_table, len(requested)),
        policy_facts([(spec, requester.team) for spec, requester in requested], at=None),
    )
    # Locked, so that the CA is not retired between this check and the commit. Where another CA has taken over, that one is.
    target = _active(issuers, name)
    if target.pk != issuers[0].pk:
        target = _active(select(Issuer, lock=Lock.SHARE, id=target.pk), target.name)
    return Beginning(now, _admitted(requested, idempotency_keys, members_now, target, facts.ekus), target, ids, facts)


def insert_requests(work: UnitOfWork, admitted: Sequence[Admitted], *, now: datetime) -> list[CertificateRequest]:
    """Add to `work` the rows of requests and of their external CSRs, and `request:submitted` each.

    Locks the rows of the CAs until the transaction ends. IntegrityError is raised at its end for an
    idempotency key, a line of a bulk order or a certificate to be renewed that another transaction
    has used.
    """
    # Each CA's row as it is now: the CA must not be retired between here and the commit.
    found, ids = read_together(
        selection(Issuer, lock=Lock.SHARE, id={one.issuer.pk for one in admitted}),
        new_ids(CertificateRequest._meta.db_table, len(admitted)),
    )
    return insert_begun(work, admitted, ids, by_key(found), now=now)


def insert_begun(
    work: UnitOfWork, admitted: Sequence[Admitted], ids: Sequence[int], issuers: Mapping[int, Issuer], *, now: datetime
) -> list[CertificateRequest]:
    """Add what `insert_requests` adds, with ids that this transaction has taken, at CAs whose rows it has locked."""
    # 1. The requests have their ids already: CSRs, attempts and orders refer to them within this unit.
    requests = [_row(one, pk, issuers[one.issuer.pk], now) for one, pk in zip(admitted, ids, strict=True)]
    # 2. External CSRs. One with a challenge password is kept without its bytes: the password is not ours to store.
    csrs = [
        RequestCSR(request=r, der=one.spec.csr_der or b"", spki_der=one.spec.spki_der, spki_sha256=r.spki_sha256, created_at=now)
        for r, one in zip(requests, admitted, strict=True)
        if one.spec.spki_der
    ]
    work.insert(requests, csrs)
    # 3. One event each, with the digest: an approval counts for this content and no other.
    work.record(
        Event(EventType.REQUEST_SUBMITTED, r.subject, one.requester.actor, now, _submitted_data(r, one))
        for r, one in zip(requests, admitted, strict=True)
    )
    return requests


def _row(admitted: Admitted, pk: int, issuer: Issuer, now: datetime) -> CertificateRequest:
    spec, requester, renewal = admitted.spec, admitted.requester, admitted.renewal
    key_backend, spki = ("", spki_sha256(spec.spki_der)) if spec.spki_der else (settings.PKI_LEAF_KEY_BACKEND, "")
    row = CertificateRequest(
        id=pk,
        public_id=new_public_id("req", now),
        state=RequestState.SUBMITTED,
        team=requester.team,
        requester=requester.user,
        door=requester.channel,
        issuer=issuer,
        profile=spec.profile,
        common_name=spec.common_name,
        dns_names=list(spec.dns_names),
        ip_addresses=list(spec.ip_addresses),
        key_type=spec.key,
        key_backend=key_backend,
        validity_days=spec.validity_days,
        not_after=spec.not_after,
        csr_brought=spec.spki_der is not None,
        spki_sha256=spki,
        digest=admitted.digest,
        idempotency_scope=requester.idempotency_scope,
        idempotency_key=admitted.idempotency_key,
        bulk_item_id=admitted.bulk_item_id,
        created_at=now,
        state_changed_at=now,
    )
    if renewal is not None:
        row.renewed_from, row.key_backend, row.key = renewal.certificate, renewal.key_backend, renewal.key
        row.key_reused = renewal.keeps_key
        if renewal.keeps_key and not spki:
            row.spki_sha256 = renewal.certificate.spki_sha256
    return row


def _submitted_data(request: CertificateRequest, admitted: Admitted) -> dict[str, Any]:
    renewal = admitted.renewal
    return {
        "door": request.door,
        "team": request.team.slug,
        "issuer": request.issuer.name,
        "profile": request.profile,
        "names": len(request.names),
        "key": request.key_type,
        **({"key_reused": request.key_reused} if renewal else {}),
        **({"validity_days": request.validity_days} if request.not_after is None else {"not_after": request.not_after.isoformat()}),
        "csr_brought": request.csr_brought,
        "digest": request.digest,
        **({"bulk_item": request.bulk_item_id} if request.bulk_item_id is not None else {}),
        **({"renews": renewal.certificate.cert_id} if renewal else {}),
    }


def replayed(admitted: Sequence[Admitted], *, conflict: IntegrityError) -> list[CertificateRequest]:
    """Return the requests that an idempotency key has made before, in order.

    Raises InputRefused when it made requests of another content, and `conflict` when it made none.
    """
    scope, keys = admitted[0].requester.idempotency_scope, [one.idempotency_key for one in admitted]
    rows = CertificateRequest.objects.filter(idempotency_scope=scope, idempotency_key__in=keys).select_related("issuer")
    by_key = {row.idempotency_key: row for row in rows}
    if not by_key:
        raise conflict
    earlier = [by_key.get(key) for key in keys]
    for one, row in zip(admitted, earlier, strict=True):
        # The digest names the CA. Another one may have taken over since, so the content is compared under the CA of then too.
        requester, contents = one.requester, {one.digest}
        if row is not None:
            contents.add(request_digest(one.spec, team=requester.team, issuer=row.issuer, requester=_who(requester)))
        if row is None or row.digest not in contents:
            raise InputRefused(
                "This idempotency key was used for another request.",
                field="Idempotency-Key",
                next_step="Use a new key, or send what it was first used for.",
            )
    return [row for row in earlier if row]


def active_issuer(name: str) -> Issuer:
    """Return the CA of that name, or the one that has taken over from it. Raises InputRefused unless it issues."""
    return _active(select(Issuer, name=name), name)


def _active(found: Sequence[Issuer], name: str) -> Issuer:
    if not found:
        known = ", ".join(Issuer.objects.exclude(alias="").values_list("name", flat=True)) or "none; run `manage.py bootstrap`"
        raise InputRefused(f"There is no CA named {name}.", field="issuer", next_step=f"Known CAs: {known}.")
    issuer = latest_issuer(found[0])
    if issuer.state != Issuer.State.ACTIVE or not issuer.alias:
        raise InputRefused(
            f"The CA {name} does not issue (it is {issuer.get_state_display()}).", field="issuer", next_step="Choose another CA."
        )
    return issuer


def latest_issuer(issuer: Issuer) -> Issuer:
    """Return the CA that has taken over from this one, or the CA itself."""
    while issuer.successor is not None:
        issuer = issuer.successor
    return issuer


def check_profiles(requested: Collection[str]) -> None:
    """Raise InputRefused for a profile that does not exist."""
    _check_profiles(requested, {profile.name for profile in select(Profile)})


def _check_profiles(requested: Collection[str], known: Collection[str]) -> None:
    # An administrator may have added other names, but only these have a certificate template.
    names = PROFILE_NAMES.intersection(known)
    for name in sorted(set(requested) - names):
        raise InputRefused(f"There is no profile named {name}.", field="profile", next_step=f"Profiles: {', '.join(sorted(names))}.")


def request_digest(spec: CertificateSpec, *, team: Team, issuer: Issuer, requester: str) -> str:
    """Return the SHA-256 over the canonical content of a request, in hex. An approval counts only for the digest that was shown.

    The digest covers the days or the end date, whichever was given.
    """
    spki = spki_sha256(spec.spki_der) if spec.spki_der else ""
    return content_digest(spec, spki_sha256=spki, team=team.slug, issuer=issuer.name, requester=requester)


def content_digest(spec: CertificateSpec, *, spki_sha256: str, team: str, issuer: str, requester: str) -> str:
    """Return the digest of a request from the names of team and CA. `spki_sha256`: of an external CSR, else empty."""
    validity = {"not_after": spec.not_after.isoformat()} if spec.not_after else {"validity_days": spec.validity_days}
    content = {
        "common_name": spec.common_name,
        "dns_names": sorted(spec.dns_names),
        "ip_addresses": sorted(spec.ip_addresses),
        "key": spec.key,
        "spki_sha256": spki_sha256,
        **validity,
        "profile": spec.profile,
        "issuer": issuer,
        "team": team,
        "requester": requester,
    }
    return hashlib.sha256(_canonical(content).encode()).hexdigest()
