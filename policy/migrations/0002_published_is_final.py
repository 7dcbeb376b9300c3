"""A published policy version cannot be changed: triggers in the database, for writers that bypass the models.

DELETE is refused on PostgreSQL only. SQLite empties its tables with DELETE where PostgreSQL uses TRUNCATE (`flush`, which
Django's transaction tests run), and cannot tell the two apart.
"""

from __future__ import annotations

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

_POSTGRESQL = """
CREATE FUNCTION policy_published_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'policy version % is published and cannot be changed', OLD.version USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER policy_published_is_final BEFORE UPDATE OR DELETE ON policy_policyversion
    FOR EACH ROW WHEN (OLD.state = 'published') EXECUTE FUNCTION policy_published_is_final();
"""
_POSTGRESQL_UNDO = """
DROP TRIGGER policy_published_is_final ON policy_policyversion;
DROP FUNCTION policy_published_is_final();
"""
_SQLITE = """
CREATE TRIGGER policy_published_is_final BEFORE UPDATE ON policy_policyversion WHEN OLD.state = 'published'
BEGIN SELECT RAISE(ABORT, 'policy version is published and cannot be changed'); END
"""
_SQLITE_UNDO = "DROP TRIGGER policy_published_is_final"


def _run(schema_editor: BaseDatabaseSchemaEditor, statements: dict[str, str]) -> None:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(statements[schema_editor.connection.vendor])


def forwards(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    _run(schema_editor, {"postgresql": _POSTGRESQL, "sqlite": _SQLITE})


def backwards(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    _run(schema_editor, {"postgresql": _POSTGRESQL_UNDO, "sqlite": _SQLITE_UNDO})


class Migration(migrations.Migration):
    dependencies = [("policy", "0001_initial")]
    operations = [migrations.RunPython(forwards, backwards)]
