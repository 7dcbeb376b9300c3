"""Proofs out of the kept tree: that an event is in it, and that one checkpoint continues another.

Each proof is verified before it is returned: where a row of the tree was altered the caller gets
an error, never a proof that does not hold.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from audit.models import Checkpoint
from audit.transparency.canonical import as_bytes
from audit.transparency.merkle import (
    ProofRefused,
    consistency_ranges,
    inclusion_ranges,
    verify_consistency,
    verify_inclusion,
)
from audit.transparency.nodes import TreeIncomplete, roots_of_ranges

__all__ = ["Inclusion", "ProofRefused", "TreeIncomplete", "consistency_proof", "inclusion_proofs", "proof_text"]


@dataclass(frozen=True, slots=True)
class Inclusion:
    """The way from a leaf to the root of a checkpoint (RFC 9162 2.1.3)."""

    leaf_index: int
    hashes: tuple[bytes, ...]


def inclusion_proofs(checkpoint: Checkpoint, leaves: Sequence[tuple[int, bytes]]) -> list[Inclusion]:
    """Return a proof for each (leaf index, leaf hash), in their order; a few reads for all of them.

    Raises ProofRefused for a leaf that is not in the tree of the checkpoint, or is not the one that
    was sealed there; TreeIncomplete.
    """
    size, root = checkpoint.tree_size, as_bytes(checkpoint.root_hash)
    ways = [inclusion_ranges(index, size) for index, _ in leaves]
    roots = roots_of_ranges(checkpoint.epoch, [one for way in ways for one in way])
    proofs = []
    for (index, leaf), way in zip(leaves, ways, strict=True):
        hashes = tuple(roots[one] for one in way)
        verify_inclusion(leaf=leaf, index=index, size=size, proof=hashes, root=root)
        proofs.append(Inclusion(index, hashes))
    return proofs


def consistency_proof(old_size: int, old_root: bytes, newer: Checkpoint) -> list[bytes]:
    """Return the proof that the tree of `newer` continues the one of `old_size` leaves (RFC 9162 2.1.4).

    Raises ProofRefused where it does not, TreeIncomplete.
    """
    ranges = consistency_ranges(old_size, newer.tree_size)
    roots = roots_of_ranges(newer.epoch, ranges)
    proof = [roots[one] for one in ranges]
    if old_size:
        verify_consistency(old=old_size, old_root=old_root, new=newer.tree_size, new_root=as_bytes(newer.root_hash), proof=proof)
    return proof


def proof_text(inclusion: Inclusion, note: str) -> str:
    """Return a proof as text: C2SP tlog-proof, with the signed checkpoint in it."""
    hashes = "".join(f"{base64.b64encode(one).decode()}\n" for one in inclusion.hashes)
    return f"c2sp.org/tlog-proof@v1\nindex {inclusion.leaf_index}\n{hashes}\n{note}"
