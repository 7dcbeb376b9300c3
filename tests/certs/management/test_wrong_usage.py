"""What an operator mistypes is refused with words and exit code 2 or 1, before anything lasting is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from certs.models import Issuer
from keys.models import Key
from tests.portal.authority import issuing_ca
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)


def refused(*command: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        call_command(*command)
    return caught.value


def answer(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[Any, Any]:
    """Return the exit code of a command that fails, and its answer."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        call_command(*command, "--json")
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_register_of_a_team_that_is_not_there_writes_no_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "register.csv"
    error = refused("register", "--output", str(path), "--team", "nosuch")
    assert (str(error), error.returncode, path.exists()) == ("There is no team nosuch.", 2, False)


def test_with_json_wrong_usage_is_one_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = answer(capsys, "bulk_issue", "--watch", "nosuch")
    assert wrong == (2, {"success": False, "error": "There is no bulk order nosuch."})


@pytest.mark.parametrize("options", [["--output", "/nonexistent/x.crl"], ["--output", "/dev/full"]])
def test_crl_that_cannot_be_written_is_reported(options: list[str], portal: Portal, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = answer(capsys, "publish_crl", "--issuer", issuing_ca().slug, *options)
    assert (code, "cannot be written" in told["error"], "run the command again" in told["next_step"]) == (1, True, True)


def test_key_type_that_is_none_is_refused_by_bootstrap() -> None:
    assert "choose from" in str(refused("bootstrap", "--ca-key", "nosuch"))
    assert not Issuer.objects.exists()


@pytest.mark.parametrize("options", [["--port", "99999"], ["--threads", "0"], ["--host", "nonsense.invalid"], ["--host", "::zz"]])
def test_up_refuses_an_address_that_it_cannot_serve_at(options: list[str]) -> None:
    error = refused("up", *options)
    assert (error.returncode, str(error).startswith(options[0])) == (2, True)


@pytest.mark.parametrize("days", ["0", "-5"])
def test_validity_below_a_day_is_refused_and_is_no_default(days: str, portal: Portal, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = answer(capsys, "issue", "--cn", "a.example.com", "--validity-days", days, "--team", "web", "--dry-run")
    assert (code, told["error"]) == (2, "--validity-days must be at least 1. Leave it out for the policy's default.")


def test_csr_file_is_read_as_a_whole_or_said_to_be_too_large(portal: Portal, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A part of a file would be refused for a fault that the file does not have."""
    path = tmp_path / "large.csr"
    path.write_bytes(b"A" * 3_000_000)
    code, told = answer(capsys, "issue", "--csr", str(path), "--team", "web", "--dry-run")
    assert (code, told["type"]) == (1, "too_large")


def test_new_ca_is_not_given_a_name_that_no_certificate_can_have(portal: Portal, capsys: pytest.CaptureFixture[str]) -> None:
    keys = Key.objects.count()
    for more in ([], ["--dry-run"]):
        code, told = answer(capsys, "roll_over_ca", issuing_ca().name, "--name", "x" * 65, *more)
        assert (code, told["field"]) == (1, "name")
    assert Key.objects.count() == keys


def test_dry_run_of_a_reissue_refuses_the_targets_that_the_reissue_refuses(portal: Portal, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = answer(capsys, "reissue_ca", issuing_ca().name, "--to", issuing_ca().name)
    assert (code, told["field"]) == (1, "target")


def test_ids_and_keys_that_do_not_fit_are_refused(portal: Portal, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = answer(capsys, "identify_user", "alice", "--person-id", "x" * 201)
    assert (code, told["field"]) == (1, "person_id")
    code, told = answer(capsys, "issue", "--cn", "api.example.com", "--idempotency-key", "x" * 129)
    assert (code, told["error"]) == (2, "--idempotency-key takes at most 128 characters.")
