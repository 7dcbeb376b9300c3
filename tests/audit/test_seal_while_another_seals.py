"""`seal_audit` beside a sealer that hangs: what waits is said, and sealed when the lock is free."""

from __future__ import annotations

import json
import os

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from psycopg.conninfo import make_conninfo

from audit.transparency.sealer import ADVISORY_LOCK
from tests.audit.ledger import write

pytestmark = pytest.mark.django_db(transaction=True)


def test_events_that_another_sealer_keeps_waiting_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    write("req-1", "req-2")
    database = make_conninfo(os.environ["PKI_TEST_DATABASE_URL"], dbname=connection.settings_dict["NAME"])
    with psycopg.connect(database) as hanging:
        hanging.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        call_command("seal_audit", "--json")
        answer = json.loads(capsys.readouterr().out)
        assert (answer["success"], answer["sealed"], answer["waiting"]) == (True, 0, 2)
        assert "worker of the queue audit" in answer["note"]
        call_command("seal_audit")
        assert capsys.readouterr().out.startswith("0 events sealed. 2 events wait")
    call_command("seal_audit", "--json")
    assert json.loads(capsys.readouterr().out) == {"success": True, "sealed": 2}
