"""Merkle trees of RFC 9162 section 2.1 with SHA-256: hashes, roots, proofs, and a tree that grows at its right edge. Pure.

Only `CompactRange` keeps state: the roots of the perfect subtrees that a tree of n leaves falls into, at most log2(n) + 1 of them.
A proof is named first, as ranges of leaves, and computed from the roots of perfect subtrees; where
these come from is the caller's (`audit.transparency.nodes` keeps them).
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
        """Return the tree's root."""
        return root_of_subtrees(self.roots)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    tree = CompactRange()
    for leaf in leaves:
        tree.append(leaf)
    return tree.root()


# A perfect subtree: height and index. It is over the leaves from index << height on, 1 << height of them.
Node = tuple[int, int]
Range = tuple[int, int]


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Return the ranges of leaves whose roots are PATH(index, size), RFC 9162 2.1.3.1, from the bottom.

    Raises ProofRefused for a leaf that the tree does not have.
    """
    if not 0 <= index < size:
        raise ProofRefused(f"There is no leaf {index} in a tree of {size}.")
    ranges: list[Range] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """Return the ranges of leaves whose roots are PROOF(old, new), RFC 9162 2.1.4.1, from the bottom.

    Raises ProofRefused where the new tree is the smaller one. Empty for the same tree, and from an empty one.
    """
    if not 0 <= old <= new:
        raise ProofRefused(f"A tree of {new} leaves cannot continue one of {old}.")
    if old in (0, new):
        return []
    ranges: list[Range] = []
    start, end, whole = 0, new, True
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start, whole = middle, False
    if not whole:
        ranges.append((start, end))
    return ranges[::-1]


def perfect_subtrees(start: int, end: int) -> list[Node]:
    """Return the perfect subtrees that a range of a proof falls into, from the left."""
    nodes: list[Node] = []
    while start < end:
        height = (end - start).bit_length() - 1
        nodes.append((height, start >> height))
        start += 1 << height
    return nodes


def root_of_subtrees(hashes: Sequence[bytes]) -> bytes:
    """Return the root over a range from the roots of its `perfect_subtrees`: hashed together from the right."""
    if not hashes:
        return EMPTY_ROOT
    node = hashes[-1]
    for left in reversed(hashes[:-1]):
        node = node_hash(left, node)
    return node


def verify_consistency(*, old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Verify (RFC 9162 2.1.4.2): raise `ProofRefused` unless the tree of `new` leaves continues that of `old`."""
    if not 0 < old <= new:
        raise ProofRefused(f"A tree of {new} leaves cannot be compared with one of {old}.")
    if old == new:
        if proof or old_root != new_root:
            raise ProofRefused("Two trees of one size have different roots.")
        return
    # A perfect tree is its own first node.
    path = [old_root, *proof] if old.bit_count() == 1 else list(proof)
    if not path:
        raise ProofRefused("The consistency proof is empty.")
    level = (old & -old).bit_length() - 1  # that of the first node
    first, last = (old - 1) >> level, (new - 1) >> level
    old_node = new_node = path[0]
    for step in path[1:]:
        if last == 0:
            raise ProofRefused("The consistency proof is too long.")
        if first & 1 or first == last:
            old_node, new_node = node_hash(step, old_node), node_hash(step, new_node)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            new_node = node_hash(new_node, step)
        first, last = first >> 1, last >> 1
    if (last, old_node, new_node) != (0, old_root, new_root):
        raise ProofRefused("The consistency proof does not lead from one root to the other.")


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
