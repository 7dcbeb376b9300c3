"""Commands in processes of their own that start in no time: forked from one that has loaded the portal.

A forked process has memory, streams and an exit code of its own, and ends as Python ends. It does
not prove that `manage.py` starts, nor that a command imports what it needs: tests of that run
`manage.py` itself (`tests/journeys/test_plain_console.py` each command alone).

As a program this module is the loaded process: it reads one request a line and answers with the
exit code of the process that it forked for it.
"""

from __future__ import annotations

import gc
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import django
from django.core.management import call_command, get_commands, load_command_class

import manage

ROOT = Path(__file__).resolve().parents[2]


class Loaded:
    """A process that has loaded the portal with the settings of `env`, and runs nothing itself."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.portal.forked"],
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()  # without more requests it ends
        assert self._process.returncode == 0

    def run(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        """Return exit code, standard output and standard error of `manage.py` with `arguments`."""
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / name for name in ("in", "out", "err")]
            files[0].write_text(stdin, encoding="utf-8")
            asked, told = self._process.stdin, self._process.stdout
            assert asked is not None
            assert told is not None
            asked.write(json.dumps([list(arguments), [str(file) for file in files]]) + "\n")
            asked.flush()
            code = int(told.readline())
            out, err = (file.read_text(encoding="utf-8") for file in files[1:])
        return code, out, err


def _become(arguments: list[str], files: list[str]) -> None:
    """Replace streams and arguments of this process by those of the command."""
    flags = (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_APPEND] * 2)
    for number, (file, how) in enumerate(zip(files, flags, strict=True)):
        opened = os.open(file, how, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    sys.argv = ["manage.py", *arguments]


def _serve() -> bool:
    """Answer requests. Returns whether this is a forked process, which is to run the command."""
    for line in iter(sys.stdin.readline, ""):
        arguments, files = json.loads(line)
        if (child := os.fork()) == 0:
            _become(arguments, files)
            return True
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, flush=True)  # noqa: T201 - read by `Loaded`
    return False


def _load() -> None:
    """Import what the commands import, and let the checks of the URLs fill their caches."""
    django.setup()
    for name, app in get_commands().items():
        if (ROOT / str(app)).is_dir():  # a package of the portal, not one of a library
            load_command_class(str(app), name)
    call_command("check", stdout=io.StringIO(), stderr=io.StringIO())
    gc.freeze()  # what is loaded belongs to the children too: no collection copies its pages


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pkiportal.settings.embedded")
    _load()
    if _serve():
        manage.main()
