"""`seal_audit` and `export_audit`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from audit.models import AuditEvent
from audit.transparency.sealer import seal
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
