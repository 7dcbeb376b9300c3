"""Rebuilds the Merkle tree of every epoch from the events and compares it with leaves, checkpoints and what was kept outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from audit.events import EventType
from audit.models import Checkpoint
from audit.transparency.canonical import CONTENT, CONTENT_WIDTH, as_bytes, content_of
from audit.transparency.checkpoint import NoteRefused, Statement, Verifier
from audit.transparency.merkle import CompactRange, leaf_hash
from audit.verification.findings import Findings

BATCH = 2000

_LEAVES = (
    f"SELECT l.leaf_index, l.event_id, l.leaf_hash, {CONTENT} FROM audit_sealed_leaf l LEFT JOIN audit_event e ON e.id = l.event_id "  # noqa: S608
    "WHERE l.epoch = %s AND l.leaf_index >= %s ORDER BY l.leaf_index LIMIT %s"
)
_EPOCHS = "SELECT epoch FROM audit_checkpoint UNION SELECT epoch FROM audit_sealed_leaf ORDER BY 1"
# One statement, for a sealer may be adding to both.
_ENDS = (
    "SELECT (SELECT MAX(tree_size) FROM audit_checkpoint WHERE epoch = %s), "
    "(SELECT MAX(leaf_index) + 1 FROM audit_sealed_leaf WHERE epoch = %s)"
)
_BEYOND = (
    "SELECT l.event_id, COALESCE(e.subject, '') FROM audit_sealed_leaf l LEFT JOIN audit_event e ON e.id = l.event_id "
    "WHERE l.epoch = %s AND l.leaf_index >= %s ORDER BY l.leaf_index LIMIT 1"
)
_FIRST_LEAF = (
    "SELECT l.event_id, COALESCE(e.event, ''), COALESCE(e.subject, ''), COALESCE(e.data, '{}') FROM audit_sealed_leaf l "
    "LEFT JOIN audit_event e ON e.id = l.event_id WHERE l.epoch = %s ORDER BY l.leaf_index LIMIT 1"
)
_EPOCH_STARTS = (
    "SELECT e.data FROM audit_event e JOIN audit_sealed_leaf l ON l.event_id = e.id "
    "WHERE l.leaf_index = 0 AND l.epoch > %s AND e.event = %s"
)


class TreeExaminer:
    """One pass over the leaves of every epoch. Events are hashed anew; no leaf row is trusted."""

    def __init__(
        self,
        findings: Findings,
        verifier: Verifier | None,
        outside: Iterator[Statement],
        *,
        now: datetime,
    ) -> None:
        self.findings = findings
        self.now = now
        self.verifier = verifier
        self.outside = outside
        self.expected = next(outside, None)
        self.newest_size = 0
        self.before: Checkpoint | None = None
        self.tip = (0, 0, "")  # epoch, size and root of the epoch before

    def run(self) -> None:
        """Add what is wrong to the findings."""
        for epoch in self._epochs():
            self._skip_unknown_epochs(before=epoch)
            self._epoch(epoch)
        self._skip_unknown_epochs(before=None)

    def _epoch(self, epoch: int) -> None:
        walk = _Walk(epoch, self.findings)
        self._check_start(epoch)
        # A note may be of an empty tree. The pass stops at each size that a checkpoint or a note from outside names.
        self._outside_at(walk, stored=None)
        while rows := fetch(_LEAVES, [epoch, walk.next_index, BATCH]):
            checkpoints = self._checkpoints(epoch, walk.next_index, rows[-1][0] + 1)
            for row in rows:
                walk.take(row)
                if (checkpoint := checkpoints.pop(walk.next_index, None)) is not None:
                    self._checkpoint(walk, checkpoint)
                self._outside_at(walk, stored=checkpoint)
        self._end(walk)
        self.tip = (epoch, walk.next_index, "" if walk.broken else walk.tree.root().hex())

    def _check_start(self, epoch: int) -> None:
        """Check that an epoch above the first begins with a leaf that names the tree before it."""
        if epoch == 1 and self.tip[0] == 0:
            return
        number, size, root = self.tip
        for event_id, event, subject, data in fetch(_FIRST_LEAF, [epoch]):
            content = json.loads(data) if event == EventType.AUDIT_EPOCH_STARTED else {}
            named = (content.get("old_epoch"), content.get("old_size"), content.get("old_root"))
            if (subject, *named[:2]) == (f"audit:epoch-{epoch}", number, size) and root in (
                "",
                named[2],
            ):
                return
            self.findings.add(
                f"Epoch {epoch} does not begin with an event that names the tree before it: leaves "
                "or checkpoints were given another epoch, or an epoch was removed.",
                event_id=event_id,
                subject=subject,
            )
            return
        self.findings.add(f"Epoch {epoch} has no first leaf.")

    def _in_order(self, checkpoint: Checkpoint) -> None:
        """Check what no signature covers: checkpoints are numbered and dated in the order of the tree."""
        size, epoch, before = checkpoint.tree_size, checkpoint.epoch, self.before
        if before is not None and checkpoint.id <= before.id:
            self.findings.add(f"The checkpoint of {size} leaves (epoch {epoch}) is numbered before an older one.")
        # A sealer may be at work while this looks, for hours on a long log.
        latest = self.now + timedelta(days=1)
        if checkpoint.created_at > latest or (before and checkpoint.created_at < before.created_at):
            self.findings.alarms.append(
                f"The checkpoint of {size} leaves (epoch {epoch}) is dated {checkpoint.created_at:%Y-%m-%d %H:%M:%S} UTC, which is out "
                "of order: its time was changed, or the database's clock was wrong."
            )
        self.before = checkpoint

    def _checkpoint(self, walk: _Walk, checkpoint: Checkpoint) -> None:
        """Compare the signed note, its row and the tree. After a difference the signed root counts, not the row's."""
        self.newest_size = checkpoint.tree_size
        self._in_order(checkpoint)
        root = as_bytes(checkpoint.root_hash)
        if self.verifier is not None:
            try:
                statement = self.verifier.open(checkpoint.note)
            except NoteRefused as exc:
                self.findings.add(f"The checkpoint of {checkpoint.tree_size} leaves (epoch {walk.epoch}) does not hold: {exc}")
                return
            if (statement.epoch, statement.size, statement.root) != (walk.epoch, checkpoint.tree_size, root):
                self.findings.add(f"The checkpoint of {checkpoint.tree_size} leaves (epoch {walk.epoch}) differs from its signed note.")
                root = statement.root
        if walk.agrees_with(root, f"the signed checkpoint of {checkpoint.tree_size} leaves") and walk.tree.frontier() != as_bytes(
            checkpoint.frontier
        ):
            self.findings.add(f"The frontier of the checkpoint of {checkpoint.tree_size} leaves (epoch {walk.epoch}) was altered.")
        walk.start_stretch()

    def _outside_at(self, walk: _Walk, *, stored: Checkpoint | None) -> None:
        """Compare with every note from outside that is of just this size. `stored`: the database's own checkpoint of it."""
        missing = stored is None
        while self.expected is not None and (self.expected.epoch, self.expected.size) == (walk.epoch, walk.next_index):
            walk.agrees_with(self.expected.root, f"the checkpoint of {walk.next_index} leaves kept outside")
            if missing:
                self.findings.add(
                    f"The checkpoint of {walk.next_index} leaves (epoch {walk.epoch}) is kept outside, but the database has it no more: "
                    "its row was removed.",
                    event_id=walk.last_event or None,
                )
                missing = False
            self.expected = next(self.outside, None)

    def _end(self, walk: _Walk) -> None:
        signed, leaves = fetch(_ENDS, [walk.epoch, walk.epoch])[0]
        if (signed or 0) > (leaves or 0):
            self.findings.add(f"The tail was cut: epoch {walk.epoch} has a checkpoint of {signed} leaves, the database has {leaves or 0}.")
        elif (signed or 0) < (leaves or 0):
            beyond = fetch(_BEYOND, [walk.epoch, signed or 0])
            event_id, subject = beyond[0] if beyond else (None, "")
            self.findings.add(
                f"Epoch {walk.epoch} has {leaves} leaves but the last checkpoint is of {signed or 0}: leaves were inserted or "
                "checkpoints removed.",
                event_id=event_id,
                subject=subject,
            )

    def _skip_unknown_epochs(self, *, before: int | None) -> None:
        """Report the notes from outside that nothing in the database reached: the tail was cut."""
        while self.expected is not None and (before is None or self.expected.epoch < before):
            last = self.expected
            while (following := next(self.outside, None)) is not None and following.epoch == last.epoch:
                last = following
            self.expected = following
            if not self._declared_lost(last):
                self.findings.add(
                    f"The tail was cut: a checkpoint kept outside is of {last.size} leaves (epoch {last.epoch}); the database has fewer, "
                    "or a log that was begun anew."
                )

    def _declared_lost(self, last: Statement) -> bool:
        """Return whether a later epoch began on record because a restore lost the end of this one.

        Each verification reports that as an alarm.
        """
        for (data,) in fetch(_EPOCH_STARTS, [last.epoch, str(EventType.AUDIT_EPOCH_STARTED)]):
            content = json.loads(data)
            outside = (content.get("outside_epoch"), content.get("outside_size"), content.get("outside_root"))
            if outside == (last.epoch, last.size, last.root.hex()):
                self.findings.alarms.append(
                    f"Epoch {last.epoch} had {last.size} leaves; those above {content.get('old_size')} were lost in a restore, "
                    "according to the first leaf of a later epoch."
                )
                return True
        return False

    @staticmethod
    def _epochs() -> list[int]:
        return [row[0] for row in fetch(_EPOCHS, [])]

    @staticmethod
    def _checkpoints(epoch: int, above: int, up_to: int) -> dict[int, Checkpoint]:
        rows = Checkpoint.objects.filter(epoch=epoch, tree_size__gt=above, tree_size__lte=up_to)
        return {row.tree_size: row for row in rows}


class _Walk:
    """The state of the pass over one epoch. A stretch is what lies between two checkpoints; one seal wrote it in the order of ids."""

    def __init__(self, epoch: int, findings: Findings) -> None:
        self.epoch = epoch
        self.findings = findings
        self.tree = CompactRange()
        self.next_index = 0
        self.broken = False
        self.start_stretch()

    def start_stretch(self) -> None:
        self.stretch_start = self.next_index
        self.first_event: int | None = None
        self.last_event = 0
        self.named = False

    def take(self, row: tuple[Any, ...]) -> None:
        """Hash the event of this leaf anew and add it to the tree; name it when it is not what was sealed."""
        index, event_id, stored = row[0], row[1], as_bytes(row[2])
        columns = row[3 : 3 + CONTENT_WIDTH]
        subject = str(columns[2] or "")
        if index != self.next_index:
            self._name(
                f"Leaf {self.next_index} of epoch {self.epoch} is missing; the next is leaf {index}, of this event.", event_id, subject
            )
            self.broken = True
        content = None if columns[0] is None else content_of(columns)
        if columns[0] is None:
            self._name(f"The event was deleted; it was sealed as leaf {index} of epoch {self.epoch}.", event_id, subject)
        elif content is None or leaf_hash(content) != stored:
            self._name(
                f"The event (or its leaf) was changed: it is not what was sealed as leaf {index} of epoch {self.epoch}.",
                event_id,
                subject,
            )
        if event_id <= self.last_event:
            self._name(f"Leaf {index} of epoch {self.epoch} is out of order: leaves or events were swapped.", event_id, subject)
        self.first_event = event_id if self.first_event is None else self.first_event
        self.last_event = event_id
        # After a named difference the stored hash keeps the rest of the tree comparable.
        self.tree.append(stored)
        self.next_index = index + 1

    def agrees_with(self, root: bytes, what: str) -> bool:
        """Return whether the tree so far has this root. The first difference is reported with the stretch in which it must lie."""
        if self.broken or self.tree.root() == root:
            return not self.broken
        if not self.named:
            self.findings.add(
                f"The tree of epoch {self.epoch} is not the one of {what}: an event among leaves {self.stretch_start} to "
                f"{self.next_index - 1} was changed together with its leaf, inserted or swapped. The first event there is named.",
                event_id=self.first_event,
            )
        self.broken = True
        return False

    def _name(self, problem: str, event_id: int, subject: str) -> None:
        self.named = True
        self.findings.add(problem, event_id=event_id, subject=subject)


def fetch(statement: str, params: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
