"""The house itself: what holds for every file of the repository, whoever wrote it."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
from django.core.management import call_command

ROOT = Path(__file__).resolve().parent.parent
LONGEST_FILE = 450
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:work|root|farm|home/[a-z]+)/")  # does not match itself
# Put together here, so that this file does not contain what it looks for.
REGISTRIES = re.compile("|".join(re.escape(".".join(parts)) for parts in (("pypi", "org"), ("registry", "npmjs"), ("proxy", "golang"))))


@cache
def tracked() -> tuple[Path, ...]:
    """The files that git knows and that are there. `safe.directory`: the checkout may belong to somebody else than who runs the tests."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
    return tuple(ROOT / name for name in listed if name and (ROOT / name).is_file())


def _names(paths: list[Path]) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in paths)


def test_every_folder_of_tests_is_a_package() -> None:
    """Without `__init__.py`, tests/certs would shadow the package certs."""
    folders = {path.parent for path in tracked() if path.suffix == ".py" and path.is_relative_to(ROOT / "tests")}
    assert _names([folder for folder in folders if not (folder / "__init__.py").exists()]) == []


def test_no_file_is_too_long_to_read() -> None:
    code = [path for path in tracked() if path.suffix == ".py" and "migrations" not in path.parts]
    assert _names([path for path in code if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST_FILE]) == []


@pytest.mark.parametrize("forbidden", [MACHINE_PATHS, REGISTRIES], ids=["paths of one machine", "hosts of registries"])
def test_no_file_names(forbidden: re.Pattern[str]) -> None:
    texts = {path: path.read_bytes().decode("utf-8", "replace") for path in tracked()}
    assert _names([path for path, text in texts.items() if forbidden.search(text)]) == []


def _pins(name: str) -> dict[str, int]:
    """`name==version` of a lock file, with the number of hashes given for each."""
    pins: dict[str, int] = {}
    for line in (ROOT / name).read_text(encoding="ascii").splitlines():
        if pin := re.match(r"([\w.-]+==\S+)", line):
            pins[pin.group(1)] = 0
        elif "--hash=sha256:" in line:
            pins[next(reversed(pins))] += 1
    return pins


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned_with_hashes(name: str) -> None:
    pins = _pins(name)
    assert [pin for pin, hashes in pins.items() if not hashes] == []
    wanted = re.findall(r"^[A-Za-z][\w.-]*", (ROOT / name).with_suffix(".in").read_text(encoding="utf-8"), re.MULTILINE)
    pinned = {pin.partition("==")[0] for pin in pins}
    assert [word for word in wanted if word.lower() not in pinned] == []


def test_what_is_tested_is_what_is_shipped() -> None:
    """The tests run on exactly the versions of requirements.txt."""
    assert sorted(set(_pins("requirements.txt")) - set(_pins("requirements-dev.txt"))) == []


@pytest.mark.django_db
def test_migrations_are_complete() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
