"""A management command whose database is away says so in one line and what to do, and ends with 1."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.core.management import get_commands
from django.db import InternalError, ProgrammingError
from django.db import OperationalError as DatabaseOperationalError
from kombu.exceptions import OperationalError

from certs.ca.base import CAUnreachable
from keys.errors import KeyBackendUnavailable
from pkiportal.processes.outages import outage_of, report_outage

ROOT = Path(__file__).resolve().parents[3]
# What a command cannot be run without. A new command that needs something is added here.
ARGUMENTS = {
    "add_ca": ["Internal-CA-Prod"],
    "ask": ["Issue TLS certificate for api.example.com"],
    "bulk_issue": ["Issue certificates for a.example.com and b.example.com"],
    "check_csr": ["--policy", "tests/corpus/csr/001_good_p256.pem"],
    "distrust_ca": ["Internal-CA-Prod", "--reason", "superseded"],
    "export_tiles": ["tiles"],
    "identify_user": ["alice", "--person-id", "a"],
    "issue": ["Issue TLS certificate for api.example.com"],
    "register": ["--output", os.devnull],
    "reissue_ca": ["Internal-CA-Prod"],
    "renew": ["cert-1"],
    "replay_decision": ["1"],
    "resume": ["resume-1"],
    "revoke": ["cert-1", "--reason", "superseded"],
    "unblock_key": ["00" * 32, "--reason", "wrong", "--as", "alice"],
    "up": ["--no-serve", "--demo"],
}


# CI tells "has faults" (1) from "could not be checked" (2): see test_policy_check.
NEEDS_NO_DATABASE = {"policy_check"}


def own_commands() -> list[str]:
    """The portal's own commands that need a database: what is in its packages, not Django's."""
    ours = {app.name for app in apps.get_app_configs() if Path(app.path).parent == ROOT}
    return sorted(name for name, app in get_commands().items() if app in ours and name not in NEEDS_NO_DATABASE)


@pytest.fixture(scope="module")
def without_database(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each command did, for people and with --json, while nothing listens at the database."""
    home = tmp_path_factory.mktemp("home")
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "pkiportal.settings.test",
        "PKI_TEST_DATABASE": "postgres",
        "PKI_TEST_DATABASE_URL": "postgres://nobody:hidden@127.0.0.1:1/none",
        "PKI_HOME": str(home),
        "PYTHONPATH": str(ROOT),
    }
    runs = [(name, more) for name in own_commands() for more in ([], ["--json"])]
    asked = "".join(json.dumps([name, *ARGUMENTS.get(name, []), *more]) + "\n" for name, more in runs)
    done = subprocess.run(
        [sys.executable, "-m", "tests.pkiportal.processes.outage_commands"],
        input=asked,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return {" ".join([name, *more]): answer for (name, more), answer in zip(runs, answers, strict=True)}


@pytest.mark.parametrize("command", own_commands())
def test_command_without_its_database_reports_it_and_the_next_step(command: str, without_database: dict[str, dict[str, Any]]) -> None:
    """F10: the calls of pages and the API answer an outage so."""
    told = without_database[command]
    assert "Traceback" not in told["err"]
    assert told["code"] == 1, told
    lines = [one for one in told["err"].splitlines() if "database" in one]
    assert len(lines) == 1, told
    (line,) = lines
    assert line.startswith("The database cannot be used: ")
    assert "See that it runs and that DATABASE_URL is right" in line
    assert "hidden" not in told["err"] + told["out"]


@pytest.mark.parametrize("command", own_commands())
def test_command_without_its_database_prints_one_json_object(command: str, without_database: dict[str, dict[str, Any]]) -> None:
    told = without_database[f"{command} --json"]
    answer = json.loads(told["out"])
    assert (told["code"], answer["success"], bool(answer["next_step"])) == (1, False, True)
    assert answer["error"].startswith("The database cannot be used: ")


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OperationalError("Error 111 connecting to 127.0.0.1:1."), "message broker"),
        (KeyBackendUnavailable("Vault cannot be reached."), "Vault"),
        (CAUnreachable("cannot reach https://ca.example.com"), "CA"),
        (ProgrammingError('relation "certs_team" does not exist\nLINE 1: SELECT'), "database"),
    ],
)
def test_outage_of_every_part_is_one_line_with_a_next_step(error: Exception, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_outage(error, as_json=False)
    (line,) = capsys.readouterr().err.splitlines()
    assert what in line
    assert "LINE 1" not in line
    assert line.endswith(".")


@pytest.mark.parametrize(
    ("cause", "step"),
    [
        (psycopg.errors.DiskFull("could not extend file: No space left on device"), "Make room on the disk of the database"),
        (psycopg.errors.TooManyConnections("sorry, too many clients already"), "All connections that it allows are in use"),
        (
            psycopg.OperationalError("connection failed: FATAL:  sorry, too many clients already"),
            "All connections that it allows are in use",
        ),
        (psycopg.OperationalError('FATAL:  too many connections for role "pki"'), "All connections that it allows are in use"),
        (psycopg.OperationalError("FATAL:  remaining connection slots are reserved"), "All connections that it allows are in use"),
        (psycopg.OperationalError("FATAL:  the database system is in recovery mode"), "It starts, stops or recovers"),
        (psycopg.OperationalError("FATAL:  the database system is not yet accepting connections"), "It starts, stops or recovers"),
        (psycopg.errors.AdminShutdown("terminating connection due to administrator command"), "It starts, stops or recovers"),
        (psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT in a read-only transaction"), "It can only be read now"),
        (sqlite3.OperationalError("database or disk is full"), "Make room on the disk of the database"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "It can only be read now"),
    ],
)
def test_database_that_answers_and_cannot_do_it_has_its_own_next_step(cause: Exception, step: str) -> None:
    """That it runs and where it is, the operator would look up for nothing."""
    kind = InternalError if isinstance(cause, psycopg.errors.InternalError) else DatabaseOperationalError
    error = kind(str(cause))
    error.__cause__ = cause
    found = outage_of(error)
    assert found is not None
    assert found[1].startswith(step)
    assert "DATABASE_URL" not in found[1]


def test_fault_of_a_command_itself_keeps_its_traceback() -> None:
    assert outage_of(LookupError("a bug")) is None
