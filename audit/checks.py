"""Django system check (tag `database`): the append-only triggers are in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning
from django.db import connections

from audit.triggers import missing_triggers, tables_exist


def check_triggers(
    app_configs: Sequence[AppConfig] | None,  # noqa: ARG001 - Django's signature of a check
    *,
    databases: Sequence[str] | None = None,
    **kwargs: Any,  # noqa: ARG001
) -> list[CheckMessage]:
    """audit.W001 for each database whose ledger can be changed. Run with `manage.py check --database default`.

    A warning and not an error, for `migrate` runs this check first and is the command that puts the triggers back.
    """
    messages: list[CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        if tables_exist(connection) and (missing := missing_triggers(connection)):
            messages.append(
                CheckWarning(
                    f"The audit log in database {alias!r} can be changed: trigger {', '.join(missing)} is missing, off or altered.",
                    hint="Run `manage.py migrate`, which puts the triggers back, then `manage.py verify_audit`: was anything changed?",
                    id="audit.W001",
                )
            )
    return messages
