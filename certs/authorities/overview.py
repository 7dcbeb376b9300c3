"""What each CA is and does now: the tree of CAs for pages and commands. A dozen queries, however many certificates there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.db.models import Max

from certs.inventory import CertificateFilter, StateGroup
from certs.inventory.key_places import place_of
from certs.issuance.steps.ca_submit import STEP
from certs.models import Attempt, Chain, CRLPoint, Issuer, ResponderCertificate
from certs.renewal.budget import SAMPLE, budget_a_minute, measured_rates
from certs.status.ends import STAGES
from certs.status.publishing import ALARM_BEFORE
from certs.trust.roots import Root

SOON = STAGES[1]  # days before its end, from which a CA needs a person
_CLIENTS = {
    "certs.ca.local.LocalCAClient": "own CA",
    "certs.ca.local.client.LocalCAClient": "own CA",
    "certs.ca.rest.RestCAClient": "another CA, over REST",
    "certs.ca.vault_pki.VaultPKIClient": "Vault PKI engine",
}


_SETTLE = "Settle what the alert of the CA names, then close that alert. Requests wait, and go on from where they are."
_ASK = "Ask its operator for a new issuing CA, and add it."
_WORKER = "Is a worker of the queue `ca` running, and does the key backend answer? Then a new one is made automatically."


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a CA, and what a person does about it."""

    text: str
    next_step: str


@dataclass(frozen=True, slots=True)
class PublishedCRL:
    """A CRL of an own CA as it is public now; `next_update` is None where none was published yet."""

    shard: int
    number: int | None
    this_update: datetime | None
    next_update: datetime | None
    entries: int

    @property
    def label(self) -> str:
        return f", shard {self.shard}" if self.shard else ""

    def is_late(self, now: datetime) -> bool:
        """Return whether relying parties will be without a CRL within a day, or are already."""
        return self.next_update is None or self.next_update < now + ALARM_BEFORE


@dataclass(frozen=True, slots=True)
class CA:
    """One CA. `certificate` is None for a CA elsewhere that has issued nothing yet."""

    issuer: Issuer
    certificate: Root | None
    root: Root | None
    kind: str
    key_place: str
    rate: float | None  # certificates a minute, as measured; None where too little was issued
    budget: int  # renewals a minute that a run may begin
    last_success_at: datetime | None
    crls: tuple[PublishedCRL, ...]
    responder_until: datetime | None
    valid: int | None  # None before the first count
    counted_at: datetime | None

    @property
    def is_own(self) -> bool:
        return self.issuer.key_id is not None

    @property
    def is_root(self) -> bool:
        return not self.issuer.alias

    @property
    def ends_at(self) -> datetime | None:
        return self.certificate.not_after if self.certificate else None

    @property
    def certificates_url(self) -> str:
        """Return the inventory with the valid certificates of this CA."""
        return CertificateFilter(issuer=self.issuer.slug, state=StateGroup.IN_FORCE.value).url()

    def problems(self, now: datetime) -> list[Problem]:
        """Return what a person has to see to; empty for a CA that works."""
        found = []
        roll_over = f'Bring the root\'s key online and run `manage.py roll_over_ca "{self.issuer.name}"`.'
        if self.issuer.circuit_opened_at is not None:
            found.append(Problem(f"Nothing is sent to this CA: {self.issuer.circuit_reason}", _SETTLE))
        left = None if self.ends_at is None else self.ends_at - now
        replaced = self.issuer.successor_id is not None or self.issuer.state == Issuer.State.DISTRUSTED
        if left is not None and not replaced and left.days < SOON:
            what = "ended" if left.days < 0 else f"ends in {left.days} days, and no CA has taken over from it"
            root = "Set up a new root, and give it to all relying parties before this one ends."
            found.append(Problem(f"{self.issuer.name} {what}.", root if self.is_root else roll_over if self.is_own else _ASK))
        if self._speaks(now):
            late = [crl for crl in self.crls if crl.is_late(now)]
            step = f"Bring the root's key online and run `manage.py publish_crl --issuer {self.issuer.slug}`."
            found += [Problem(f"The CRL{crl.label} runs out.", step if self.is_root else _WORKER) for crl in late]
            if not self.is_root and (self.responder_until is None or self.responder_until < now + ALARM_BEFORE):
                found.append(Problem("The certificate of the OCSP responder runs out.", _WORKER))
        return found

    def _speaks(self, now: datetime) -> bool:
        """Return whether the portal is to publish status information for it."""
        ended = self.ends_at is not None and self.ends_at <= now
        return self.is_own and not ended and self.issuer.state != Issuer.State.DISTRUSTED


@dataclass(frozen=True, slots=True)
class Tree:
    """A root with the CAs beneath it: those that issue first, each followed by its predecessors."""

    root: Root | None
    own_root: CA | None  # where the portal has the root's key
    cas: tuple[CA, ...]


def trees() -> list[Tree]:
    """Return every CA, by the root that its chains end in."""
    cas = all_cas()
    by_root: dict[str, list[CA]] = defaultdict(list)
    for ca in cas:
        by_root[ca.root.sha256 if ca.root else ""].append(ca)
    found = []
    for members in by_root.values():
        own_root = next((ca for ca in members if ca.is_root), None)
        found.append(Tree(members[0].root, own_root, tuple(_in_order([ca for ca in members if not ca.is_root]))))
    return found


def ca_of(slug: str) -> CA | None:
    """Return one CA, None where there is none of that slug."""
    return next((ca for ca in all_cas() if ca.issuer.slug == slug), None)


def all_cas() -> list[CA]:
    """Return every CA, in the order in which they were added."""
    issuers = list(Issuer.objects.select_related("key", "parent", "successor", "figure", "addition").order_by("pk"))
    chains, crls, responders = _newest_chains(), _crls(), _responders()
    rates, last = measured_rates(), _last_successes()
    return [_ca(issuer, chains, crls, responders, rates, last) for issuer in issuers]


def _ca(
    issuer: Issuer,
    chains: Mapping[int, bytes],
    crls: Mapping[int, Sequence[PublishedCRL]],
    responders: Mapping[int, datetime],
    rates: Mapping[int, float],
    last: Mapping[int, datetime],
) -> CA:
    addition = getattr(issuer, "addition", None)
    der = bytes(issuer.certificate_der or chains.get(issuer.pk) or (_first_der(addition.chain) if addition else b""))
    figure = getattr(issuer, "figure", None)
    lately = [at for at in (last.get(issuer.pk), figure.last_issued_at if figure else None) if at is not None]
    return CA(
        issuer=issuer,
        certificate=Root(der) if der else None,
        root=Root(bytes(issuer.trust_anchor_der)) if issuer.trust_anchor_der else None,
        kind=_kind_of(issuer),
        key_place=place_of(issuer.key) if issuer.key else "with the operator of the CA",
        rate=rates.get(issuer.pk),
        budget=budget_a_minute(issuer.pk, rates),
        last_success_at=max(lately, default=None),
        crls=tuple(crls.get(issuer.pk, ())),
        responder_until=responders.get(issuer.pk),
        valid=figure.valid if figure else None,
        counted_at=figure.counted_at if figure else None,
    )


def _in_order(cas: Sequence[CA]) -> list[CA]:
    """Return those that nobody has succeeded, each followed by its predecessors, the newest first."""
    before = {ca.issuer.successor_id: ca for ca in cas if ca.issuer.successor_id is not None}
    found = []
    for current in [ca for ca in cas if ca.issuer.successor_id is None]:
        link: CA | None = current
        while link is not None:
            found.append(link)
            link = before.get(link.issuer.pk)
    return found


def _kind_of(issuer: Issuer) -> str:
    if issuer.key_id is not None:
        return "own root CA" if not issuer.alias else "own CA"
    config = settings.CA_CLIENTS.get(issuer.alias)
    if config:
        return _CLIENTS.get(str(config["CLIENT"]), str(config["CLIENT"]))
    addition = getattr(issuer, "addition", None)
    return addition.get_kind_display() if addition else "not configured in this process"


def _newest_chains() -> dict[int, bytes]:
    """Return the certificate of each CA elsewhere, from the chain that came last."""
    newest = Chain.objects.filter(issuer__certificate_der__isnull=True).values("issuer").annotate(newest=Max("pk")).values("newest")
    return {chain.issuer_id: _first_der(chain.pem) for chain in Chain.objects.filter(pk__in=newest)}


def _first_der(pem: str) -> bytes:
    return x509.load_pem_x509_certificates(pem.encode())[0].public_bytes(Encoding.DER)


def _crls() -> dict[int, list[PublishedCRL]]:
    found: dict[int, list[PublishedCRL]] = defaultdict(list)
    rows = CRLPoint.objects.select_related("published").defer("published__head", "published__tail", "published__segments")
    for point in rows.order_by("issuer", "shard"):
        crl = point.published
        found[point.issuer_id].append(
            PublishedCRL(point.shard, crl.number, crl.this_update, crl.next_update, crl.count)
            if crl
            else PublishedCRL(point.shard, None, None, None, 0)
        )
    return found


def _responders() -> dict[int, datetime]:
    return dict(ResponderCertificate.objects.order_by().values_list("issuer").annotate(until=Max("not_after")))


def _last_successes() -> dict[int, datetime]:
    """Return when each CA last signed, among the newest attempts; figures have it for those that have been idle."""
    newest = Attempt.objects.aggregate(newest=Max("pk"))["newest"] or 0
    rows = Attempt.objects.filter(pk__gt=newest - SAMPLE, step=STEP, outcome="done", closed_at__isnull=False)
    return dict(rows.order_by().values_list("request__issuer").annotate(last=Max("closed_at")))
