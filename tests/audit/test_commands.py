"""`seal_audit`, `export_audit`, and `verify_audit --since`."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from audit.models import AuditEvent, Checkpoint
from audit.transparency.checkpoint import read_statement
from audit.transparency.merkle import verify_consistency
from audit.transparency.sealer import seal
from audit.transparency.signing_key import get_signer
from tests.audit.ledger import write

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


def test_seal_audit_seals_all(capsys: pytest.CaptureFixture[str]) -> None:
    write("req-1", "req-2")
    call_command("seal_audit", "--json")
    assert json.loads(capsys.readouterr().out) == {"success": True, "sealed": 2}


def test_seal_audit_without_a_key_exits_1_with_the_next_step(audit_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (audit_home / "audit.key").unlink()
    write("req-1")
    with pytest.raises(SystemExit, match="1"):
        call_command("seal_audit", "--json")
    answer = json.loads(capsys.readouterr().out)
    assert (answer["success"], "bootstrap" in answer["error"]) == (False, True)


def test_new_epoch_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    write("req-1")
    seal()
    call_command("seal_audit", "--new-epoch")
    assert capsys.readouterr().out == "Epoch 2 has begun. 0 events sealed.\n"


def test_export_writes_each_event_with_its_leaf(tmp_path: Path) -> None:
    write("req-1", "req-2")
    seal()
    write("req-3")
    target = tmp_path / "export.jsonl"
    call_command("export_audit", "--output", str(target))
    lines = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [(line["subject"], line["leaf"] and line["leaf"]["index"]) for line in lines] == [("req-1", 0), ("req-2", 1), ("req-3", None)]
    assert [line["id"] for line in lines] == list(AuditEvent.objects.order_by("id").values_list("id", flat=True))


def test_export_since_leaves_out_what_was_before(capsys: pytest.CaptureFixture[str]) -> None:
    write("req-1")
    call_command("export_audit", "--since", "2027-01-31T08:00:01")
    assert capsys.readouterr().out == ""
    call_command("export_audit", "--since", "2027-01-31")
    assert json.loads(capsys.readouterr().out)["subject"] == "req-1"


def test_export_since_no_date_is_refused() -> None:
    with pytest.raises(CommandError, match="2027-01-31"):
        call_command("export_audit", "--since", "yesterday")


def since(note: Path, *options: str) -> int:
    """Run `verify_audit --since`. Returns its exit code."""
    try:
        call_command("verify_audit", "--since", str(note), *options)
    except CommandError as exc:
        return exc.returncode
    except SystemExit as exc:
        return int(exc.code or 0)
    return 0


def test_verify_since_a_kept_checkpoint_proves_that_the_newest_continues_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the proof is in the answer, and holds by RFC 9162 2.1.4.2 without the database."""
    write("req-1", "req-2", "req-3")
    seal()
    older = Checkpoint.objects.get()
    kept = tmp_path / "kept"
    kept.write_text(older.note, encoding="utf-8")
    write("req-4", "req-5")
    seal()
    newest = Checkpoint.objects.latest("id")
    assert since(kept) == 0
    assert capsys.readouterr().out == "The log of 5 events continues the checkpoint of 3.\n"
    assert since(kept, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["success"], told["old_size"], told["new_size"], told["checkpoint"]) == (True, 3, 5, newest.note)
    proof = [base64.b64decode(one) for one in told["proof"]]
    verify_consistency(old=3, old_root=bytes(older.root_hash), new=5, new_root=bytes(newest.root_hash), proof=proof)


def test_verify_since_says_when_the_log_does_not_continue_what_was_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The key of the log signed another history: a restored backup, or a log that was rewritten."""
    write("req-1", "req-2", "req-3")
    seal()
    kept = tmp_path / "kept"
    real = read_statement(Checkpoint.objects.get().note)
    kept.write_text(get_signer().sign(replace(real, root=b"x" * 32)), encoding="utf-8")
    assert since(kept) == 1
    assert "THE LOG DOES NOT CONTINUE" in capsys.readouterr().out
    assert since(kept, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["success"], "problem" in told) == (False, True)
    kept.write_text(get_signer().sign(replace(real, size=30)), encoding="utf-8")
    assert since(kept) == 1, "a log that is shorter than it was"


@pytest.mark.parametrize("change", ["signature", "key", "epoch", "nothing", "folder", "octets"])
def test_verify_since_something_else_is_wrong_usage(change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("req-1")
    seal()
    note, kept, other = Checkpoint.objects.get().note, tmp_path / "kept", tmp_path / "key"
    changed = {
        "signature": note[:-12] + "AAAAAAAA" + note[-4:],
        "epoch": note.replace("epoch-1", "epoch-7"),
        "nothing": "",
        "key": note,
    }
    if change == "octets":
        kept.write_bytes(b"\xff\xfe")
    elif change != "folder":
        kept.write_text(changed[change], encoding="utf-8")
    other.write_text("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", encoding="utf-8")
    path = tmp_path if change == "folder" else kept
    assert since(path, *(["--key", str(other)] if change == "key" else [])) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_export_since_a_moment_outside_the_calendar_is_refused(moment: str) -> None:
    with pytest.raises(CommandError, match="2027-01-31"):
        call_command("export_audit", "--since", moment)
