"""What keys are called: after their common name, with a number behind it when the name is taken."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence

from django.db import connection
from django.utils.text import slugify

from db.backend import on_postgresql

MAX_NAME = 100
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")  # what slugify leaves as it is, which is nearly every host name


def key_name(common_name: str) -> str:
    """`api-example-com` for api.example.com; a wildcard's star becomes `wildcard`."""
    name = common_name.replace("*", "wildcard").replace(".", "-").replace(":", "-")
    return (name if _SLUG.fullmatch(name) else slugify(name))[:MAX_NAME] or "key"


def take_names(wanted: Sequence[tuple[str, str]]) -> list[str]:
    """A name for each (backend, base name), in order: the base itself the first time, then -2, -3 and so on. Needs a transaction.

    One statement, whatever their number; others that want the same base wait for the end of this transaction. A name may still be
    taken, by a base that ends in a number: whoever inserts it sees that, and asks again.
    """
    counts = Counter(wanted)
    numbers = {pair: last - counts[pair] for pair, last in _advance(counts).items()}
    names = []
    for pair in wanted:
        numbers[pair] += 1
        names.append(pair[1] if numbers[pair] == 1 else f"{pair[1]}-{numbers[pair]}")
    return names


def _advance(counts: Counter[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Move each counter on; rows are locked in one order, so that two batches cannot wait for each other."""
    if on_postgresql():
        source = "SELECT x->>0, x->>1, CAST(x->>2 AS integer) FROM jsonb_array_elements(CAST(%s AS jsonb)) AS x ORDER BY 1, 2"
    else:
        # WHERE true: without it SQLite reads ON CONFLICT as a join condition.
        picked = ", ".join(f"json_extract(value, '$[{n}]')" for n in range(3))
        source = f"SELECT {picked} FROM json_each(%s) WHERE true"  # noqa: S608 - constants of this function
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO keys_keyname (backend, base, last_number) {source} "
            "ON CONFLICT (backend, base) DO UPDATE SET last_number = keys_keyname.last_number + excluded.last_number "
            "RETURNING backend, base, last_number",
            [json.dumps([[backend, base, count] for (backend, base), count in sorted(counts.items())])],
        )
        return {(backend, base): last for backend, base, last in cursor.fetchall()}
