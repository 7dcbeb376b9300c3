"""Proofs out of the kept tree: right for every leaf, few reads at any length, and never given where a row was altered."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.models import Checkpoint, EpochKey, SealedLeaf, TreeNode
from audit.transparency import nodes
from audit.transparency.canonical import as_bytes
from audit.transparency.checkpoint import Verifier
from audit.transparency.merkle import root_of, verify_consistency, verify_inclusion
from audit.transparency.proofs import ProofRefused, TreeIncomplete, consistency_proof, inclusion_proofs
from audit.transparency.sealer import seal
from tests.audit.ledger import execute, forge, write

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def sealed(count: int) -> Checkpoint:
    write(*(f"req-{number}" for number in range(count)))
    seal()
    return newest()


def newest() -> Checkpoint:
    found = Checkpoint.objects.order_by("-epoch", "-tree_size").first()
    assert found is not None
    return found


def leaves() -> list[bytes]:
    return [as_bytes(leaf) for leaf in SealedLeaf.objects.order_by("epoch", "leaf_index").values_list("leaf_hash", flat=True)]


def test_every_leaf_of_a_tree_with_full_tiles_has_its_proof() -> None:
    checkpoint = sealed(600)
    assert TreeNode.objects.count() == 2
    numbered = list(enumerate(leaves()))
    for (index, leaf), proof in zip(numbered, inclusion_proofs(checkpoint, numbered), strict=True):
        verify_inclusion(leaf=leaf, index=index, size=600, proof=proof.hashes, root=as_bytes(checkpoint.root_hash))


def test_each_checkpoint_continues_those_before_it() -> None:
    sizes = [sealed(count) for count in (3, 253, 1, 300)]
    last = sizes[-1]
    for older in sizes:
        proof = consistency_proof(older.tree_size, as_bytes(older.root_hash), last)
        verify_consistency(
            old=older.tree_size,
            old_root=as_bytes(older.root_hash),
            new=last.tree_size,
            new_root=as_bytes(last.root_hash),
            proof=proof,
        )
    with pytest.raises(ProofRefused):
        consistency_proof(3, as_bytes(last.root_hash), last)


def test_tiles_grow_level_by_level_whatever_the_order_of_the_seals(monkeypatch: pytest.MonkeyPatch) -> None:
    """With tiles of 4 instead of 256 hashes three levels are reached soon."""
    monkeypatch.setattr(nodes, "TILE_HEIGHT", 2)
    monkeypatch.setattr(nodes, "TILE_WIDTH", 4)
    for count in (5, 60, 7, 70):
        checkpoint = sealed(count)
    found = leaves()
    assert sorted(TreeNode.objects.values_list("level", flat=True).distinct()) == [1, 2, 3]
    for node in TreeNode.objects.all():
        width = 4**node.level
        assert as_bytes(node.node_hash) == root_of(found[node.node_index * width : (node.node_index + 1) * width])
    inclusion_proofs(checkpoint, list(enumerate(found)))


def test_reads_do_not_grow_with_the_log() -> None:
    checkpoint = sealed(520)
    found = leaves()
    with CaptureQueriesContext(connection) as few:
        inclusion_proofs(checkpoint, [(10, found[10]), (500, found[500])])
    assert len(few) <= 2


def test_altered_leaf_gets_no_proof() -> None:
    checkpoint = sealed(20)
    found = leaves()
    forge("UPDATE audit_sealed_leaf SET leaf_hash = (SELECT leaf_hash FROM audit_sealed_leaf WHERE leaf_index = 1) WHERE leaf_index = 2")
    with pytest.raises(ProofRefused):
        inclusion_proofs(checkpoint, [(3, found[3])])
    with pytest.raises(ProofRefused):
        inclusion_proofs(checkpoint, [(2, leaves()[2])])
    with pytest.raises(ProofRefused):
        inclusion_proofs(checkpoint, [(20, found[3])])


def test_deleted_leaf_gets_no_proof() -> None:
    checkpoint = sealed(20)
    found = leaves()
    forge("DELETE FROM audit_sealed_leaf WHERE leaf_index = 2")
    with pytest.raises(TreeIncomplete):
        inclusion_proofs(checkpoint, [(3, found[3])])


def test_tree_of_an_earlier_release_gets_its_kept_hashes_and_key_with_the_next_seal() -> None:
    sealed(600)
    execute("DELETE FROM audit_tree_node")
    execute("DELETE FROM audit_epoch_key")
    with pytest.raises(TreeIncomplete):
        inclusion_proofs(newest(), [(3, leaves()[3])])
    sealed(1)
    inclusion_proofs(newest(), [(3, leaves()[3])])
    key = EpochKey.objects.get()
    assert Verifier.parse(key.verifier).open(newest().note).size == 601
