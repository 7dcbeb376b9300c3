"""`python3 tools/venv.py requirements.txt`: the virtual environment `.venv` with exactly those requirements, hashes checked.

Standard library only. Does nothing when the file was installed before; two calls at once wait for each other.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
_OLDEST_PYTHON = (3, 11)
SYSTEM_PYTHON = Path("/usr/bin/python3")  # where distributions put theirs, built with profile-guided optimisation
_WORTH_A_CHANGE = 1.15
# Its version, whether it can make environments, and the milliseconds of a loop: the best of five of some 10 ms each.
_ABOUT = """
import importlib.util, sys, time
def once():
    start, table = time.perf_counter(), {}
    for number in range(100000):
        table[number % 97] = [str(number), (number,)]
    return time.perf_counter() - start
print(*sys.version_info[:3], importlib.util.find_spec("ensurepip") is not None, min(once() for _ in range(5)) * 1000)
"""


def main(name: str) -> int:
    if sys.version_info < _OLDEST_PYTHON:
        print(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}. Try: make PYTHON=python3.11 ...", file=sys.stderr)
        return 2
    if importlib.util.find_spec("ensurepip") is None:
        print("This Python cannot make virtual environments. Run as root: apt-get install python3-venv", file=sys.stderr)
        return 2
    VENV.mkdir(exist_ok=True)
    with (VENV / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return 0 if _usable(VENV) and _stamp(name).exists() else _install(name)


def _stamp(name: str) -> Path:
    digest = hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
    return VENV / f".{name}-{digest[:16]}"


def _usable(folder: Path) -> bool:
    """False as well for an environment whose Python is gone, or that was moved here from elsewhere."""
    python = folder / "bin" / "python"
    if not python.exists():
        return False
    answer = subprocess.run([python, "-c", "import pip, sys; print(sys.prefix)"], stdout=subprocess.PIPE, text=True, check=False)
    return answer.returncode == 0 and Path(answer.stdout.strip()) == folder


def _install(name: str) -> int:
    if not _usable(VENV):
        print("Python: making .venv", flush=True)
        # Not with --clear: it would delete the lock file that we hold.
        if subprocess.run([interpreter_for_venv(), "-m", "venv", VENV], check=False).returncode:
            return 1
    print(f"Python: installing {name} (about a minute the first time)", flush=True)
    # Wheels only: nobody who tries the portal needs a C compiler.
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--require-hashes", "--only-binary", ":all:"]
    if not _shown([PYTHON, "-m", "pip", "install", *options, "-r", ROOT / name]):
        print(f"Installing {name} failed, see above; what is there is kept, so try the same command again.", file=sys.stderr)
        return 1
    for old in VENV.glob(f".{name}-*"):
        old.unlink()
    _stamp(name).touch()
    return 0


def interpreter_for_venv() -> str | Path:
    """This one, or the system's of the same minor version where that is clearly faster: version managers may compile unoptimised."""
    ours, theirs = _about(sys.executable), _about(SYSTEM_PYTHON)
    if ours is None or theirs is None or ours[0][:2] != theirs[0][:2] or ours[1] < theirs[1] * _WORTH_A_CHANGE:
        return sys.executable
    print(f"Python: with {SYSTEM_PYTHON}, which takes {theirs[1]:.0f} ms for what {sys.executable} needs {ours[1]:.0f} ms for", flush=True)
    return SYSTEM_PYTHON


def _about(python: str | Path) -> tuple[tuple[int, ...], float] | None:
    """Version, and milliseconds of the loop; None for one that is not there or cannot make environments."""
    try:
        answer = subprocess.run([python, "-I", "-c", _ABOUT], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError:
        return None
    *version, can_make, milliseconds = answer.stdout.split() or ["", "False", "0"]
    return (tuple(map(int, version)), float(milliseconds)) if can_make == "True" else None


def _shown(command: list[str | Path]) -> bool:
    """Run pip with its progress in sight, but for the hundred lines about what is there already; True when it succeeded."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if not line.startswith(("Requirement already satisfied", "Looking in ")):
                print(f"  {line.rstrip()}", flush=True)
    return process.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "requirements.txt"))
