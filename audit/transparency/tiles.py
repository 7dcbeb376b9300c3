"""The log as tiles: C2SP tlog-tiles, which any reader of transparency logs understands.

Each epoch is a log of its own, at its origin: `checkpoint`, `tile/<level>/<index>` with hashes,
and `tile/entries/<index>` with the leaves.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audit.models import AuditEvent, Checkpoint
from audit.transparency.canonical import leaf_of
from audit.transparency.nodes import TILE_HEIGHT, TILE_WIDTH, TreeIncomplete, tile

_ENTRY_BYTES = 0xFFFF
_INDEX = r"(?:x\d{3}/){0,5}\d{3}"
_PATH = re.compile(rf"(?P<kind>entries|\d{{1,2}})/(?P<index>{_INDEX})(?:\.p/(?P<width>[1-9]\d{{0,2}}))?")


class NoSuchTile(LookupError):
    """The address is none of a tile of this tree."""


class EntryTooLong(RuntimeError):
    """A leaf does not fit into an entry bundle, which has two bytes for its length."""


@dataclass(frozen=True, slots=True)
class TileName:
    """A tile of hashes, or where `level` is -1 a bundle of entries. `width`: below 256 for a partial one."""

    level: int
    index: int
    width: int = TILE_WIDTH

    @classmethod
    def parse(cls, path: str) -> TileName:
        """Read what follows `tile/`. Raises NoSuchTile."""
        found = _PATH.fullmatch(path)
        width = int(found["width"] or TILE_WIDTH) if found else 0
        if found is None or (found["width"] and width >= TILE_WIDTH) or (found["kind"][:1] == "0" and found["kind"] != "0"):
            raise NoSuchTile(path)
        level = -1 if found["kind"] == "entries" else int(found["kind"])
        name = cls(level, int(found["index"].replace("x", "").replace("/", "")), width)
        if level > 63 or name.path != f"tile/{path}":  # one spelling for each tile
            raise NoSuchTile(path)
        return name

    @property
    def path(self) -> str:
        """The address below the origin."""
        digits = f"{self.index:03}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        number = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
        kind = "entries" if self.level < 0 else str(self.level)
        return f"tile/{kind}/{number}" + (f".p/{self.width}" if self.width < TILE_WIDTH else "")

    @property
    def is_full(self) -> bool:
        """Whether its content can never change."""
        return self.width == TILE_WIDTH


def names_of(size: int) -> Iterator[TileName]:
    """Yield every tile and bundle of a tree of `size` leaves, full ones and the partial ones at its right edge."""
    level = 0
    while (count := size >> (TILE_HEIGHT * level)) > 0:
        for kind in (level, -1) if level == 0 else (level,):
            full, rest = divmod(count, TILE_WIDTH)
            yield from (TileName(kind, index) for index in range(full))
            if rest:
                yield TileName(kind, full, rest)
        level += 1


def content_of_tile(epoch: int, name: TileName, *, size: int) -> bytes:
    """Return the content of a tile or bundle of the tree of `size` leaves.

    Raises NoSuchTile for one that the tree does not have, TreeIncomplete, EntryTooLong.
    """
    count = size >> (TILE_HEIGHT * max(name.level, 0))
    if name.index * TILE_WIDTH + name.width > count:
        raise NoSuchTile(name.path)
    if name.level >= 0:
        return b"".join(tile(epoch, name.level, name.index, name.width))
    # Entries are written anew from the events: a reader hashes them and finds an event that was altered since it was sealed.
    start = name.index * TILE_WIDTH
    events = AuditEvent.objects.filter(leaf__epoch=epoch, leaf__leaf_index__gte=start, leaf__leaf_index__lt=start + name.width).order_by(
        "leaf__leaf_index"
    )
    entries = [leaf_of(event) for event in events]
    if len(entries) < name.width:
        raise TreeIncomplete(f"An event of bundle {name.index} of epoch {epoch} is not there any more.")
    if any(len(entry) > _ENTRY_BYTES for entry in entries):
        raise EntryTooLong(f"An event of bundle {name.index} of epoch {epoch} is longer than {_ENTRY_BYTES} bytes.")
    return b"".join(struct.pack(">H", len(entry)) + entry for entry in entries)


def write_tiles(folder: Path, checkpoint: Checkpoint, note: str) -> int:
    """Write the log up to a checkpoint below `folder`. Returns how many files were written.

    Full tiles that are there already are left alone, so that the next export writes only what is
    new. The checkpoint comes last: a reader never finds one whose tiles are missing. Raises OSError,
    TreeIncomplete, EntryTooLong.
    """
    written = 0
    for name in names_of(checkpoint.tree_size):
        target = folder / name.path
        if name.is_full and target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, content_of_tile(checkpoint.epoch, name, size=checkpoint.tree_size))
        written += 1
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "checkpoint", note.encode())
    return written + 1


def _replace(target: Path, content: bytes) -> None:
    """Write a file whole, so that no reader sees half of it."""
    new = target.with_name(f".{target.name}.new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(target)
