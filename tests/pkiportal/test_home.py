"""S20: what the embedded portal keeps is for its owner alone, whatever the folder was before."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from pkiportal.home import OTHERS, OpenToOthers, kept_secret, prepare_home
from tests.pkiportal.test_settings import load

ROOT = Path(__file__).resolve().parents[2]


def prepare(home: Path) -> None:
    prepare_home(home, database="portal.sqlite3", mail="mail")


def open_to_others(home: Path) -> list[str]:
    found = [home, *home.rglob("*")]
    return [str(path) for path in found if stat.S_IMODE(path.lstat().st_mode) & OTHERS]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An existing, empty folder that everybody may enter."""
    folder = tmp_path / "home"
    folder.mkdir()
    folder.chmod(0o755)
    return folder


def test_new_or_empty_folder_is_closed(home: Path, tmp_path: Path) -> None:
    for one in (home, tmp_path / "new" / "home"):
        prepare(one)
        assert open_to_others(one) == []


def test_folder_of_an_earlier_portal_is_closed_with_what_is_in_it(home: Path) -> None:
    (home / "mail").mkdir(mode=0o755)
    for name in ("secret_key", "portal.sqlite3", "portal.sqlite3-wal", "root.kek", "checkpoints.log"):
        (home / name).write_text("x", encoding="ascii")
        (home / name).chmod(0o644)
    prepare(home)
    assert open_to_others(home) == []
    assert (home / "secret_key").read_text(encoding="ascii") == "x"


def test_file_that_was_opened_later_is_closed_at_the_next_start(home: Path) -> None:
    prepare(home)
    (home / "secret_key").write_text("x", encoding="ascii")
    (home / "secret_key").chmod(0o640)
    prepare(home)
    assert open_to_others(home) == []


def test_folder_with_other_things_in_it_is_refused_and_not_changed(home: Path) -> None:
    (home / "holiday.jpg").write_text("x", encoding="ascii")
    with pytest.raises(OpenToOthers, match="chmod 700"):
        prepare(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o755
    assert [path.name for path in home.iterdir()] == ["holiday.jpg"]


def test_settings_refuse_such_a_folder_and_name_the_command(home: Path) -> None:
    (home / "holiday.jpg").write_text("x", encoding="ascii")
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "pkiportal.settings.embedded",
        "PKI_HOME": str(home),
    }
    command = [sys.executable, "manage.py", "check"]
    ran = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert ran.returncode != 0
    assert 'chmod 700 "$PKI_HOME"' in ran.stderr
    assert "PKI_HOME" in ran.stderr


def test_link_in_the_folder_leaves_its_target_alone(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("x", encoding="ascii")
    target.chmod(0o644)
    (home / "secret_key").write_text("x", encoding="ascii")
    (home / "link").symlink_to(target)
    prepare(home)
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_everything_that_the_portal_makes_is_its_owners_alone(home: Path) -> None:
    """The database and its -wal and -shm files while they are open, a mail, and a checkpoint."""
    code = (
        "import django, os, pathlib; os.umask(0o022); django.setup()\n"
        "from django.core.mail import send_mail\n"
        "from django.db import connection\n"
        "from audit.transparency.checkpoint import Statement\n"
        "from audit.transparency.signing_key import ensure_sealing_key, get_signer\n"
        "from audit.sinks import FileSink\n"
        "connection.cursor().execute('CREATE TABLE t (x)')\n"
        "send_mail('s', 'b', 'a@example.com', ['b@example.com'])\n"
        "ensure_sealing_key(); signer = get_signer()\n"
        "FileSink().publish(signer.sign(Statement(signer.name, 1, 1, bytes(32))))\n"
        "home = pathlib.Path(os.environ['PKI_HOME'])\n"
        "import json\n"
        "print(json.dumps([(p.name, oct(p.stat().st_mode & 0o777)) for p in home.iterdir()]))\n"
    )
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "pkiportal.settings.embedded",
        "PKI_HOME": str(home),
    }
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    modes = dict(json.loads(ran.stdout.splitlines()[-1]))
    assert {"portal.sqlite3", "portal.sqlite3-wal", "portal.sqlite3-shm", "mail"} <= set(modes)
    assert {"audit.key", "audit.pub", "checkpoints.log", "secret_key"} <= set(modes)
    assert [name for name, mode in modes.items() if not mode.endswith("00")] == []


def test_file_that_goes_while_the_folder_is_looked_through_stops_no_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite removes its -wal and -shm when the last command of a moment ends."""
    prepare(home)
    entries = [*home.iterdir(), home / "portal.sqlite3-wal"]
    monkeypatch.setattr(Path, "iterdir", lambda _self: iter(entries))
    prepare(home)


def test_first_starts_at_once_agree_on_one_secret(tmp_path: Path) -> None:
    """A file that is made first and written then is empty for a moment: its reader would sign with nothing."""
    for number in range(30):
        path, barrier = tmp_path / str(number), threading.Barrier(6)
        found: list[str] = []

        def start(path: Path = path, barrier: threading.Barrier = barrier, found: list[str] = found) -> None:
            barrier.wait(10)
            found.append(kept_secret(path))

        threads = [threading.Thread(target=start) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert found == [path.read_text()] * 6
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(list(tmp_path.iterdir())) == 30, "no drafts are left"


@pytest.mark.parametrize("content", [b"", b"zz", b"\xff" * 40])
def test_secret_that_was_lost_is_named_with_what_to_do(content: bytes, home: Path) -> None:
    """What a crash or a full disk left. Another secret made silently would end every second factor."""
    prepare(home)
    (home / "secret_key").write_bytes(content)
    environment = {"PATH": os.environ["PATH"], "PKI_HOME": str(home)}
    done = subprocess.run([sys.executable, "manage.py", "check"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "PKI_HOME has a file secret_key without the secret" in done.stderr
    assert "Put it back from a backup, or delete the file" in done.stderr
    assert "zz" not in done.stderr
    assert (home / "secret_key").read_bytes() == content


def test_empty_file_of_an_address_stands_in_no_certificate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a full disk leaves: every certificate would name a CRL without a host."""
    assert load(monkeypatch, "embedded", PKI_HOME=str(tmp_path))["PKI_BASE_URL"]
    (tmp_path / "portal_url").write_text("")
    assert load(monkeypatch, "embedded", PKI_HOME=str(tmp_path))["PKI_PORTAL_URL"] == "http://127.0.0.1:8000"
    (tmp_path / "base_url").write_text("\n")
    with pytest.raises(ImproperlyConfigured, match=r"^PKI_HOME has an empty file base_url"):
        load(monkeypatch, "embedded", PKI_HOME=str(tmp_path))
