"""One lock for changes of who may do what, so that two of them never cross."""

from __future__ import annotations

from django.db import transaction

from db.sql import advisory_lock

_CHANGES_OF_PEOPLE = 0x70656F70  # "peop": nothing else in this database uses the number


def one_change_at_a_time() -> None:
    """Wait until every earlier change of people or domains has committed. Needs an open transaction.

    Two officers who remove each other's access at once would otherwise each see the other as the
    officer who remains; a domain that is granted would belong to another team by then. On SQLite one
    transaction writes at a time anyway.
    """
    assert transaction.get_connection().in_atomic_block
    advisory_lock(_CHANGES_OF_PEOPLE)
