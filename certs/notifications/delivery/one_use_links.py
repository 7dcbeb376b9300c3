"""Links that work once: a waiting mail holds a mark, and the secret is put in when the mail is sent.

So neither the table of mails nor a copy of it opens an account.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_MARK = re.compile(r"one-use-link-([a-z]+)-(\d+)-")
_MAKERS: dict[str, Callable[[int], str]] = {}


def offer(kind: str, maker: Callable[[int], str]) -> None:
    """Let `maker` say what stands for the mark of a row, by its id. For `AppConfig.ready()`."""
    _MAKERS[kind] = maker


def mark(kind: str, pk: int) -> str:
    """Return what a waiting mail has in the place of the secret."""
    return f"one-use-link-{kind}-{pk}-"


def with_secrets(text: str) -> str:
    """Return the text as it is sent."""
    return _MARK.sub(lambda found: _MAKERS[found[1]](int(found[2])) if found[1] in _MAKERS else found[0], text)
