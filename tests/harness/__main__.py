"""`python3 -m tests.harness test [PATH ...]`: install, start, check, test, stop. `... exec COMMAND ...`: a command beside the servers.

Exit code 0 when every check and test passed, 1 when one failed, 2 when the machine lacks something (the message says what).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from tests.harness import checks, packages, services
from tests.harness.checks import ROOT, VENV
from tests.harness.console import HarnessError, complain, in_ci, say
from tests.harness.processes import die_with_parent
from tests.harness.vault_build import VaultBuild

_NOTHING_COLLECTED = 5
_WORKERS = os.environ.get("PKI_TEST_WORKERS", "2")
_NO_VAULT = (
    "Left out: every test that talks to Vault (fixtures `vault_client`, `vault_mount`, `own_vault`). To run them, install Go 1.21 or "
    "newer (tests/vaultd is then built), or set PKI_TEST_VAULT_BIN to a `vault` or `bao` program."
)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.harness", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("test", help="run the checks and the tests, all or those at PATH").add_argument("paths", nargs="*", metavar="PATH")
    verbs.add_parser("lint", help="run the checks alone, without servers")
    command = verbs.add_parser("exec", help="run COMMAND in the virtual environment beside the servers")
    command.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs us in the background starts us with it ignored
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _leave)  # so that the servers stop and the folder goes, as with Ctrl-C
    try:
        if chosen.verb == "lint":
            install_requirements()
            return 1 if checks.run() else 0
        if chosen.verb == "exec":
            if not chosen.command:
                parser.error("exec needs a COMMAND")
            with prepared() as env:
                return _run(chosen.command, _activated(env))
        return run_tests(chosen.paths)
    except HarnessError as problem:
        complain(str(problem))
        return problem.exit_code
    except KeyboardInterrupt:
        complain("Interrupted; everything that was started has been stopped.")
        return 130


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def prepared() -> Iterator[dict[str, str]]:
    """Everything in place and running; yields the environment for the tests. Vault's build goes on beside the installs."""
    with contextlib.ExitStack() as undo:
        build = VaultBuild()
        undo.callback(build.stop)
        with requirements_beside(packages.missing()):
            packages.ensure()
        install_requirements()
        vault = build.result()
        if vault is None:
            if in_ci():
                raise HarnessError(f"CI runs everything or fails. {_NO_VAULT}", exit_code=2)
            complain(_NO_VAULT)
        yield undo.enter_context(services.running(vault))


_INSTALL = (sys.executable, ROOT / "tools" / "venv.py", "requirements-dev.txt")


@contextlib.contextmanager
def requirements_beside(missing: Sequence[str], install: Sequence[str | Path] = _INSTALL) -> Iterator[None]:
    """Install Python's requirements while the block installs Debian's packages: each keeps one core busy, or waits for the network.

    Does nothing where no package is missing, or one without which there is no virtual environment. What fails here is
    tried again, and reported, by `install_requirements`.
    """
    if not missing or "python3-venv" in missing:
        yield
        return
    tied = die_with_parent(signal.SIGTERM)
    with subprocess.Popen(install, stdin=subprocess.DEVNULL, preexec_fn=tied) as process:  # noqa: PLW1509 - one thread
        try:
            yield
            process.wait()
        finally:
            process.terminate()


def install_requirements() -> None:
    if subprocess.run(_INSTALL, check=False).returncode:
        raise HarnessError("The Python requirements could not be installed, see above.")


def run_tests(paths: Sequence[str]) -> int:
    """The checks, the SQLite pass, the PostgreSQL pass: in this order, so that pytest's closing lines of the larger one come last."""
    if absent := [path for path in paths if not (ROOT / path.partition("::")[0]).exists()]:
        raise HarnessError(f"No such test: {' '.join(absent)} (T= takes paths from the root of the checkout).", exit_code=2)
    with prepared() as env:
        failed = checks.run_short(paths)
        with contextlib.nullcontext(list) if paths else checks.types_beside() as types_failed:
            say("Tests on SQLite (those marked both_databases)")
            sqlite = _pytest(["-m", "both_databases and not long_fault", *paths], {**env, "PKI_TEST_DATABASE": "sqlite"})
            failed += types_failed()
        if failed:
            complain(f"Checks failed: {', '.join(failed)}. The tests run all the same; this run ends with an error.")
        say("Tests on PostgreSQL")
        postgres = _pytest(paths, {**env, "PKI_TEST_DATABASE": "postgres"})
    # One part of the tree may have nothing for SQLite; the whole may not, or the second database would go untested in silence.
    sqlite_failed = sqlite not in ((0, _NOTHING_COLLECTED) if paths else (0,))
    return 1 if failed or sqlite_failed or postgres else 0


def _pytest(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    # loadscope: the tests of one module stay with one worker, and so does what they share that is dear to set up.
    # In the order of collection: see tests/harness/plugin/order.py.
    spread = ["-n", _WORKERS, "--dist", "loadscope", "--no-loadscope-reorder"]
    return _run([VENV / "bin" / "python", "-m", "pytest", *spread, *arguments], env)


def _run(command: Sequence[str | Path], env: Mapping[str, str]) -> int:
    """Run to the end. When we are stopped, the command is first, its servers after it."""
    # A signal may reach us while Popen() still waits for the child it has made: then only the child's own tie to us ends it.
    tied = die_with_parent(signal.SIGTERM)
    with subprocess.Popen(command, cwd=ROOT, env=dict(env), preexec_fn=tied) as process:  # noqa: PLW1509 - one thread
        try:
            return process.wait()
        except BaseException:
            process.terminate()  # Ctrl-C in a terminal reached it too, a signal to us alone did not
            raise


def _activated(env: Mapping[str, str]) -> dict[str, str]:
    return {**env, "PATH": f"{VENV / 'bin'}:{env.get('PATH', '')}", "VIRTUAL_ENV": str(VENV)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
