"""Files that commands write are there whole, or as they were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError

from audit.files import write_whole


def test_file_is_replaced_whole_and_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    folder = tmp_path / "crls"
    folder.mkdir()
    real, link = folder / "real.crl", folder / "public.crl"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    assert write_whole(link, [b"new ", b"content"]) == 2
    assert (real.read_bytes(), real.stat().st_mode & 0o777, link.is_symlink()) == (b"new content", 0o640, True)
    assert sorted(folder.iterdir()) == [link, real]


def broken() -> Iterator[bytes]:
    yield b"half"
    raise RuntimeError("the database went away")


def test_file_stays_as_it_was_when_its_content_breaks_off(tmp_path: Path) -> None:
    path = tmp_path / "registers" / "register.csv"
    path.parent.mkdir()
    path.write_bytes(b"yesterday's")
    with pytest.raises(RuntimeError):
        write_whole(path, broken())
    assert (path.read_bytes(), list(path.parent.iterdir())) == (b"yesterday's", [path])


@pytest.mark.parametrize("path", ["/dev/full", "/nonexistent/x", "/proc/x", "."])
def test_place_that_cannot_be_written_is_named_with_what_to_do(path: str) -> None:
    with pytest.raises(CommandError, match=rf"{path} cannot be written: .*run the command again") as caught:
        write_whole(Path(path), [b"x"])
    assert caught.value.returncode == 1


def test_device_is_written_as_it_is() -> None:
    assert write_whole(Path("/dev/null"), [b"x", b"y"]) == 2
