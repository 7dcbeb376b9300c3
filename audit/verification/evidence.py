"""What is kept beside the ledger for proofs: hashes of full tiles, verifier keys, cosignatures. Wrong rows would give wrong proofs."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import OuterRef, Subquery

from audit.models import Checkpoint, Cosignature, EpochKey, TreeNode
from audit.transparency import nodes
from audit.transparency.canonical import as_bytes
from audit.transparency.checkpoint import NoteRefused, Verifier
from audit.transparency.merkle import root_of
from audit.transparency.witness import configured_witnesses
from audit.verification.findings import Findings

_BATCH = 2000


def examine(findings: Findings, verifier: Verifier | None) -> None:
    """Add what is wrong to `findings`. `verifier`: the key that must have signed every epoch."""
    newest = {epoch: _newest(epoch) for epoch in Checkpoint.objects.order_by().values_list("epoch", flat=True).distinct()}
    for epoch, checkpoint in newest.items():
        _nodes(findings, epoch, checkpoint.tree_size)
    for epoch, level in TreeNode.objects.order_by().values_list("epoch", "level").distinct():
        if epoch not in newest or level < 1 or not newest[epoch].tree_size >> (nodes.TILE_HEIGHT * level):
            findings.add(f"Hashes of level {level} are kept for a tree of epoch {epoch} that does not reach it.")
    _keys(findings, newest, verifier)
    _cosignatures(findings)


def _newest(epoch: int) -> Checkpoint:
    return Checkpoint.objects.filter(epoch=epoch).order_by("-tree_size")[0]


def _nodes(findings: Findings, epoch: int, size: int) -> None:
    """Compare the kept hashes with the level below. They may end early, for the sealer makes what is missing at the end."""
    level = 1
    while (most := size >> (nodes.TILE_HEIGHT * level)) > 0:
        kept = TreeNode.objects.filter(epoch=epoch, level=level)
        if kept.filter(node_index__lt=0).exists() or kept.filter(node_index__gte=most).exists():
            findings.add(f"A hash of level {level} is kept outside the tree of {size} leaves of epoch {epoch}.")
        for expected, (index, digest) in enumerate(_rows(epoch, level)):
            if index != expected:
                findings.add(f"The kept hash {expected} of level {level} of epoch {epoch} is missing.")
                break
            try:
                right = root_of(nodes.tile(epoch, level - 1, index, nodes.TILE_WIDTH)) == digest
            except nodes.TreeIncomplete:
                right = False
            if not right:
                findings.add(f"The kept hash {index} of level {level} of epoch {epoch} is not that of its leaves.")
                break
        level += 1


def _rows(epoch: int, level: int) -> Iterator[tuple[int, bytes]]:
    after = -1
    while True:
        rows = TreeNode.objects.filter(epoch=epoch, level=level, node_index__gt=after).order_by("node_index")
        page = list(rows.values_list("node_index", "node_hash")[:_BATCH])
        yield from ((index, as_bytes(digest)) for index, digest in page)
        if len(page) < _BATCH:
            return
        after = page[-1][0]


def _keys(findings: Findings, newest: dict[int, Checkpoint], verifier: Verifier | None) -> None:
    for row in EpochKey.objects.order_by("epoch"):
        if wrong := _wrong_with(row, newest.get(row.epoch), verifier):
            findings.add(f"The kept verifier key of epoch {row.epoch} is wrong: {wrong}")


def _wrong_with(row: EpochKey, newest: Checkpoint | None, verifier: Verifier | None) -> str:
    if newest is None:
        return "There is no such epoch."
    try:
        key = Verifier.parse(row.verifier)
        opened = key.open(newest.note)
    except NoteRefused as exc:
        return str(exc)
    if verifier is not None and (key.name, key.public_key) != (verifier.name, verifier.public_key):
        return "It is another key than the one that signs the log."
    return "" if opened.epoch == row.epoch and key.epoch in (0, row.epoch) else "It is the key of another epoch."


def _cosignatures(findings: Findings) -> None:
    """Verify each cosignature again. Those of a witness that is not configured any more cannot be verified, which is an alarm."""
    keys = {one.key.name: one.key for one in configured_witnesses()}
    known = set(Cosignature.objects.order_by().values_list("witness", flat=True).distinct())
    for name in sorted(known - set(keys)):
        findings.alarms.append(f"The cosignatures of {name} cannot be verified: no witness of this name is configured.")
    notes = Checkpoint.objects.filter(pk=OuterRef("checkpoint_id")).values("note")
    rows = Cosignature.objects.filter(witness__in=keys).annotate(signed=Subquery(notes))
    for row in rows.order_by("checkpoint_id", "witness").iterator(_BATCH):
        try:
            is_right = row.signed is not None and keys[row.witness].cosigned_at(row.signed, row.line) == row.signed_at
        except NoteRefused:
            is_right = False
        if not is_right:
            findings.add(f"A cosignature of {row.witness} is not one on its checkpoint, or of another time.")
            return
