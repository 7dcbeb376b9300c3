"""The index of parts of names: made after `migrate`, checked by `manage.py check`, made later by `manage.py search_index`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning
from django.db import connections

from db.trigrams import IndexNotPossible, IndexState, PartIndex, make_index, state_of_index

logger = logging.getLogger(__name__)

NAME_PART = PartIndex("certificate_name_part", "certs_certificatename", "name")
MEANING = (
    "Everything works without the index of parts of names; a search for a part of a name reads every name: a tenth "
    "to a fifth of a second with 1,000,000 certificates."
)
WITHOUT = (IndexState.ABSENT, IndexState.UNFINISHED)


def next_step(obstacle: IndexNotPossible) -> str:
    """Return what to do about an index that cannot be made."""
    return (
        f"An administrator of PostgreSQL runs `{obstacle.statement}` in the portal's database, once. Then run "
        "`manage.py search_index`, or `manage.py migrate` again."
    )


def make_after_migrate(*, using: str, **kwargs: Any) -> None:  # noqa: ARG001 - signals pass more
    """Make the index where it is missing: a receiver of post_migrate, so it is tried again at each release.

    Where it cannot be made, a warning says what is missing, and `migrate` succeeds.
    """
    try:
        make_index(NAME_PART, connections[using])
    except IndexNotPossible as exc:
        logger.warning("No index of parts of names: %s %s %s", exc, MEANING, next_step(exc))


def check_name_index(
    app_configs: Any,  # noqa: ARG001 - Django's signature of a check
    *,
    databases: Sequence[str] | None = None,
    **kwargs: Any,  # noqa: ARG001
) -> list[CheckMessage]:
    """certs.W002 for each database without the index. Run with `manage.py check --database default`."""
    return [
        CheckWarning(
            f"The database {alias!r} has no index of parts of names (it is {state}). {MEANING}",
            hint="Run `manage.py search_index`: it makes the index while the portal is in use, or says what it lacks.",
            id="certs.W002",
        )
        for alias in databases or ()
        if (state := state_of_index(NAME_PART, connections[alias])) in WITHOUT
    ]
