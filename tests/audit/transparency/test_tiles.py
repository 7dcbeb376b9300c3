"""The exported log as a reader of transparency logs sees it that is not ours: Go's sumdb/tlog."""

from __future__ import annotations

import json
import subprocess
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from audit.models import Checkpoint
from audit.transparency.notes import signed_note
from audit.transparency.sealer import seal, start_epoch
from audit.transparency.tiles import NoSuchTile, TileName, content_of_tile, names_of, write_tiles
from tests.audit.ledger import ANN, AT, forge, write
from tests.certs.evidence.go import TLOGCHECK, go_program

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def sealed(count: int) -> Checkpoint:
    write(*(f"req-{number}" for number in range(count)))
    seal()
    return Checkpoint.objects.order_by("-epoch", "-tree_size")[0]


def read_by_go(folder: Path) -> tuple[int, str]:
    command = [str(go_program(TLOGCHECK)), "tiles", str(folder / "log.vkey"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def export(folder: Path) -> list[dict[str, object]]:
    told = StringIO()
    call_command("export_tiles", str(folder), "--json", stdout=told)
    found: list[dict[str, object]] = json.loads(told.getvalue())["epochs"]
    return found


def test_go_reads_every_entry_and_proves_it_from_the_tiles(tmp_path: Path) -> None:
    sealed(700)
    assert [(one["epoch"], one["size"]) for one in export(tmp_path)] == [(1, 700)]
    folder = tmp_path / "epoch-1"
    assert read_by_go(folder) == (0, "700 entries\n")
    assert sorted(str(path.relative_to(folder / "tile")) for path in (folder / "tile").rglob("*") if path.is_file()) == [
        *("0/000", "0/001", "0/002.p/188", "1/000.p/2"),
        *("entries/000", "entries/001", "entries/002.p/188"),
    ]
    bundle = folder / "tile" / "entries" / "001"
    bundle.write_bytes(bundle.read_bytes().replace(b'"ann"', b'"eve"', 1))
    assert read_by_go(folder)[0] == 1


def test_export_goes_on_where_it_stopped_and_epochs_are_logs_of_their_own(tmp_path: Path) -> None:
    sealed(300)
    export(tmp_path)
    before = (tmp_path / "epoch-1" / "tile" / "0" / "000").stat().st_mtime_ns
    start_epoch(actor=ANN, at=AT)
    sealed(5)
    export(tmp_path)
    assert (tmp_path / "epoch-1" / "tile" / "0" / "000").stat().st_mtime_ns == before
    assert [read_by_go(tmp_path / f"epoch-{epoch}") for epoch in (1, 2)] == [(0, "300 entries\n"), (0, "6 entries\n")]


def test_nothing_is_exported_of_a_log_without_a_seal_or_with_a_gap(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="Nothing is sealed"):
        call_command("export_tiles", str(tmp_path))
    newest = sealed(20)
    forge("DELETE FROM audit_event WHERE id = (SELECT event_id FROM audit_sealed_leaf WHERE leaf_index = 3)")
    with pytest.raises(CommandError, match="is not there any more"):
        call_command("export_tiles", str(tmp_path))
    assert not (tmp_path / "epoch-1" / "checkpoint").exists()
    forge("DELETE FROM audit_sealed_leaf WHERE leaf_index = 3")
    with pytest.raises(Exception, match="is not kept"):
        write_tiles(tmp_path, newest, signed_note(newest))


@pytest.mark.parametrize(
    ("index", "path"),
    [(0, "000"), (999, "999"), (1000, "x001/000"), (1234067, "x001/x234/067")],
)
def test_tiles_are_named_as_the_specification_says(index: int, path: str) -> None:
    for name in (TileName(0, index), TileName(2, index, 17), TileName(-1, index)):
        assert TileName.parse(name.path.removeprefix("tile/")) == name
    assert TileName(0, index).path == f"tile/0/{path}"


@pytest.mark.parametrize(
    "path",
    ["", "0", "0/0", "0/0000", "00/000", "64/000", "0/x000/001", "0/000.p/0", "0/000.p/256", "0/000.p/01", "entries", "0/../000", "-1/000",
     "0/001/000", "x/000", "0/000/", "0/００0"],
)  # fmt: skip
def test_each_tile_has_one_spelling(path: str) -> None:
    with pytest.raises(NoSuchTile):
        TileName.parse(path)


def test_tree_of_the_specification_has_the_tiles_that_it_lists() -> None:
    """C2SP tlog-tiles, Partial Tiles: a tree of 70,000, and one of 256."""
    names = [name for name in names_of(70_000) if name.level >= 0]
    assert sum(name.level == 0 and name.is_full for name in names) == 273
    assert [(name.level, name.width) for name in names if not name.is_full] == [(0, 112), (1, 17), (2, 1)]
    assert [name.path for name in names_of(256)] == ["tile/0/000", "tile/entries/000", "tile/1/000.p/1"]


def test_tile_beyond_the_tree_is_not_there() -> None:
    checkpoint = sealed(20)
    for name in (TileName(0, 0), TileName(0, 0, 21), TileName(1, 0, 1), TileName(-1, 1, 1), TileName(9, 0, 1)):
        with pytest.raises(NoSuchTile):
            content_of_tile(1, name, size=checkpoint.tree_size)
    assert len(content_of_tile(1, TileName(0, 0, 20), size=20)) == 640
