"""What `docker build` can see and copy: the code, and nothing that lies beside it (S5)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLANTED = (
    "secrets/database_url",
    "secrets/tls_key",
    ".env",
    ".env.production",
    "certs/.env",
    "pkiportal/secrets/token",
    "var/keys.kek",
    "var/portal.sqlite3",
    ".git/config",
    "dump.sql",
    "tls.key",
    "docker-compose.override.yml",
    "certs/__pycache__/spec.cpython-311.pyc",
    "certs/x509/old.pyc",
)
COPIED = {"requirements.txt", "manage.py"}
FOLDERS = ("pkiportal", "db", "audit", "keys", "policy", "certs", "templates", "static")


def expression(pattern: str) -> re.Pattern[str]:
    """One pattern as github.com/moby/patternmatcher reads it: `**` any depth, `*` and `?` not across a slash."""
    text, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            text, at = f"{text}(?:.*/)?", at + 3
        elif pattern.startswith("**", at):
            text, at = f"{text}.*", at + 2
        else:
            text += {"*": "[^/]*", "?": "[^/]"}.get(pattern[at], re.escape(pattern[at]))
            at += 1
    return re.compile(text)


def context(paths: list[str], ignore: str) -> set[str]:
    """Which paths enter the build context: the last pattern that matches the path or one of its folders decides."""
    rules = [line.strip() for line in ignore.splitlines() if line.strip() and not line.startswith("#")]
    compiled = [(rule.startswith("!"), expression(rule.removeprefix("!").strip("/"))) for rule in rules]
    found = set()
    for path in paths:
        parts = path.split("/")
        candidates = ["/".join(parts[: length + 1]) for length in range(len(parts))]
        excluded = False
        for negated, rule in compiled:
            if any(rule.fullmatch(candidate) for candidate in candidates):
                excluded = not negated
        if not excluded:
            found.add(path)
    return found


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True, text=True
    )
    return listed.stdout.splitlines()


@pytest.fixture(scope="module")
def entering(tracked: list[str]) -> set[str]:
    return context([*tracked, *PLANTED], (ROOT / ".dockerignore").read_text())


def test_patterns_are_matched_as_docker_does() -> None:
    """S5: the examples of Docker's documentation."""
    assert context(["a/temp.txt", "a/b/temp.txt", "tempa"], "*/temp*\n") == {"a/b/temp.txt", "tempa"}
    assert context(["README.md", "README-secret.md"], "*.md\n!README*.md\nREADME-secret.md\n") == {"README.md"}
    assert context(["x.go", "a/b/y.go", "a/z.py"], "**/*.go") == {"a/z.py"}
    assert context(["certs/a.py", "secrets/a"], "**\n!certs/\n") == {"certs/a.py"}


def test_only_the_code_enters_the_build_context(entering: set[str], tracked: list[str]) -> None:
    """S5"""
    assert not entering & set(PLANTED)
    expected = {path for path in tracked if path in COPIED or path.split("/")[0] in FOLDERS}
    assert entering == expected


def test_image_copies_named_files_and_folders_only() -> None:
    """S5: even without .dockerignore, `COPY` takes nothing that it does not name."""
    sources = set(re.findall(r"^(?:COPY|ADD) (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert sources == COPIED | {f"{folder}/" for folder in FOLDERS}


def test_git_ignores_secrets_and_environment_files() -> None:
    """S5"""
    for path in ("secrets/database_url", ".env", ".env.production", "var/keys.kek"):
        ignored = subprocess.run(["git", "-C", ROOT, "check-ignore", "-q", path], check=False)
        assert ignored.returncode == 0, path


def test_portal_starts_from_what_the_image_holds(entering: set[str], tmp_path: Path) -> None:
    """S5: the allow-list leaves out nothing that the portal needs."""
    for path in entering:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).symlink_to(ROOT / path)
    (tmp_path / "manage.py").unlink()
    (tmp_path / "manage.py").write_bytes((ROOT / "manage.py").read_bytes())  # its folder is sys.path[0]
    env = {"PATH": os.environ["PATH"], "PKI_HOME": str(tmp_path / "home")}
    command = [sys.executable, "manage.py", "check", "--fail-level", "ERROR"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
