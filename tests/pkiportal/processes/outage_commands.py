"""A process of its own: runs `manage.py` once for each line of its input, and prints what it did."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import traceback

from django.conf import settings

import manage


def no_worker(*, beat: bool) -> None:
    """Workers are elsewhere, as in production: one in this process would log into the output of
    every later command.
    """


def run(arguments: list[str]) -> dict[str, object]:
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["manage.py", *arguments]
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            manage.main()
        except SystemExit as exc:
            code = exc.code or 0
        except Exception:  # noqa: BLE001 - what Python itself would print
            code = 1
            traceback.print_exc()
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    settings.PKI_EMBEDDED_WORKER = "tests.pkiportal.processes.outage_commands.no_worker"
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)  # noqa: T201 - read by the test
