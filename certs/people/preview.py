"""What a page showed before a change of power, carried through its form: only what was shown is done.

The facts are signed, not kept. The use case reads them again behind its locks and compares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta

from django.core import signing

from certs.errors import Conflict, InputRefused

# What will happen, by kind: "tokens" -> the names of the tokens. The kind is shown to people.
Facts = Mapping[str, Sequence[str]]

GOOD_FOR = timedelta(hours=1)
_SALT = "certs.people.preview"
_MOST = 50  # of one kind are carried one by one; of more, their number and digest


class ChangedSince(Conflict):
    """What would happen is not what was shown. `differences` says what is new and what is gone."""

    def __init__(self, differences: Sequence[str]) -> None:
        super().__init__(
            "Something has changed since you were shown this. Nothing was done.",
            next_step="Read what would happen now, and confirm it again.",
        )
        self.differences = tuple(differences)


def seal(subject: str, facts: Facts) -> str:
    """Return the facts as a form carries them. `subject` names what is to be changed, such as `remove:7`."""
    return signing.dumps([subject, _brief(facts)], salt=_SALT, compress=True)


def check_shown(text: str, subject: str, facts: Facts) -> None:
    """Raise ChangedSince unless exactly these facts were shown, InputRefused where nothing was shown within an hour."""
    try:
        of, shown = signing.loads(text, salt=_SALT, max_age=GOOD_FOR)
    except (signing.BadSignature, ValueError, TypeError):
        of, shown = "", {}
    if of != subject:
        raise InputRefused(
            "The page is too old, or was not sent from here. Nothing was done.",
            field="shown",
            next_step="Open the page again and confirm what it shows then.",
        )
    now = _brief(facts)
    if now != shown:
        raise ChangedSince(_differences(shown, now))


def _brief(facts: Facts) -> dict[str, list[str]]:
    brief = {}
    for kind, items in facts.items():
        if len(items) > _MOST:
            digest = hashlib.sha256("\n".join(sorted(items)).encode(errors="replace")).hexdigest()
            brief[kind] = [f"{len(items):,} in all", digest]
        elif items:
            brief[kind] = sorted(items)
    return brief


def _differences(shown: Mapping[str, Sequence[str]], now: Mapping[str, Sequence[str]]) -> list[str]:
    found = []
    for kind in sorted({*shown, *now}):
        before, after = shown.get(kind, ()), now.get(kind, ())
        new, gone = [one for one in after if one not in before], [one for one in before if one not in after]
        if (len(before) == 2 and before[0].endswith(" in all")) or (len(after) == 2 and after[0].endswith(" in all")):
            found += [f"{kind}: others than you were shown"] if new or gone else []
            continue
        found += [f"{kind}: new is {one}" for one in new] + [f"{kind}: gone is {one}" for one in gone]
    return found
