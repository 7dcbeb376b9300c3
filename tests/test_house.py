"""The house itself: what holds for every file of the repository, whoever wrote it."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest
from django.core.management import call_command

ROOT = Path(__file__).resolve().parent.parent
LONGEST_FILE = 450
MOST_MODULES = 12
ROOMS = {"pkiportal", "certs", "keys", "policy", "audit", "db", "bench"}
HELPERS = {"contracts", "corpus", "faults", "harness", "identity_provider", "journeys", "portal", "twins", "vaultd"}
_EVERYTHING = re.compile(r"\b(?:Base)?Exception\b")
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


def test_tests_stand_where_their_subject_stands() -> None:
    """A folder of tests is one of the product; HELPERS hold what tests share and what concerns the whole product."""
    folders = {
        path.parent.relative_to(ROOT / "tests") for path in tracked() if path.is_relative_to(ROOT / "tests") and path.suffix == ".py"
    }
    of_subjects = {folder for folder in folders if folder.parts and folder.parts[0] not in HELPERS}
    assert sorted(str(folder) for folder in of_subjects if not (ROOT / folder).is_dir()) == []


def test_no_test_imports_a_private_name_of_the_product() -> None:
    """What is tested alone has a name of its own, without an underscore."""
    private = re.compile(rf"^\s*from (?:{'|'.join(sorted(ROOMS))})\b\S* import .*\b_[a-z]", re.MULTILINE)
    tests = [path for path in tracked() if path.suffix == ".py" and path.is_relative_to(ROOT / "tests")]
    assert _names([path for path in tests if private.search(path.read_text(encoding="utf-8"))]) == []


def test_no_file_is_too_long_to_read() -> None:
    code = [path for path in tracked() if path.suffix == ".py" and "migrations" not in path.parts]
    assert _names([path for path in code if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST_FILE]) == []


@pytest.mark.parametrize("forbidden", [MACHINE_PATHS, REGISTRIES], ids=["paths of one machine", "hosts of registries"])
def test_no_file_names(forbidden: re.Pattern[str]) -> None:
    texts = {path: path.read_bytes().decode("utf-8", "replace") for path in tracked()}
    assert _names([path for path, text in texts.items() if forbidden.search(text)]) == []


def _product() -> list[Path]:
    """The modules of the product and its benchmarks, without migrations."""
    code = [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in ROOMS]
    return [path for path in code if "migrations" not in path.parts]


def test_no_folder_has_more_than_twelve_modules() -> None:
    modules = Counter(path.parent for path in _product() if path.name != "__init__.py" and path.parent.name != "commands")
    assert _names([folder for folder, count in modules.items() if count > MOST_MODULES]) == []


def test_no_two_modules_of_a_package_have_the_same_name() -> None:
    """Of a package directly below `certs`, so that a name in a traceback or a search has one file."""
    places: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in _product():
        parts = path.relative_to(ROOT).parts
        if parts[0] == "certs" and len(parts) > 2 and path.name != "__init__.py":
            places[parts[1], path.name].append(path)
    assert [_names(paths) for paths in places.values() if len(paths) > 1] == []


def _catches_everything(node: ast.AST) -> bool:
    """An `except` for every error whose last statement is no `raise`, or `suppress` for every error."""
    if isinstance(node, ast.ExceptHandler):
        named = ast.unparse(node.type) if node.type else "BaseException"
        return bool(_EVERYTHING.search(named)) and not isinstance(node.body[-1], ast.Raise)
    return isinstance(node, ast.Call) and bool(re.search(r"suppress\(.*\bException\b", ast.unparse(node)))


def test_every_error_is_caught_only_where_a_decision_says_why() -> None:
    listed = re.findall(r"`([a-z_/]+\.py)`", (ROOT / "docs/decisions/0036-where-every-error-is-caught.md").read_text(encoding="utf-8"))
    code = [*_product(), ROOT / "manage.py"]
    found = {path for path in code for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if _catches_everything(node)}
    assert sorted(set(_names(list(found))) - set(listed)) == []


def test_no_private_attribute_of_others_is_used() -> None:
    """Ruff refuses one (SLF001); nothing in the product asks it to look away."""
    assert _names([path for path in _product() if "SLF001" in path.read_text(encoding="utf-8")]) == []


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


@pytest.mark.parametrize("guide", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_files_that_a_guide_names_exist(guide: str) -> None:
    """A newcomer follows these names. NAME stands for the reader's own file."""
    text = (ROOT / guide).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:audit|certs|db|docs|keys|pkiportal|policy|templates|tests)/[\w./-]*)`", text))
    linked = {(ROOT / guide).parent / name for name in re.findall(r"\]\((?!https?:)([^)#]+)\)", text)}
    assert named
    assert [name for name in sorted(named) if "NAME" not in name and not (ROOT / name).exists()] == []
    assert _names([path for path in linked if not path.exists()]) == []


@pytest.mark.django_db
def test_migrations_are_complete() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
