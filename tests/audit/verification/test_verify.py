"""F17: what was changed behind the portal's back is named, by somebody who may put the triggers out of force."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import CommandError, call_command
from django.db import connection

from audit.models import AuditEvent, Checkpoint, SealedLeaf
from audit.transparency.canonical import CONTENT, content_of
from audit.transparency.checkpoint import Statement, Verifier, sign_note
from audit.transparency.merkle import leaf_hash
from audit.transparency.sealer import seal
from audit.transparency.signing_key import get_verifier
from audit.triggers import install_triggers, remove_triggers
from audit.verification.tree import BATCH
from audit.verification.verify import Report, verify
from db.clock import database_now
from tests.audit.ledger import AT, execute, forge, write

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

COLUMNS = "event, subject, subject_seq, actor_kind, actor_name, at, data"


@pytest.fixture
def ledger() -> list[int]:
    """Nine events: 0 to 2 and 3 to 5 sealed in two checkpoints, 6 to 8 waiting. Their ids."""
    write("req-a", "req-b", "req-a")
    seal()
    write("req-b", "req-c", "req-a")
    seal()
    write("req-c", "req-d", "req-b")
    return list(AuditEvent.objects.order_by("id").values_list("id", flat=True))


def look() -> Report:
    return verify(now=AT)


def first(report: Report) -> tuple[int | None, str]:
    found = report.findings.first()
    assert found is not None
    return found.event_id, found.subject


def subject_of(event_id: int) -> str:
    return AuditEvent.objects.values_list("subject", flat=True).get(id=event_id)


@pytest.mark.usefixtures("ledger")
def test_untouched_log_is_good() -> None:
    assert look().as_dict() == {
        "success": True,
        "events": 9,
        "sealed": 6,
        "unsealed": 3,
        "checkpoint": 6,
        "first_bad": None,
        "problems": [],
        "alarms": [],
    }


def test_empty_log_is_good_with_and_without_a_key(audit_home: Path) -> None:
    assert look().success
    (audit_home / "audit.pub").unlink()
    assert look().success


@pytest.mark.parametrize("at", [0, 4, 5, 6, 8])
@pytest.mark.parametrize(
    "change",
    [
        "event = 'certificate:issued'",
        "actor_name = 'eve'",
        "actor_kind = 'system'",
        "data = '{\"number\": 77}'",
        "data = '{}'",
        "at = '2020-01-01 00:00:00'",
    ],
)
def test_changed_event_is_named(ledger: list[int], at: int, change: str) -> None:
    subject = subject_of(ledger[at])
    forge(f"UPDATE audit_event SET {change} WHERE id = {ledger[at]}")
    report = look()
    assert (report.success, first(report)) == (False, (ledger[at], subject))


@pytest.mark.parametrize("at", [0, 4, 5, 6, 8])
def test_deleted_event_is_named(ledger: list[int], at: int) -> None:
    forge(f"DELETE FROM audit_event WHERE id = {ledger[at]}")
    assert first(look())[0] == ledger[at]


@pytest.mark.parametrize("at", [6, 7, 8])
def test_event_deleted_with_its_place_in_the_queue_shows_as_a_gap(ledger: list[int], at: int) -> None:
    subject = subject_of(ledger[at])
    forge(f"DELETE FROM audit_event WHERE id = {ledger[at]}", f"DELETE FROM audit_unsealed WHERE event_id = {ledger[at]}")
    assert first(look()) == (None, subject)


def insert(subject: str, seq: int) -> int:
    execute(
        f"INSERT INTO audit_event ({COLUMNS}) SELECT event, '{subject}', {seq}, actor_kind, actor_name, at, data "
        "FROM audit_event ORDER BY id LIMIT 1"
    )
    return AuditEvent.objects.values_list("id", flat=True).get(subject=subject, subject_seq=seq)


@pytest.mark.usefixtures("ledger")
def test_inserted_event_is_named() -> None:
    new = insert("req-a", 4)
    assert first(look()) == (new, "req-a")


@pytest.mark.usefixtures("ledger")
def test_inserted_event_with_counter_and_place_in_the_queue_is_named() -> None:
    new = insert("req-e", 1)
    execute("INSERT INTO audit_subject (subject, last_seq) VALUES ('req-e', 1)")
    execute(f"INSERT INTO audit_unsealed (event_id, mac) SELECT {new}, mac FROM audit_unsealed ORDER BY event_id LIMIT 1")
    assert first(look()) == (new, "req-e")


@pytest.mark.usefixtures("ledger")
def test_inserted_event_with_counter_and_a_leaf_is_named() -> None:
    new = insert("req-e", 1)
    execute("INSERT INTO audit_subject (subject, last_seq) VALUES ('req-e', 1)")
    insert_leaf(new, 6)
    assert first(look()) == (new, "req-e")


def insert_leaf(event_id: int, index: int) -> None:
    execute(
        "INSERT INTO audit_sealed_leaf (event_id, epoch, leaf_index, leaf_hash) VALUES (%s, 1, %s, %s)",
        [event_id, index, hash_of(event_id)],
    )


def hash_of(event_id: int) -> bytes:
    """What a forger who knows the code would compute."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {CONTENT} FROM audit_event e WHERE e.id = %s", [event_id])
        content = content_of(cursor.fetchone())
    assert content is not None
    return leaf_hash(content)


@pytest.mark.parametrize(("one", "other"), [(0, 2), (1, 3), (6, 7), (2, 6)])
def test_swapped_contents_name_the_first_of_the_two(ledger: list[int], one: int, other: int) -> None:
    a, b = ledger[one], ledger[other]
    swap = (
        "UPDATE audit_event SET event = event || '', data = (SELECT o.data FROM audit_event o WHERE o.id = "
        f"CASE audit_event.id WHEN {a} THEN {b} ELSE {a} END) WHERE id IN ({a}, {b})"
    )
    forge(swap)
    assert first(look()) == (a, subject_of(a))


def test_swapped_leaves_of_one_checkpoint_are_named(ledger: list[int]) -> None:
    a, b = ledger[3], ledger[5]
    forge(
        f"UPDATE audit_sealed_leaf SET leaf_index = 100 WHERE event_id = {a}",
        f"UPDATE audit_sealed_leaf SET leaf_index = 3 WHERE event_id = {b}",
        f"UPDATE audit_sealed_leaf SET leaf_index = 5 WHERE event_id = {a}",
    )
    assert not look().success
    assert first(look())[0] in ledger[3:6]


@pytest.mark.parametrize("at", [0, 4])
def test_event_changed_together_with_its_leaf_is_narrowed_to_its_checkpoint(ledger: list[int], at: int) -> None:
    event_id = ledger[at]
    forge(f"UPDATE audit_event SET actor_name = 'eve' WHERE id = {event_id}")
    with_leaf = hash_of(event_id).hex()
    literal = f"'\\x{with_leaf}'::bytea" if connection.vendor == "postgresql" else f"x'{with_leaf}'"
    forge(f"UPDATE audit_sealed_leaf SET leaf_hash = {literal} WHERE event_id = {event_id}")
    report = look()
    assert first(report)[0] == ledger[at - at % 3]
    assert f"leaves {at - at % 3} to {at - at % 3 + 2}" in report.findings.problems[0].problem


def test_altered_leaf_hash_is_named(ledger: list[int]) -> None:
    forge(
        f"UPDATE audit_sealed_leaf SET leaf_hash = "
        f"(SELECT root_hash FROM audit_checkpoint WHERE tree_size = 3) WHERE event_id = {ledger[1]}"
    )
    assert first(look())[0] == ledger[1]


def test_deleted_leaf_names_its_event(ledger: list[int]) -> None:
    forge("DELETE FROM audit_sealed_leaf WHERE leaf_index = 1")
    assert first(look())[0] == ledger[1]


def test_sealed_event_put_back_in_the_queue_is_named(ledger: list[int]) -> None:
    execute(f"INSERT INTO audit_unsealed (event_id, mac) SELECT {ledger[2]}, mac FROM audit_unsealed ORDER BY event_id LIMIT 1")
    assert first(look())[0] == ledger[2]


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("forgery", "subject"),
    [
        ("UPDATE audit_subject SET last_seq = last_seq + 1 WHERE subject = 'req-c'", "req-c"),
        ("UPDATE audit_subject SET last_seq = last_seq - 1 WHERE subject = 'req-b'", "req-b"),
        ("DELETE FROM audit_subject WHERE subject = 'req-d'", "req-d"),
        ("INSERT INTO audit_subject (subject, last_seq) VALUES ('req-x', 2)", "req-x"),
    ],
)
def test_edited_counter_names_its_subject(forgery: str, subject: str) -> None:
    execute(forgery)
    assert first(look()) == (None, subject)


def test_cut_tail_is_found_by_the_sink_and_by_a_checkpoint_outside(ledger: list[int], audit_home: Path) -> None:
    seal()
    gone = f"({', '.join(map(str, ledger[3:]))})"
    forge(
        f"DELETE FROM audit_event WHERE id IN {gone}",
        f"DELETE FROM audit_sealed_leaf WHERE event_id IN {gone}",
        "DELETE FROM audit_checkpoint WHERE tree_size > 3",
        "DELETE FROM audit_subject WHERE subject NOT IN (SELECT subject FROM audit_event)",
        "UPDATE audit_subject SET last_seq = (SELECT MAX(subject_seq) FROM audit_event e WHERE e.subject = audit_subject.subject)",
    )
    assert "tail was cut" in look().findings.problems[0].problem
    kept = audit_home / "kept-elsewhere.log"
    (audit_home / "checkpoints.log").rename(kept)
    assert look().success, "without anything outside, a shorter log is a good log: this is why checkpoints go outside"
    with kept.open(encoding="utf-8") as file:
        report = verify(now=AT, checkpoints=file, verifier=get_verifier())
    assert [problem.problem.split(":")[0] for problem in report.findings.problems] == ["The tail was cut"]


def test_log_built_anew_by_somebody_with_the_database_and_another_key_is_found_outside(ledger: list[int], audit_home: Path) -> None:
    kept, key = audit_home / "kept.log", get_verifier()
    (audit_home / "checkpoints.log").rename(kept)
    forge(f"UPDATE audit_event SET actor_name = 'eve' WHERE id = {ledger[4]}")
    literal = hash_of(ledger[4])
    forge("DELETE FROM audit_sealed_leaf", "DELETE FROM audit_checkpoint")
    for index, event_id in enumerate(ledger[:6]):
        insert_leaf(event_id, index)
    assert literal == hash_of(ledger[4])
    with kept.open(encoding="utf-8") as file:
        report = verify(now=AT, checkpoints=file, verifier=key)
    assert not report.success
    assert any("kept outside" in problem.problem for problem in report.findings.problems)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("note = 'x'", "does not hold"),
        ("root_hash = (SELECT leaf_hash FROM audit_sealed_leaf WHERE leaf_index = 0)", "differs from its signed note"),
        ("frontier = root_hash", "frontier"),
        ("tree_size = 4", "differs from its signed note"),
    ],
)
def test_altered_intermediate_checkpoint_is_told(change: str, words: str) -> None:
    write("req-1", "req-2", "req-3")
    seal()
    write("req-4", "req-5")
    seal()
    forge(f"UPDATE audit_checkpoint SET {change} WHERE tree_size = 3")
    report = look()
    assert not report.success
    assert any(words in problem.problem for problem in report.findings.problems)


def test_removed_last_checkpoint_names_the_first_leaf_after_it(ledger: list[int]) -> None:
    forge("DELETE FROM audit_checkpoint WHERE tree_size = 6")
    assert first(look())[0] == ledger[3]


@pytest.mark.usefixtures("ledger")
def test_checkpoint_without_a_key_to_check_it_is_a_problem(audit_home: Path) -> None:
    (audit_home / "audit.pub").unlink()
    assert "cannot be checked" in look().findings.problems[0].problem


@pytest.mark.usefixtures("ledger")
def test_forged_note_in_the_sink_is_told(audit_home: Path) -> None:
    log = get_verifier().name
    forged = sign_note(Statement(log, 1, 6, bytes(32)), Ed25519PrivateKey.generate())
    (audit_home / "checkpoints.log").write_text(forged + "\n", encoding="utf-8")
    assert "not signed by" in look().findings.problems[0].problem


@pytest.mark.usefixtures("ledger")
def test_dropped_triggers_are_told() -> None:
    remove_triggers(connection)
    try:
        assert "Triggers are missing" in look().findings.problems[0].problem
    finally:
        install_triggers(connection)


def test_log_longer_than_a_batch_is_read_whole() -> None:
    write(*[f"req-{n % 50}" for n in range(BATCH + 10)])
    seal(limit=BATCH - 5)
    seal(limit=10)
    report = look()
    assert (report.success, report.sealed, report.unsealed) == (True, BATCH + 5, 5)
    last = SealedLeaf.objects.get(leaf_index=BATCH + 4).event_id
    forge(f"UPDATE audit_event SET actor_name = 'eve' WHERE id = {last}")
    assert first(look())[0] == last


def test_sealer_that_stands_still_is_an_alarm_and_no_problem() -> None:
    write("req-1")
    assert verify(now=AT + timedelta(seconds=60)).findings.alarms == []
    report = verify(now=AT + timedelta(seconds=61))
    assert (report.success, len(report.findings.alarms)) == (True, 1)


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code: Any = 0
    try:
        call_command("verify_audit", *arguments)
    except SystemExit as exc:
        code = exc.code
    except CommandError as exc:
        return exc.returncode, str(exc)
    return code, capsys.readouterr().out


@pytest.mark.usefixtures("ledger")
def test_command_exits_0_when_good_and_records_it_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run("--json", capsys=capsys)
    assert (code, json.loads(out)["success"]) == (0, True)
    assert AuditEvent.objects.count() == 9
    assert run("--record", capsys=capsys)[0] == 0
    assert AuditEvent.objects.filter(event="audit:verified").count() == 1


def test_command_exits_1_and_says_what_is_safe(ledger: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    forge(f"UPDATE audit_event SET actor_name = 'eve' WHERE id = {ledger[4]}")
    code, out = run("--json", capsys=capsys)
    bad = json.loads(out)["first_bad"]
    assert (code, bad["event_id"], bad["subject"]) == (1, ledger[4], "req-c")
    code, out = run(capsys=capsys)
    assert code == 1
    assert f"First bad: event {ledger[4]}, subject req-c." in out
    assert "What is safe" in out


@pytest.mark.usefixtures("ledger")
def test_command_compares_with_a_checkpoint_file(audit_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--json", "--checkpoint", str(audit_home / "checkpoints.log"), "--key", str(audit_home / "audit.pub"))
    assert run(*arguments, capsys=capsys)[0] == 0
    stranger = audit_home / "stranger.pub"
    stranger.write_text(str(Verifier("localhost:8000/audit", Ed25519PrivateKey.generate().public_key())), encoding="utf-8")
    assert run(*arguments[:-1], str(stranger), capsys=capsys)[0] == 1


@pytest.mark.parametrize("arguments", [["--checkpoint", "x"], ["--key", "x"], ["--checkpoint", "missing", "--key", "missing"]])
def test_command_exits_2_on_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments, capsys=capsys)[0] == 2


def test_clock_of_the_database_serves_the_command() -> None:
    write("req-1")
    seal()
    assert Checkpoint.objects.get().created_at <= database_now()
