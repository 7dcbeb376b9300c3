"""S18: whatever somebody with the database changes in the log's tables is found by `verify_audit`."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.apps import apps
from django.db import connection
from pytest_django import Settings

from audit.models import AuditEvent, Checkpoint, Cosignature
from audit.transparency import nodes
from audit.transparency.sealer import seal, start_epoch
from audit.verification.verify import Report, verify
from db.clock import database_now
from tests.audit.cosigning import WITNESS, cosign
from tests.audit.ledger import ANN, AT, execute, forge, write

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

EVENT = "WHERE id = (SELECT MIN(id) + 1 FROM audit_event)"
WAITING = "WHERE id = (SELECT MAX(id) FROM audit_event)"
LEAF = "WHERE epoch = 1 AND leaf_index = 1"
MIDDLE = "WHERE epoch = 1 AND tree_size = 4"
OTHER_HASH = "(SELECT root_hash FROM audit_checkpoint WHERE epoch = 2)"

# Every column of every table of the log, with changes that a forger might make.
CHANGES = {
    "audit_event.id": [f"id = id + 1000 {EVENT}", f"id = id + 1000 {WAITING}"],
    "audit_event.event": [f"event = 'key:destroyed' {EVENT}", f"event = 'x' {WAITING}"],
    "audit_event.subject": [f"subject = 'req-z' {EVENT}", f"subject = 'req-z' {WAITING}"],
    "audit_event.subject_seq": [f"subject_seq = 99 {EVENT}", f"subject_seq = -1 {WAITING}"],
    "audit_event.actor_kind": [f"actor_kind = 'system' {EVENT}", f"actor_kind = '' {WAITING}"],
    "audit_event.actor_name": [f"actor_name = 'eve' {EVENT}", f"actor_name = 'Ann' {WAITING}"],
    "audit_event.at": [
        f"at = '2020-01-01 00:00:00' {EVENT}",
        f"at = '2027-01-31 08:00:00.123001' {WAITING}",
    ],
    "audit_event.data": [
        f"data = '{{}}' {EVENT}",
        f"data = '{{\"number\": 77}}' {WAITING}",
        f"data = '[]' {EVENT}",
        f"data = 'null' {EVENT}",
        f"data = '{{\"number\": 1.0}}' {EVENT}",
        f"data = '{{\"number\": true}}' {EVENT}",
    ],
    "audit_subject.subject": ["subject = 'req-z' WHERE subject = 'req-a'"],
    "audit_subject.last_seq": ["last_seq = last_seq + 1 WHERE subject = 'req-a'"],
    "audit_unsealed.event_id": ["event_id = event_id + 1000"],
    "audit_unsealed.mac": [f"mac = {OTHER_HASH}"],
    "audit_sealed_leaf.event_id": [f"event_id = event_id + 1000 {LEAF}"],
    "audit_sealed_leaf.epoch": [
        f"epoch = 7 {LEAF}",
        "epoch = 9 WHERE epoch = 2",
        "epoch = 0 WHERE epoch = 1",
    ],
    "audit_sealed_leaf.leaf_index": [f"leaf_index = 70 {LEAF}", f"leaf_index = -1 {LEAF}"],
    "audit_sealed_leaf.leaf_hash": [f"leaf_hash = {OTHER_HASH} {LEAF}"],
    "audit_checkpoint.id": [f"id = id + 1000 {MIDDLE}", f"id = -id {MIDDLE}"],
    "audit_checkpoint.epoch": [
        f"epoch = 7 {MIDDLE}",
        "epoch = 9 WHERE epoch = 2",
        "epoch = 0 WHERE epoch = 1",
    ],
    "audit_checkpoint.tree_size": [f"tree_size = 3 {MIDDLE}", f"tree_size = 400 {MIDDLE}"],
    "audit_checkpoint.root_hash": [f"root_hash = {OTHER_HASH} {MIDDLE}"],
    "audit_checkpoint.frontier": [f"frontier = {OTHER_HASH} {MIDDLE}"],
    "audit_checkpoint.note": [
        f"note = note || 'x' {MIDDLE}",
        f"note = (SELECT note FROM audit_checkpoint WHERE epoch = 2) {MIDDLE}",
        f"note = '' {MIDDLE}",
    ],
    "audit_checkpoint.created_at": [
        f"created_at = '2020-01-01 00:00:00' {MIDDLE}",
        "created_at = '2999-01-01 00:00:00' WHERE epoch = 2",
    ],
    "audit_tree_node.epoch": ["epoch = 9 WHERE level = 2", "epoch = 2 WHERE level = 2"],
    "audit_tree_node.level": ["level = 7 WHERE level = 2", "level = 0 WHERE level = 2"],
    "audit_tree_node.node_index": ["node_index = 50 WHERE level = 2", "node_index = 5 WHERE level = 1 AND node_index = 0"],
    "audit_tree_node.node_hash": [f"node_hash = {OTHER_HASH} WHERE level = 2", f"node_hash = {OTHER_HASH} WHERE node_index = 1"],
    "audit_epoch_key.epoch": ["epoch = 9 WHERE epoch = 2"],
    "audit_epoch_key.verifier": [
        "verifier = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW' WHERE epoch = 1",
        "verifier = (SELECT k.verifier FROM audit_epoch_key k WHERE k.epoch = 2) WHERE epoch = 1",
        "verifier = ''",
    ],
    "audit_cosignature.checkpoint_id": [
        "checkpoint_id = checkpoint_id + 1000",
        f"checkpoint_id = (SELECT id FROM audit_checkpoint {MIDDLE})",
    ],
    "audit_cosignature.witness": ["witness = 'another'"],
    "audit_cosignature.line": ["line = ''", "line = (SELECT note FROM audit_checkpoint WHERE epoch = 2)"],
    "audit_cosignature.signed_at": ["signed_at = '2020-01-01 00:00:00'"],
}
# Says how the last exchange with a witness went, and proves nothing.
NOT_OF_THE_LOG = {"audit_witness_state"}
ONLY_SQLITE = [
    f"data = '{{ \"number\":1}}' {EVENT}",
    f'data = \'{{"number":7,"number":1}}\' {EVENT}',
    f"data = data || ' ' {EVENT}",
    f"data = data || ' ' {WAITING}",
    f"data = '{{\"\\u006eumber\":1}}' {EVENT}",
    f"data = CAST(data AS BLOB) {EVENT}",
    f"at = '2027-01-31T08:00:00.123000' {EVENT}",
    f"at = '2027-01-31 08:00:00.123' {WAITING}",
    f"at = '2027-01-31 08:00:00.123000+00:00' {EVENT}",
    f"at = CAST(at AS BLOB) {EVENT}",
    f"actor_name = CAST(actor_name AS BLOB) {EVENT}",
]


@pytest.fixture(autouse=True)
def _ledger(audit_home: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three checkpoints of epoch 1 (2, 4 and 5 leaves), one of epoch 2 with a cosignature, and an event that waits.

    Tiles have two hashes instead of 256, so that some are full.
    """
    monkeypatch.setattr(nodes, "TILE_HEIGHT", 1)
    monkeypatch.setattr(nodes, "TILE_WIDTH", 2)
    write("req-a", "req-b")
    seal()
    write("req-a", "req-c")
    seal()
    write("req-b")
    seal()
    start_epoch(actor=ANN, at=AT)
    write("req-c")
    settings.AUDIT_WITNESSES = [f"{WITNESS} http://127.0.0.1"]
    last = Checkpoint.objects.get(epoch=2)
    line, signed_at = cosign(last.note, AT)
    Cosignature.objects.create(checkpoint_id=last.pk, witness=WITNESS.name, line=line, signed_at=signed_at)


def look() -> Report:
    # Events of these tests are dated in the future; checkpoints are not.
    return verify(now=database_now())


def found(report: Report) -> list[str]:
    return [one.problem for one in report.findings.problems] + report.findings.alarms


def test_untouched_log_of_two_epochs_is_good() -> None:
    assert found(look()) == []


def test_every_column_of_the_log_is_tampered_with() -> None:
    models = list(apps.get_app_config("audit").get_models())
    columns = {f"{m._meta.db_table}.{f.column}" for m in models for f in m._meta.concrete_fields}
    assert {column for column in columns if column.partition(".")[0] not in NOT_OF_THE_LOG} == set(CHANGES)


@pytest.mark.parametrize("change", [(c, one) for c, many in CHANGES.items() for one in many])
def test_changed_column_is_found(change: tuple[str, str]) -> None:
    column, assignment = change
    forge(f"UPDATE {column.partition('.')[0]} SET {assignment}")
    assert found(look()) != []


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL keeps no spelling of a value")
@pytest.mark.parametrize("assignment", ONLY_SQLITE)
def test_other_spelling_of_the_same_value_is_found(assignment: str) -> None:
    forge(f"UPDATE audit_event SET {assignment}")
    assert not look().success


@pytest.mark.parametrize("size", [2, 4, 5])
def test_removed_checkpoint_is_found_by_the_sink(size: int) -> None:
    forge(f"DELETE FROM audit_checkpoint WHERE epoch = 1 AND tree_size = {size}")
    problems = found(look())
    assert any(f"checkpoint of {size} leaves (epoch 1) is kept outside" in one for one in problems)


def test_removed_epoch_is_found(audit_home: Path) -> None:
    """Even where somebody else removes the sink's file: the next epoch names the tree before it."""
    gone = "(SELECT event_id FROM audit_sealed_leaf WHERE epoch = 1)"
    forge(
        f"DELETE FROM audit_event WHERE id IN {gone}",
        "DELETE FROM audit_sealed_leaf WHERE epoch = 1",
        "DELETE FROM audit_checkpoint WHERE epoch = 1",
        "DELETE FROM audit_subject WHERE subject IN ('req-a', 'req-b')",
        "UPDATE audit_subject SET last_seq = 1 WHERE subject = 'req-c'",
        "UPDATE audit_event SET subject_seq = 1 WHERE subject = 'req-c'",
    )
    (audit_home / "checkpoints.log").unlink()
    assert any("does not begin with an event that names the tree" in one for one in found(look()))


def test_shortened_file_of_the_sink_does_not_accuse_the_database(audit_home: Path) -> None:
    file = audit_home / "checkpoints.log"
    notes = file.read_text(encoding="utf-8").split("\n\n")
    file.write_text("\n\n".join(notes[4:]), encoding="utf-8")
    assert found(look()) == []


def test_events_sealed_while_it_looks_are_no_false_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes that come to the sink after the examination began are left to the next one."""
    from audit.verification import tree  # noqa: PLC0415 - the module whose reading is slowed down

    reading = tree.fetch

    def slow(statement: str, params: list[object]) -> list[tuple[object, ...]]:
        if "audit_sealed_leaf" in statement and not AuditEvent.objects.filter(subject="late"):
            write("late")
            seal()
        return reading(statement, params)

    monkeypatch.setattr(tree, "fetch", slow)
    assert found(look()) == []
    assert Checkpoint.objects.filter(epoch=2).count() == 2


def test_row_put_in_by_sql_is_found() -> None:
    execute("INSERT INTO audit_subject (subject, last_seq) VALUES ('req-x', 1)")
    assert not look().success
