"""Migrations by what they do, for their numbers change when branches meet."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from django.db import connection
from django.db.migrations.loader import MigrationLoader


def migration(app: str, name: str) -> Any:
    """Return the module of the migration `NNNN_<name>` of the app."""
    package = importlib.import_module(f"{app}.migrations")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name[5:] == name:
            return importlib.import_module(f"{app}.migrations.{module.name}")
    raise LookupError(f"{app} has no migration {name}")


def models_before(app: str, name: str) -> Any:
    """Return the models as they were before that migration."""
    full = migration(app, name).__name__.rpartition(".")[2]
    loader = MigrationLoader(connection, replace_migrations=False)  # with those that a new installation passes over
    return loader.project_state((app, full), at_end=False).apps
