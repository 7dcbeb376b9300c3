"""Trees and proofs against a naive reading of RFC 9162 and the roots that Certificate Transparency implementations share."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.transparency.merkle import (
    EMPTY_ROOT,
    CompactRange,
    ProofRefused,
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
    node_hash,
    perfect_subtrees,
    root_of,
    root_of_subtrees,
    verify_consistency,
    verify_inclusion,
)

# The eight inputs and roots of the reference tests of Certificate Transparency.
INPUTS = [
    bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(content) for content in INPUTS]
SIZES = st.integers(min_value=1, max_value=70)


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162 2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def proof_of(leaves: list[bytes], ranges: list[tuple[int, int]]) -> list[bytes]:
    """The hashes of a proof, each range computed from its perfect subtrees as the kept tree does."""
    return [
        root_of_subtrees([root_of(leaves[index << height : (index + 1) << height]) for height, index in perfect_subtrees(start, end)])
        for start, end in ranges
    ]


def inclusion_proof(leaves: list[bytes], index: int) -> list[bytes]:
    return proof_of(leaves, inclusion_ranges(index, len(leaves)))


def some_leaves(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


@pytest.mark.parametrize("size", range(1, 9))
def test_root_is_the_shared_vector(size: int) -> None:
    assert root_of(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_empty_tree_has_the_hash_of_nothing() -> None:
    assert root_of([]) == EMPTY_ROOT == hashlib.sha256(b"").digest()


def test_leaf_and_node_hashes_differ_for_the_same_bytes() -> None:
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != node_hash(LEAVES[0], LEAVES[1])


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_root_is_the_naive_one(contents: list[bytes]) -> None:
    leaves = [leaf_hash(content) for content in contents]
    assert root_of(leaves) == naive_root(leaves)


@given(st.integers(0, 200), st.integers(0, 200))
def test_tree_grows_on_from_its_frontier(before: int, after: int) -> None:
    leaves = some_leaves(before + after)
    tree = CompactRange()
    for leaf in leaves[:before]:
        tree.append(leaf)
    tree = CompactRange.from_bytes(tree.size, tree.frontier())
    for leaf in leaves[before:]:
        tree.append(leaf)
    assert (tree.size, tree.root()) == (before + after, naive_root(leaves))


@pytest.mark.parametrize(("size", "length"), [(-1, 0), (1, 0), (3, 32), (4, 64), (1, 31)])
def test_frontier_of_another_size_is_refused(size: int, length: int) -> None:
    with pytest.raises(ValueError, match="perfect subtrees"):
        CompactRange.from_bytes(size, bytes(length))


@given(SIZES, st.data())
def test_inclusion_proof_holds_for_its_leaf_alone(size: int, data: st.DataObject) -> None:
    leaves = some_leaves(size)
    index = data.draw(st.integers(0, size - 1))
    proof, root = inclusion_proof(leaves, index), naive_root(leaves)
    verify_inclusion(leaf=leaves[index], index=index, size=size, proof=proof, root=root)
    right: dict[str, Any] = {"leaf": leaves[index], "index": index, "size": size, "proof": proof, "root": root}
    wrongs: list[dict[str, Any]] = [
        {"leaf": leaf_hash(b"other")},
        {"root": leaf_hash(b"other")},
        {"proof": [*proof, bytes(32)]},
        {"index": size},
    ]
    if size > 1:
        wrongs += [{"proof": proof[:-1]}, {"index": (index + 1) % size}]
    for wrong in wrongs:
        with pytest.raises(ProofRefused):
            verify_inclusion(**{**right, **wrong})


def test_proofs_of_what_is_not_there_are_refused() -> None:
    with pytest.raises(ProofRefused):
        inclusion_proof(LEAVES, 8)


@given(SIZES, st.data())
def test_consistency_proof_holds_for_its_two_trees_alone(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    leaves = some_leaves(new)
    proof = proof_of(leaves, consistency_ranges(old, new))
    old_root, new_root = naive_root(leaves[:old]), naive_root(leaves)
    verify_consistency(old=old, old_root=old_root, new=new, new_root=new_root, proof=proof)
    other = leaf_hash(b"another")
    right: dict[str, Any] = {"old": old, "old_root": old_root, "new": new, "new_root": new_root, "proof": proof}
    wrongs: tuple[dict[str, Any], ...] = (
        {"old_root": other},
        {"new_root": other},
        {"proof": [*proof, other]},
        {"old": old - 1},
        {"new": old - 1},
    )
    for wrong in wrongs:
        with pytest.raises(ProofRefused):
            verify_consistency(**(right | wrong))
    for place in range(len(proof)):
        with pytest.raises(ProofRefused):
            verify_consistency(old=old, old_root=old_root, new=new, new_root=new_root, proof=[*proof[:place], other, *proof[place + 1 :]])


def test_tree_that_is_smaller_continues_nothing() -> None:
    with pytest.raises(ProofRefused):
        consistency_ranges(8, 7)
    assert consistency_ranges(0, 7) == consistency_ranges(7, 7) == []
