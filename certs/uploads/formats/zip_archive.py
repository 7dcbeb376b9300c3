"""Read zip files: check their limits before anything is unpacked, then read entry by entry, in memory only. Pure."""

from __future__ import annotations

import io
import zipfile
import zlib

from certs.errors import InputRefused
from certs.uploads.formats.csv_table import too_many_lines
from certs.uploads.formats.pem_bundle import RequestFound, count_objects, split_requests
from certs.uploads.limits import MB, Limits
from certs.uploads.line import Line
from certs.uploads.secret_scan import refuse_secret_bytes, refuse_secrets, refuse_secrets_around_requests

MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_CENTRAL_ENTRY = b"PK\x01\x02"
_RATIO_MATTERS_ABOVE = 100_000  # bytes: small text may well shrink a hundredfold
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_REQUEST_ENDINGS = (".csr", ".pem", ".der", ".req", ".p10", ".txt")
# What macOS, Windows and Linux put beside people's files, in any folder.
_SYSTEM_FOLDERS = ("__macosx", ".trashes", ".fseventsd", ".spotlight-v100", "$recycle.bin", "@eadir")
_SYSTEM_FILES = (".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory", ".localized", "icon\r")
_SYSTEM_PREFIXES = ("._", "~$", ".~lock.")
_WANTED = "Put only CSRs into the zip: .csr, .pem, .der or .req."
_SHOWN = 120  # characters of an entry's name


def open_archive(data: bytes, limits: Limits) -> zipfile.ZipFile:
    """Open a zip file. Raises InputRefused for one that is damaged, encrypted, or would exceed the limits when unpacked."""
    # Each entry of the directory begins with this: an upper bound before a directory of millions is read.
    entries = data.count(_CENTRAL_ENTRY)
    if entries > limits.max_zip_entries:
        raise InputRefused(
            f"The zip has {entries:,} entries, more than {limits.max_zip_entries:,}.", field="file", next_step="Split it into several."
        )
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, EOFError) as error:
        raise _damaged() from error
    _check_entries(archive.infolist(), len(data), limits)
    return archive


def _check_entries(entries: list[zipfile.ZipInfo], packed: int, limits: Limits) -> None:
    if any(entry.flag_bits & _ENCRYPTED for entry in entries):
        raise InputRefused(
            "The file is protected by a password.", field="file", next_step="Save it without a password; CSRs are not secret."
        )
    if any(entry.compress_type not in _METHODS for entry in entries):
        raise InputRefused(
            "The zip is packed in an unusual way.", field="file", next_step="Pack it with deflate, as every zip program does."
        )
    total = sum(entry.file_size for entry in entries)
    if total > limits.max_unzipped_bytes:
        raise InputRefused(
            f"Unpacked it would have {total // MB:,} MB, more than {limits.max_unzipped_bytes // MB:,} MB.",
            field="file",
            next_step="Split it into several files.",
        )
    if any(entry.file_size > max(_RATIO_MATTERS_ABOVE, limits.max_zip_ratio * entry.compress_size) for entry in entries):
        raise InputRefused(
            f"A part of it is packed more than {limits.max_zip_ratio} times smaller than it is, as only a trap is.",
            field="file",
            next_step="Delete empty rows and columns from a workbook; pack CSRs anew.",
        )
    in_proportion = limits.always_unzipped_bytes + limits.max_unzipped_ratio * packed
    if total > in_proportion:
        raise InputRefused(
            f"Unpacked it would have {total // MB:,} MB, more than the {in_proportion // MB:,} MB that {packed / MB:.1f} MB may become.",
            field="file",
            next_step="Pack only CSRs, or a table without empty rows and columns; else split it into several files.",
        )


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Return the content of an entry. Raises InputRefused where it is not as long as the directory says, which was checked before."""
    try:
        with archive.open(entry) as content:
            data = content.read(entry.file_size + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, OSError, RuntimeError) as error:
        raise _damaged() from error
    if len(data) != entry.file_size:
        raise _damaged()
    return data


def _damaged() -> InputRefused:
    return InputRefused("The zip is damaged, or its directory is wrong.", field="file", next_step="Pack it again.")


def requests_in(archive: zipfile.ZipFile, limits: Limits) -> list[RequestFound | Line]:
    """Return the CSRs of the zip in order, and for every other file a line with the reason why it is no CSR.

    Folders and files that operating systems add by themselves are ignored. Raises InputRefused for
    too many CSRs or none, CSRRefused (`secret_pasted`).
    """
    found: list[RequestFound | Line] = []
    refuse_secrets("\n".join(archive.namelist()))
    for entry in archive.infolist():
        if _is_folder(entry) or _is_of_the_system(entry.filename):
            continue
        found += _read(archive, entry, len(found) + 1, limits)
        if len(found) > limits.max_lines:
            raise too_many_lines(limits)
    if not found:
        raise InputRefused("There is no CSR in the zip.", field="file", next_step=_WANTED)
    return found


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, number: int, limits: Limits) -> list[RequestFound | Line]:
    name = shown(_path(entry.filename))
    if _leads_outside(entry.filename):
        return [_none(number, name, "Its path leads out of the zip. Pack the folder itself, without absolute paths or '..'.")]
    try:
        data = read_entry(archive, entry)
    except InputRefused:
        return [_none(number, name, "It is damaged in the zip. Pack it again.")]
    if not _may_be_request(entry.filename, data):
        refuse_secret_bytes(data)
        refuse_secrets(data.decode("utf-8", "replace"))
        return [_none(number, name, f"It is not a CSR, and was not looked at further. {_WANTED}")]
    refuse_secrets_around_requests(data.decode("utf-8", "replace"))
    if number - 1 + count_objects(data) > limits.max_lines:
        raise too_many_lines(limits)
    pieces = split_requests(data)
    if len(pieces) == 1:
        return [RequestFound(number, name, data)]
    return [RequestFound(number + place, f"{name}, CSR {place + 1}", piece) for place, piece in enumerate(pieces)]


def _none(number: int, name: str, problem: str) -> Line:
    return Line(number, name, None, problem=problem, field="file")


def _may_be_request(name: str, data: bytes) -> bool:
    """Return whether a file may be a CSR, by the ending of its name or by its content."""
    binary = data[:1] == b"\x30" and not data.isascii()
    return binary or name.lower().endswith(_REQUEST_ENDINGS) or b"CERTIFICATE REQUEST-----" in data


def _leads_outside(name: str) -> bool:
    path = _path(name)
    return path.startswith("/") or ".." in path.split("/") or path[1:2] == ":"


def _path(name: str) -> str:
    """Return a path with slashes. Some programs write backslashes, which APPNOTE 4.4.17.1 forbids."""
    return name.replace("\\", "/")


def _is_folder(entry: zipfile.ZipInfo) -> bool:
    return entry.is_dir() or (entry.file_size == 0 and _path(entry.filename).endswith("/"))


def _is_of_the_system(name: str) -> bool:
    *folders, last = _path(name).lower().split("/")
    return bool({*folders} & {*_SYSTEM_FOLDERS}) or last in _SYSTEM_FILES or last.startswith(_SYSTEM_PREFIXES)


def shown(name: str) -> str:
    """Return a file name for a page, a log or a terminal: printable characters only, the end of a long one."""
    clean = "".join(char if char.isprintable() else "?" for char in name)
    return clean if len(clean) <= _SHOWN else f"…{clean[-_SHOWN:]}"
