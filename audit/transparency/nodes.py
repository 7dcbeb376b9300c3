"""The kept hashes of the tree: from them a proof reads some hundred rows, however long the log is.

Leaves are `SealedLeaf` rows. Above them only the roots of full tiles are kept (C2SP tlog-tiles: 256
leaves, 65,536, and so on), one row for 256 leaves. They follow from the leaves: `complete` makes what
is missing, after each seal and after an upgrade, and never changes a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from audit.models import TreeNode
from audit.transparency.canonical import as_bytes
from audit.transparency.merkle import (
    Node,
    Range,
    perfect_subtrees,
    root_of,
    root_of_subtrees,
)
from db.rows import NewRows, write_new
from db.sql import fetch

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
# Full tiles that one run makes: some seconds, so that the first seal after an upgrade ends.
MOST_AT_ONCE = 20_000
_TILES_READ = 40
_RANGES_READ = 50


class TreeIncomplete(RuntimeError):
    """Hashes of the tree are not there yet, or not any more. Sealing makes them."""


def complete(epoch: int, size: int) -> int:
    """Keep the roots of all full tiles of the tree of `size` leaves. Returns how many were made.

    For the sealer, in its transaction. At most `MOST_AT_ONCE` of each level; the next run goes on.
    """
    made = 0
    level = 1
    while (wanted := size >> (TILE_HEIGHT * level)) > 0:
        # Only what is missing at the end: full tiles never change, and a tile that was removed is for `verify_audit` to report.
        last = TreeNode.objects.filter(epoch=epoch, level=level).order_by("-node_index").first()
        first = 0 if last is None else last.node_index + 1
        wanted = min(wanted, first + MOST_AT_ONCE)
        for start in range(first, wanted, _TILES_READ):
            end = min(start + _TILES_READ, wanted)
            below = _read(epoch, level - 1, [(start * TILE_WIDTH, end * TILE_WIDTH)])
            if len(below) < (end - start) * TILE_WIDTH:
                return made  # the level below is not complete yet, or its leaves are gone
            rows = [
                (epoch, level, tile, root_of([below[tile * TILE_WIDTH + place] for place in range(TILE_WIDTH)]))
                for tile in range(start, end)
            ]
            write_new([NewRows("audit_tree_node", "epoch, level, node_index, node_hash", rows)])
            made += len(rows)
        level += 1
    return made


def forget(epoch: int) -> None:
    """Delete the kept hashes of an epoch, which `complete` then makes anew. Needs an open transaction."""
    TreeNode.objects.filter(epoch=epoch).delete()


def roots_of_ranges(epoch: int, ranges: Sequence[Range]) -> dict[Range, bytes]:
    """Return the roots of ranges of leaves, as a proof names them. Raises TreeIncomplete."""
    subtrees = {one: perfect_subtrees(*one) for one in set(ranges)}
    roots = _roots_of_nodes(epoch, {node for nodes in subtrees.values() for node in nodes})
    return {one: root_of_subtrees([roots[node] for node in nodes]) for one, nodes in subtrees.items()}


def tile(epoch: int, level: int, index: int, width: int) -> list[bytes]:
    """Return the first `width` hashes of a tile (C2SP tlog-tiles). Raises TreeIncomplete."""
    start = index * TILE_WIDTH
    found = _read(epoch, level, [(start, start + width)])
    if len(found) < width:
        raise TreeIncomplete(f"Tile {index} of level {level} of epoch {epoch} is not kept.")
    return [found[start + place] for place in range(width)]


def _roots_of_nodes(epoch: int, nodes: Iterable[Node]) -> dict[Node, bytes]:
    """Return the roots of perfect subtrees, each from the kept hashes of the level below it."""
    by_level: dict[int, list[Node]] = {}
    for node in nodes:
        by_level.setdefault(node[0] // TILE_HEIGHT, []).append(node)
    roots: dict[Node, bytes] = {}
    for level, wanted in by_level.items():
        spans = {node: _span(node, level) for node in wanted}
        found = _read(epoch, level, sorted(set(spans.values())))
        for node, (start, end) in spans.items():
            try:
                roots[node] = root_of([found[place] for place in range(start, end)])
            except KeyError:
                raise TreeIncomplete(f"Hashes of the tree of epoch {epoch} are missing at level {level}.") from None
    return roots


def _span(node: Node, level: int) -> Range:
    """Return which hashes of a level a subtree is over."""
    height, index = node
    above = height - level * TILE_HEIGHT
    return index << above, (index + 1) << above


def _read(epoch: int, level: int, ranges: Sequence[Range]) -> dict[int, bytes]:
    """Return the hashes of a level in these ranges, by their index; those that are missing are left out."""
    table, column, digest = (
        ("audit_sealed_leaf", "leaf_index", "leaf_hash") if level == 0 else ("audit_tree_node", "node_index", "node_hash")
    )
    fixed = "epoch = %s" if level == 0 else "epoch = %s AND level = %s"
    found: dict[int, bytes] = {}
    for first in range(0, len(ranges), _RANGES_READ):
        part = ranges[first : first + _RANGES_READ]
        # One SELECT for each range: an index lookup for certain, which alternatives of one condition are not.
        one = f"SELECT {column}, {digest} FROM {table} WHERE {fixed} AND {column} >= %s AND {column} < %s"  # noqa: S608 - constants
        values = [value for start, end in part for value in ([epoch, start, end] if level == 0 else [epoch, level, start, end])]
        found |= {index: as_bytes(value) for index, value in fetch(" UNION ALL ".join([one] * len(part)), values)}
    return found
