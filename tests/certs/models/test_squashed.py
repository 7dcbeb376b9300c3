"""A new installation gets its tables at once; they are those of an older one that was upgraded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from certs import migrations
from tests.harness.plugin.parts import needed

ROOT = Path(__file__).resolve().parents[3]
AS_IT_WAS = """
from pkiportal.settings.test import *
MIGRATION_MODULES = {"certs": "certs_as_it_was"}
"""
# Everything but the order of columns.
SCHEMA = (
    """SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attstorage,
        attcollation, pg_get_expr(adbin, adrelid)
    FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped""",
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), condeferrable, condeferred
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE NOT tgisinternal",
    "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "SELECT relname, reloptions FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')",
    "SELECT app, name FROM django_migrations",
)


@pytest.fixture
def databases() -> Iterator[dict[str, str]]:
    """Two new databases by their names."""
    server = needed("PKI_TEST_DATABASE_URL").rpartition("/")[0]
    names = {name: f"{name}_{os.getpid()}" for name in ("fresh", "upgraded")}
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        for name in names.values():
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        yield {key: f"{server}/{name}" for key, name in names.items()}
        for name in names.values():
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def migrate(url: str, *arguments: str, **more: str) -> None:
    env = {**os.environ, "PKI_TEST_DATABASE": "postgres", "PKI_TEST_DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "pkiportal.settings.test"}
    command = [sys.executable, str(ROOT / "manage.py"), "migrate", "-v", "0", *arguments]
    done = subprocess.run(command, env=env | more, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def schema_of(url: str) -> list[set[tuple[Any, ...]]]:
    with psycopg.connect(url) as connection:
        return [{tuple(map(repr, row)) for row in connection.execute(query.encode())} for query in SCHEMA]


@pytest.mark.long_fault
def test_tables_made_at_once_are_those_of_an_upgraded_installation(databases: dict[str, str], tmp_path: Path) -> None:
    """The older one stands in the middle of what is made at once, and goes on from there."""
    folder = Path(str(migrations.__file__)).parent
    shutil.copytree(folder, tmp_path / "certs_as_it_was", ignore=lambda _, names: [name for name in names if "_squashed_" in name])
    (tmp_path / "as_it_was.py").write_text(AS_IT_WAS)
    older = {"DJANGO_SETTINGS_MODULE": "as_it_was", "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    migrate(databases["upgraded"], "certs", "0040", **older)
    migrate(databases["upgraded"])
    migrate(databases["fresh"])
    fresh, upgraded = (schema_of(databases[name]) for name in ("fresh", "upgraded"))
    assert all(fresh)
    assert [(a - b, b - a) for a, b in zip(fresh, upgraded, strict=True) if a != b] == []
    migrate(databases["upgraded"], "--check")
    migrate(databases["fresh"], "certs", "zero")
