"""A proof that people take away: events of a certificate, each with its way to a signed checkpoint, checked anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from audit.events import EventType, Value
from audit.log import record
from audit.models import AuditEvent, EpochKey
from audit.transparency.canonical import as_bytes, leaf_of
from audit.transparency.checkpoint import signature_lines
from audit.transparency.merkle import leaf_hash
from audit.transparency.notes import best_checkpoint, signed_note
from audit.transparency.proofs import Inclusion, ProofRefused, TreeIncomplete, inclusion_proofs
from audit.transparency.witness import configured_witnesses
from certs.access.permissions import Authority
from certs.errors import Busy, Conflict
from certs.evidence.events import Selection, page_of
from certs.evidence.export import LOG
from certs.evidence.subjects import Source, sources_of
from certs.evidence.words import words_of
from certs.models import Certificate
from db.clock import database_now

# A proof with more events is of the newest of them, and says so.
MOST = 2000
SEALED_WITHIN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class ProvenEvent:
    """An event, its leaf as it was hashed, and its way to the root of `note`."""

    number: int
    event: AuditEvent
    words: str
    leaf: bytes
    inclusion: Inclusion
    note: str

    @property
    def stem(self) -> str:
        """The name of its files."""
        return f"{self.number:04}-{self.event.event.replace(':', '-')}"


@dataclass(frozen=True, slots=True)
class Proof:
    """What is proven, what is not sealed yet, and what it is proven against. `cut`: there are older events."""

    about: str
    certificate: Certificate | None
    events: tuple[ProvenEvent, ...]
    waiting: tuple[AuditEvent, ...]
    notes: dict[int, str]
    keys: dict[int, str]
    witnesses: tuple[str, ...]
    made_at: datetime
    cut: bool


def proof_of_certificate(certificate: Certificate) -> Proof:
    """Return the proof of everything that the log has of a certificate and its request. Nothing is recorded.

    Raises Conflict where an event or the tree is not what was sealed, Busy while nothing of it is sealed
    or the tree is being prepared.
    """
    page = page_of(Selection(sources_of(certificate)), size=MOST)
    return _proof(page.events[::-1], f"certificate {certificate.cert_id}", certificate, cut=bool(page.older))


def proof_of_event(event: AuditEvent) -> Proof:
    """Return the proof of one event. Raises what `proof_of_certificate` raises."""
    page = page_of(Selection((Source(number=event.pk),)))
    return _proof(page.events, f"event {event.pk}", None, cut=False)


@transaction.atomic
def record_download(proof: Proof, *, authority: Authority) -> None:
    """Put on record who took a proof. The subject is the log: an event of the certificate would make the proof incomplete."""
    data: dict[str, Value] = {"of": proof.about, "events": len(proof.events)}
    record(EventType.AUDIT_PROOF_DOWNLOADED, subject=LOG, actor=authority.actor, at=database_now(), data=data)


def _proof(events: Sequence[AuditEvent], about: str, certificate: Certificate | None, *, cut: bool) -> Proof:
    sealed = [event for event in events if hasattr(event, "leaf")]
    waiting = tuple(event for event in events if not hasattr(event, "leaf"))
    if not sealed:
        raise Busy(
            f"Nothing of {about} is sealed yet, so nothing can be proven.",
            retry_after=int(SEALED_WITHIN.total_seconds()),
            next_step="Events are sealed within seconds. Try again in a minute.",
        )
    proven: list[ProvenEvent] = []
    notes: dict[int, str] = {}
    for epoch in sorted({event.leaf.epoch for event in sealed}):
        of_epoch = [event for event in sealed if event.leaf.epoch == epoch]
        checkpoint = best_checkpoint(epoch, above=max(event.leaf.leaf_index for event in of_epoch))
        if checkpoint is None:
            raise Conflict(f"The checkpoints of epoch {epoch} of the audit log are gone.", next_step=_ALARM)
        notes[epoch] = signed_note(checkpoint)
        leaves = [_leaf(event) for event in of_epoch]
        try:
            places = [(event.leaf.leaf_index, leaf_hash(leaf)) for event, leaf in zip(of_epoch, leaves, strict=True)]
            proofs = inclusion_proofs(checkpoint, places)
        except ProofRefused as exc:
            raise Conflict(
                f"The tree of the audit log is not the one that was signed, so {about} cannot be proven.", next_step=_ALARM
            ) from exc
        except TreeIncomplete as exc:
            raise Busy(_PREPARED, retry_after=60, next_step=_AGAIN) from exc
        for event, leaf, inclusion in zip(of_epoch, leaves, proofs, strict=True):
            proven.append(ProvenEvent(len(proven) + 1, event, words_of(event), leaf, inclusion, notes[epoch]))
    keys = dict(EpochKey.objects.filter(epoch__in=notes).values_list("epoch", "verifier"))
    if set(keys) != set(notes):
        raise Busy(_PREPARED, retry_after=60, next_step=_AGAIN)
    # The program that checks the proof wants the cosignature of each of them on every checkpoint.
    cosigned = [{name for name, _ in signature_lines(note.rpartition("\n\n")[2])} for note in notes.values()]
    witnesses = tuple(str(one.key) for one in configured_witnesses() if all(one.key.name in names for names in cosigned))
    return Proof(about, certificate, tuple(proven), waiting, notes, keys, witnesses, database_now(), cut)


_PREPARED = "The tree of the audit log is being prepared for proofs."
_AGAIN = "Try again in a minute. If this stays, an operator runs `manage.py verify_audit`."
_ALARM = "Do not use it. Report this to the operators: `manage.py verify_audit` names what was changed."


def _leaf(event: AuditEvent) -> bytes:
    """Return the leaf of an event. Raises Conflict where the event is not the one that was sealed."""
    leaf = leaf_of(event)
    if leaf_hash(leaf) != as_bytes(event.leaf.leaf_hash):
        raise Conflict(f"Event {event.pk} is not what was sealed: it was changed in the database.", next_step=_ALARM)
    return leaf
