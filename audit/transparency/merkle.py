"""Merkle trees of RFC 9162 section 2.1 with SHA-256: hashes, roots, inclusion proofs, and a tree that grows at its right edge. Pure.

Only `CompactRange` keeps state: the roots of the perfect subtrees that a tree of n leaves falls into, at most log2(n) + 1 of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


class ProofRefused(ValueError):
    """A proof does not prove its statement."""


def leaf_hash(content: bytes) -> bytes:
    """Return SHA-256(0x00 || content), RFC 9162 2.1.1."""
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right), RFC 9162 2.1.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(slots=True)
class CompactRange:
    """A tree of `size` leaves, kept as the roots of its perfect subtrees, largest first. Appending costs O(1) on average."""

    size: int = 0
    roots: list[bytes] = field(default_factory=list)

    @classmethod
    def from_bytes(cls, size: int, frontier: bytes) -> CompactRange:
        """Return the state that `frontier()` wrote. Raises ValueError when it cannot belong to a tree of that size."""
        if size < 0 or len(frontier) != size.bit_count() * HASH_BYTES:
            raise ValueError(
                f"A tree of {size} leaves has {max(size, 0).bit_count()} perfect subtrees; {len(frontier)} bytes do not hold them."
            )
        return cls(size, [frontier[at : at + HASH_BYTES] for at in range(0, len(frontier), HASH_BYTES)])

    def frontier(self) -> bytes:
        return b"".join(self.roots)

    def append(self, leaf: bytes) -> None:
        """Add a leaf by its hash: it merges with as many subtrees as the size has ones at its low end."""
        node, size = leaf, self.size
        while size & 1:
            node = node_hash(self.roots.pop(), node)
            size >>= 1
        self.roots.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the tree's root: subtrees are hashed together from the right."""
        if not self.roots:
            return EMPTY_ROOT
        node = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            node = node_hash(left, node)
        return node


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    tree = CompactRange()
    for leaf in leaves:
        tree.append(leaf)
    return tree.root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return PATH(index, leaves), RFC 9162 2.1.3.1: the hashes that lead from one leaf to the root, from the bottom."""
    if not 0 <= index < len(leaves):
        raise ProofRefused(f"There is no leaf {index} in a tree of {len(leaves)}.")
    proof: list[bytes] = []
    start, end = 0, len(leaves)
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(root_of(leaves[middle:end]))
            end = middle
        else:
            proof.append(root_of(leaves[start:middle]))
            start = middle
    return proof[::-1]


def verify_inclusion(*, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Verify (RFC 9162 2.1.3.2): raise `ProofRefused` unless the leaf hash is at `index` in the tree of `size` leaves with that root."""
    if not 0 <= index < size:
        raise ProofRefused(f"There is no leaf {index} in a tree of {size}.")
    position, last, node = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise ProofRefused("The inclusion proof is too long.")
        if position & 1 or position == last:
            node = node_hash(step, node)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, step)
        position, last = position >> 1, last >> 1
    if last != 0 or node != root:
        raise ProofRefused("The inclusion proof does not lead to the root.")


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1
