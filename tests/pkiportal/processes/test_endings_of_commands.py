"""A command whose terminal, output or arguments are not as usual ends with words and a code, without a traceback.

`manage.py` itself runs, in processes of their own, with commands that need no database.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import manage

ROOT = Path(__file__).resolve().parents[3]
CSR = "tests/corpus/csr/001_good_p256.pem"
PIPE_BYTES = 1 << 12  # far less than the command reads, which else might end before the signal comes
# A shell that runs tests in the background starts them with Ctrl-C ignored.
AS_AT_A_TERMINAL = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "manage.py"
runpy.run_path("manage.py", run_name="__main__")
"""


def command(*arguments: str | bytes) -> Sequence[str | bytes]:
    return [sys.executable, "manage.py", *arguments]


def environment(home: Path) -> dict[str, str]:
    return os.environ | {"DJANGO_SETTINGS_MODULE": "pkiportal.settings.embedded", "PKI_HOME": str(home)}


def stopped_while_it_reads(home: Path, *more: str) -> tuple[int, str, str]:
    """Send Ctrl-C to a command that reads standard input, once it does. Return code, output and errors."""
    process = subprocess.Popen(
        [sys.executable, "-c", AS_AT_A_TERMINAL, "policy_check", "-", "--no-compare", *more],
        cwd=ROOT,
        env=environment(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pipesize=PIPE_BYTES,
    )
    assert process.stdin is not None
    # More than a pipe holds: when it has all been taken, the command is reading.
    process.stdin.write(b"#" * (PIPE_BYTES + 1))
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out.decode(), err.decode()


def test_interrupted_command_says_what_stays_and_ends_by_the_signal(tmp_path: Path) -> None:
    """A shell that loops over a command ends its loop only where the command ended by the signal."""
    code, out, err = stopped_while_it_reads(tmp_path)
    assert (code, out) == (-signal.SIGINT, "")
    assert err.startswith("The command was interrupted. What the command had recorded before stays")
    assert err.count("\n") == 1


def test_interrupted_command_with_json_prints_one_object(tmp_path: Path) -> None:
    code, out, err = stopped_while_it_reads(tmp_path, "--json")
    assert (code, json.loads(out)["success"], err) == (-signal.SIGINT, False, "")


def test_command_whose_reader_has_gone_says_so_in_one_line(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command("check_csr", CSR),
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(writer)
    assert (done.returncode, done.stderr.decode()) == (1, lost("Broken pipe"))


def test_command_whose_output_is_full_says_so_in_one_line(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command("check_csr", CSR, "--json"),
            cwd=ROOT,
            env=environment(tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr.decode()) == (1, lost("No space left on device"))


def lost(why: str) -> str:
    stays = "What the command had recorded before stays, and requests that were submitted go on while workers run."
    return f"Standard output cannot be written: {why}. {stays}\n"


@pytest.mark.parametrize("closed", ["<&- >&-", "<&- >&- 2>&-"])
def test_command_without_streams_works_and_writes_into_no_other_file(closed: str, tmp_path: Path) -> None:
    """The first file that a process opens gets the lowest free number: without care that of standard output."""
    shell = f"exec {closed} && exec {sys.executable} manage.py check_csr {CSR}"
    done = subprocess.run(["/bin/sh", "-c", shell], cwd=ROOT, env=environment(tmp_path), capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.django_db
def test_argument_in_another_encoding_is_wrong_usage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Python keeps octets that are no UTF-8 as surrogates (PEP 383), which no database stores."""
    monkeypatch.setattr(sys, "argv", ["manage.py", "identify_user", "ren\udce9", "--person-id", "1"])
    with pytest.raises(SystemExit) as ended:
        manage.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("An argument is no text in utf-8")


@pytest.mark.parametrize("wait", ["nan", "inf", "-1", "soon"])
def test_wait_has_an_end(wait: str, tmp_path: Path) -> None:
    done = subprocess.run(
        command("resume", "resume-1", "--wait", wait),
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "argument --wait: takes seconds from 0 to" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["check_csr", "no-such-file"], 2, "There is no file no-such-file."),
        (["check_csr"], 2, "the following arguments are required: FILE"),
        (["check_csr", CSR, "--colour"], 2, "unrecognized arguments: --colour"),
        (["verify_audit", "--checkpoint", "x"], 2, "--checkpoint and --key go together"),
        (["export_audit", "--since", "yesterday"], 2, "--since takes a date"),
        (["policy_check", CSR, "--no-compare"], 1, None),  # its own object, and no second one
    ],
)
def test_error_of_a_command_with_json_is_one_object(arguments: list[str], code: int, error: str | None, tmp_path: Path) -> None:
    """A program that reads the result would otherwise get nothing to read."""
    done = subprocess.run(
        command(*arguments, "--json"), cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=False, timeout=60
    )
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["success"]) == (code, False)
    if error is not None:
        assert error in answer["error"]
        assert "\n" not in answer["error"]


def test_settings_that_cannot_be_used_are_one_object_with_json(tmp_path: Path) -> None:
    bad = environment(tmp_path) | {"PKI_RENEW_BUDGET": "zz"}
    done = subprocess.run(command("check_csr", CSR, "--json"), cwd=ROOT, env=bad, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["error"].startswith("These settings cannot be used. PKI_RENEW_BUDGET ")
