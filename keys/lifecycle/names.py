"""Names of keys: after their common name, with a number behind it when the name is taken."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from django.utils.text import slugify

from db.rows import Lock, insert_missing, select, update
from keys.models import KeyName

MAX_NAME = 100
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")  # what slugify leaves as it is, which is nearly every host name


def key_name(common_name: str) -> str:
    """`api-example-com` for api.example.com; a wildcard's star becomes `wildcard`."""
    name = common_name.replace("*", "wildcard").replace(".", "-").replace(":", "-")
    return (name if _SLUG.fullmatch(name) else slugify(name))[:MAX_NAME] or "key"


def take_names(wanted: Sequence[tuple[str, str]]) -> list[str]:
    """Return a name for each (backend, base name), in order: the base itself the first time, then -2, -3 and so on.

    Needs an open transaction; others that take the same base wait for its end. A name may still be
    taken, by a base that ends in a number: inserting it shows that, and the caller takes another one.
    """
    counts = Counter(wanted)
    # In one order, so that two batches cannot wait for each other; all inserts come before the locks.
    insert_missing([KeyName(backend=backend, base=base, last_number=0) for backend, base in sorted(counts)])
    found = select(KeyName, lock=Lock.UPDATE, backend={pair[0] for pair in counts}, base={pair[1] for pair in counts})
    counters = {(row.backend, row.base): row for row in found if (row.backend, row.base) in counts}
    names = []
    for pair in wanted:
        counters[pair].last_number += 1
        number = counters[pair].last_number
        names.append(pair[1] if number == 1 else f"{pair[1]}-{number}")
    update(KeyName, {row.pk: {"last_number": row.last_number} for row in counters.values()})
    return names
