"""Key types of a filter: `rsa-2048`, `rsa`, `rsa<3072`, and several of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import eq, ge, gt, le, lt

from certs.errors import InputRefused
from db.sql import fetch
from keys.spec import KeyFacts

_COMPARED = re.compile(r"(rsa|ec|ed25519|ml-dsa)(?:(<=|>=|<|>|=)(\d{1,6}))?")
_SIGNS: dict[str, Callable[[int, int], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge, "=": eq}
_FAMILIES = ("rsa", "ec", "ed25519", "ml-dsa")
_MOST = 100


def key_types() -> list[str]:
    """Return the key types that the inventory has, weaker ones of a family first.

    One step in the index for each, in one statement.
    """
    found = [str(name) for (name,) in fetch(_KEY_TYPES) if name is not None]
    return sorted(found[:_MOST], key=_rank)


_KEY_TYPES = """
WITH RECURSIVE found(key_type) AS (
  SELECT min(key_type) FROM certs_certificate
  UNION ALL
  SELECT (SELECT min(c.key_type) FROM certs_certificate c WHERE c.key_type > found.key_type)
  FROM found WHERE found.key_type IS NOT NULL)
SELECT key_type FROM found
"""


def _rank(name: str) -> tuple[int, int, str]:
    facts = KeyFacts.from_name(name)
    return _FAMILIES.index(facts.family), facts.bits, name


def check_key_types(text: str) -> None:
    """Raise InputRefused for a comparison that cannot be read."""
    for part in _parts(text):
        if any(sign in part for sign in "<>=") and not _COMPARED.fullmatch(part):
            raise InputRefused(
                "The filter key has a value that cannot be read.",
                field="key",
                next_step="Write key types or comparisons, as in rsa-2048, rsa<3072 or ec.",
            )


def key_types_named(text: str) -> list[str]:
    """Return the key types that a filter names; comparisons stand for those in the inventory."""
    named: list[str] = []
    for part in _parts(text):
        compared = _COMPARED.fullmatch(part)
        if compared is None:
            named.append(part)
            continue
        family, sign, number = compared.groups()
        for name in key_types():
            facts = KeyFacts.from_name(name)
            if facts.family == family and (not sign or _SIGNS[sign](facts.bits, int(number))):
                named.append(name)
    return named


def _parts(text: str) -> list[str]:
    return [part for one in text.lower().split(",") if (part := "".join(one.split()))]
