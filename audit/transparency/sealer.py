"""The sealer: gives committed events their place in the Merkle tree (RFC 9162 2.1), signs a checkpoint (C2SP
tlog-checkpoint) and publishes it outside the database.

One sealer at a time (advisory lock on PostgreSQL, the write lock on SQLite); writers of events never wait
for it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from audit.events import Actor, EventType, Value
from audit.log import record, unsealed_macs
from audit.models import Checkpoint, EpochKey, SealedLeaf
from audit.sinks import get_sinks
from audit.transparency.canonical import CONTENT, as_bytes, content_of
from audit.transparency.checkpoint import NoteRefused, Statement, Verifier, names_its_key_after_the_log
from audit.transparency.merkle import CompactRange, leaf_hash
from audit.transparency.nodes import complete
from audit.transparency.signing_key import Signer, announce_epoch, get_signer
from db.clock import database_now
from db.rows import NewRows, write_new
from db.sql import among_ids, fetch, id_list, try_advisory_lock

SEAL_LIMIT = 20_000
# Any number that nothing else in this database locks.
ADVISORY_LOCK = 0x617564697473  # "audits"
_RESTORED = (
    "If the database was restored from a backup, run `manage.py verify_audit`, keep the old checkpoints, then run "
    "`manage.py seal_audit --new-epoch`. If it was not, keep a copy of the database: somebody changed the log."
)


class TreeRefused(RuntimeError):
    """The tree in the database is smaller than the signed one, or another. Nothing was sealed; events wait."""


class EventAltered(RuntimeError):
    """Events were changed, removed or slipped in between their writing and their sealing. All others were sealed."""

    def __init__(self, event_ids: list[int]) -> None:
        super().__init__(
            f"Event {event_ids[0]} is not what the portal wrote{f' (and {len(event_ids) - 1} more)' if len(event_ids) > 1 else ''}; it was "
            "not sealed, all others were. If SECRET_KEY was changed, put the old one into SECRET_KEY_FALLBACKS. If not, keep a copy of "
            "the database and run `manage.py verify_audit`: somebody changed the log."
        )
        self.event_ids = event_ids


def seal(*, limit: int = SEAL_LIMIT) -> int:
    """Seal up to `limit` committed events in the order of their ids. Returns how many were sealed, 0 while
    another sealer is at work.

    Effects: leaves, one checkpoint and the kept hashes of the tree in a transaction of its own, then the
    checkpoint in every sink.

    Raises TreeRefused (nothing was sealed), EventAltered (all other events were sealed),
    SealingKeyUnusable, and what a sink raises: the next run publishes that checkpoint again before it
    seals anything more.
    """
    signer = get_signer()
    with transaction.atomic(durable=True):
        # 1. One sealer at a time: two would give the same leaf index to different events.
        if not _lock():
            return 0
        # 2. The tree as last signed, which must lead to its own root and be no smaller than any sink has
        #    seen: sealing on top of a shortened log would hide what is missing.
        epoch, tree = _tip()
        _compare_with_sinks(signer.verifier(), epoch, tree)
        # 3. An installation of an earlier release signs under a key name that is not the log's origin. It
        #    begins a new epoch, once (see audit.transparency.checkpoint).
        first_note = ""
        newest = Checkpoint.objects.order_by("-epoch", "-tree_size").values_list("note", flat=True).first()
        if newest is not None and names_its_key_after_the_log(newest):
            actor, at = Actor("system", "sealer"), database_now()
            epoch, tree, first_note = _begin_epoch(signer, actor=actor, at=at)
        # 4. Events whose MAC is still the one that the writer made. An altered event is left out and
        #    reported, and the others are sealed all the same: one changed row must not stop the log.
        leaves, altered = _unsealed(limit)
        note = _append(signer, epoch, tree, leaves) if leaves else ""
        # 5. What proofs need besides the leaves; it follows from them, and an upgrade begins without it.
        _keep_for_proofs(signer.verifier(), epoch)
    # 6. Publish after the commit: a checkpoint outside that the database may still roll back would look like
    #    a shortened log. After a crash in between, step 2 of the next run publishes it.
    if first_note:
        _publish(first_note)
    if note:
        _publish(note)
        announce_epoch(epoch)
    if altered:
        raise EventAltered(altered)
    return len(leaves)


def start_epoch(*, actor: Actor, at: datetime) -> int:
    """Begin a new tree after the database was restored. Its first leaf names the old tree, as the database
    and as the sinks know it. Returns the number of the epoch.

    For the command `seal_audit --new-epoch` only. Raises TreeRefused while another sealer is at work.
    """
    signer = get_signer()
    with transaction.atomic(durable=True):
        if not _lock():
            raise TreeRefused("Another sealer is at work. Stop the workers, then run this again.")
        epoch, _, note = _begin_epoch(signer, actor=actor, at=at)
        _keep_for_proofs(signer.verifier(), epoch)
    _publish(note)
    announce_epoch(epoch)
    return epoch


def _begin_epoch(signer: Signer, *, actor: Actor, at: datetime) -> tuple[int, CompactRange, str]:
    """Write the first leaf of a new epoch. Returns the epoch's number, its tree and the note to publish."""
    # Above every epoch that a sink knows: the restored database may not know the newest one, and two trees under one origin
    # would look like a fork.
    tip = Checkpoint.objects.order_by("-epoch", "-tree_size").first()
    outside = _outside(signer.verifier())
    epoch = max([tip.epoch if tip else 0, *(statement.epoch for statement in outside)]) + 1
    furthest = max(outside, key=lambda statement: (statement.epoch, statement.size), default=None)
    data: dict[str, Value] = {
        "old_epoch": tip.epoch if tip else 0,
        "old_size": tip.tree_size if tip else 0,
        "old_root": as_bytes(tip.root_hash).hex() if tip else "",
        "outside_epoch": furthest.epoch if furthest else 0,
        "outside_size": furthest.size if furthest else 0,
        "outside_root": furthest.root.hex() if furthest else "",
    }
    # The leaf names both: what the database has of the old tree, and the last that left it. So verifiers see how much was lost.
    subject = f"audit:epoch-{epoch}"
    record(EventType.AUDIT_EPOCH_STARTED, subject=subject, actor=actor, at=at, data=data)
    leaves, _ = _unsealed(1, subject=subject)
    tree = CompactRange()
    return epoch, tree, _append(signer, epoch, tree, leaves)


def _keep_for_proofs(verifier: Verifier, last: int) -> None:
    """Keep the hashes of the full tiles, and the verifier key of each epoch under the name that signed its notes."""
    known = set(EpochKey.objects.values_list("epoch", flat=True))
    for epoch in range(1, last + 1):
        newest = Checkpoint.objects.filter(epoch=epoch).order_by("-tree_size").first()
        if newest is None:  # lost in a restore
            continue
        complete(epoch, newest.tree_size)
        if epoch not in known:
            named_after_log = names_its_key_after_the_log(newest.note)
            key = replace(verifier, epoch=0 if named_after_log else epoch)
            EpochKey.objects.create(epoch=epoch, verifier=str(key))


def _lock() -> bool:
    """Return whether this transaction is the only sealer. SQLite has one writer at a time anyway: its transactions begin IMMEDIATE."""
    return try_advisory_lock(ADVISORY_LOCK)


def _tip() -> tuple[int, CompactRange]:
    """Return the epoch and its tree as last signed. Raises TreeRefused when leaves, frontier and root do not agree."""
    # No leaf is read but the last: the frontier leads to the signed root, whatever the length of the log.
    tip = Checkpoint.objects.order_by("-epoch", "-tree_size").first()
    epoch = tip.epoch if tip else 1
    last = SealedLeaf.objects.order_by("-epoch", "-leaf_index").values_list("epoch", "leaf_index").first()
    size = tip.tree_size if tip else 0
    if (last or (epoch, -1)) != (epoch, size - 1):
        raise TreeRefused(f"The last checkpoint is of {size} leaves in epoch {epoch}, but the leaves do not end there. {_RESTORED}")
    if tip is None:
        return epoch, CompactRange()
    try:
        tree = CompactRange.from_bytes(size, as_bytes(tip.frontier))
    except ValueError as exc:
        raise TreeRefused(f"The frontier of the last checkpoint is damaged: {exc} {_RESTORED}") from exc
    if tree.root() != as_bytes(tip.root_hash):
        raise TreeRefused(f"The frontier of the last checkpoint does not lead to its root. {_RESTORED}")
    return epoch, tree


def _outside(verifier: Verifier) -> list[Statement]:
    """Return the last statement in each sink; sinks that cannot be read back are left out. Raises TreeRefused."""
    notes = [note for sink in get_sinks() if (note := sink.last()) is not None]
    try:
        return [verifier.open(note) for note in notes]
    except NoteRefused as exc:
        raise TreeRefused(
            f"The last checkpoint in a sink is not ours: {exc} Put back audit.key and audit.pub, or the sink's file."
        ) from exc


def _compare_with_sinks(verifier: Verifier, epoch: int, tree: CompactRange) -> None:
    """Refuse a smaller or forked tree; publish the newest checkpoint again, for a sink that missed it. Raises TreeRefused."""
    for statement in _outside(verifier):
        if (statement.epoch, statement.size) > (epoch, tree.size):
            raise TreeRefused(
                f"A checkpoint outside is of {statement.size} leaves in epoch {statement.epoch}, the database has {tree.size} in epoch "
                f"{epoch}: its tail is missing. {_RESTORED}"
            )
        if statement.epoch == epoch:
            roots = Checkpoint.objects.filter(epoch=epoch, tree_size=statement.size).values_list("root_hash", flat=True)
            if [as_bytes(root) for root in roots] != [statement.root]:
                raise TreeRefused(f"The tree of {statement.size} leaves in the database is not the one signed outside. {_RESTORED}")
    # Again, at each run: a sink that failed after the last commit gets it now. A sink that has it already leaves it.
    if tree.size:
        _publish(Checkpoint.objects.values_list("note", flat=True).get(epoch=epoch, tree_size=tree.size))


def _unsealed(limit: int, *, subject: str = "") -> tuple[list[tuple[int, bytes]], list[int]]:
    """Return unsealed events as (id, leaf hash), and the ids of those whose content is gone or does not match its MAC."""
    chosen = "WHERE e.subject = %s" if subject else ""
    params: list[str | int] = [subject, limit] if subject else [limit]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT u.event_id, u.mac, {CONTENT} FROM audit_unsealed u LEFT JOIN audit_event e ON e.id = u.event_id "  # noqa: S608
            f"{chosen} ORDER BY u.event_id LIMIT %s",
            params,
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    leaves: list[tuple[int, bytes]] = []
    altered: list[int] = []
    for event_id, mac, *columns in rows:
        content = content_of(columns)
        if content is not None and as_bytes(mac) in unsealed_macs(content):
            leaves.append((event_id, leaf_hash(content)))
        else:
            altered.append(event_id)
    return leaves, altered


def _append(signer: Signer, epoch: int, tree: CompactRange, leaves: list[tuple[int, bytes]]) -> str:
    """Write leaves and checkpoint, and delete the events from the list of unsealed ones. Returns the signed note."""
    # Leaves, the shorter list of unsealed events and the checkpoint are one transaction: a leaf without a signature, or an event
    # in both lists, is a change that `verify_audit` reports.
    rows = []
    for event_id, leaf in leaves:
        rows.append((event_id, epoch, tree.size, leaf))
        tree.append(leaf)
    write_new([NewRows("audit_sealed_leaf", "event_id, epoch, leaf_index, leaf_hash", rows)])
    fetch(f"DELETE FROM audit_unsealed WHERE {among_ids('event_id')}", [id_list([row[0] for row in rows])])  # noqa: S608 - constants
    note = signer.sign(Statement(signer.name, epoch, tree.size, tree.root()))
    checkpoint = (epoch, tree.size, tree.root(), tree.frontier(), note, database_now())
    write_new([NewRows("audit_checkpoint", "epoch, tree_size, root_hash, frontier, note, created_at", [checkpoint])])
    return note


def _publish(note: str) -> None:
    for sink in get_sinks():
        sink.publish(note)
