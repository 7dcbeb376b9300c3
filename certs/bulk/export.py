"""The results of an order as files: a ZIP of its certificates and CSV files, made while they are sent, a batch at a time."""

from __future__ import annotations

import csv
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from audit.events import EventType
from audit.log import Value, record
from certs.access.permissions import Authority
from certs.bulk.line_pages import SeenLine, Show, Teams, all_lines, line_batches, lines_of_teams
from certs.enums import RequestState
from certs.errors import NotFound
from certs.models import BulkOrder, Certificate, CertificateBody, CertificateRequest, Team
from certs.notifications.wording import so_many
from certs.uploads.formats.cells import safe_cell
from certs.x509.asn1.pem import pem_of
from certs.x509.certificate.chain import intermediates_of, root_of
from certs.x509.certificate.serial import format_serial
from db.clock import database_now

_UNSAFE = re.compile(r"[^a-z0-9.-]")
_NAME_CHARS = 200  # with number and ending below the 255 octets of most file systems
INVENTORY_COLUMNS = (
    *("line", "source", "name", "names", "cert_id", "serial_number", "status", "not_before", "not_after"),
    *("key", "sha256_fingerprint", "spki_sha256", "issuer", "profile", "team", "policy_version", "request", "requested_validity"),
)
PROBLEM_COLUMNS = ("line", "source", "name", "state", "reason", "what_would_pass", "request", "validity")


def certificates_zip(order: BulkOrder, teams: Teams) -> Iterator[bytes]:
    """Yield a ZIP: each certificate in force with its intermediates in a PEM file, and each root once, as
    `root.pem` (`root-2.pem`, ... of other CAs). Revoked certificates are left out.
    """
    sink, roots, chains = _Sink(), dict[str, Certificate](), dict[Any, str]()
    with zipfile.ZipFile(sink, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        for lines in line_batches(order, Show.ISSUED, teams=teams):
            good = [(line, one) for line in lines if (one := line.certificate) is not None and one.status == Certificate.Status.GOOD]
            # Bytes and chains are read apart: a certificate and its body that refer to each other would
            # stay in memory until the garbage collector finds them.
            bodies = CertificateBody.objects.filter(certificate__in=[one.pk for _, one in good])
            ders = dict(bodies.values_list("certificate_id", "der"))
            for line, certificate in good:
                if certificate.chain_id not in chains:
                    chains[certificate.chain_id] = certificate.chain.pem
                pem = chains[certificate.chain_id]
                archive.writestr(_entry(file_name(line), certificate), pem_of(bytes(ders[certificate.pk])) + intermediates_of(pem))
                roots.setdefault(root_of(pem), certificate)
                yield from sink.taken()
        archive.writestr(_entry_now("README.txt"), readme(order, teams))
        roots.pop("", None)  # a CA that does not hand out its root
        for number, (root, certificate) in enumerate(roots.items(), start=1):
            name = f"root-{number}.pem" if number > 1 else "root.pem"
            archive.writestr(_entry(name, certificate), root)
    yield from sink.taken()


def readme(order: BulkOrder, teams: Teams) -> str:
    """Return what the ZIP holds and what it leaves out: the text of its README, and of the page of the order."""
    tally = Counter(
        CertificateRequest.objects.filter(bulk_item__in=lines_of_teams(order, teams), state=RequestState.COMPLETED)
        .order_by()
        .values_list("csr_brought", flat=True)
    )
    lines = [
        f"Certificates of the order {order.public_id}",
        "",
        "In this file",
        "- One file for each certificate in force: the certificate and its intermediates, for a TLS server.",
        "- root.pem: what clients must trust.",
        "",
        "Not in this file",
        "- No private key is in this file.",
    ]
    if tally[True]:
        lines.append(f"- {so_many(tally[True], 'private key')}: made by those who sent the CSRs, and only there.")
    if tally[False]:
        lines.append(
            f"- {so_many(tally[False], 'private key')}: in the key store of the portal, and cannot be downloaded. "
            "Programs sign through the key store; a plain web server cannot use these certificates."
        )
    lines.append("- No certificate that was revoked, and no line that was refused, left out or failed: see problems.csv of the order.")
    return "\n".join(lines) + "\n"


def _entry_now(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=database_now().timetuple()[:6])
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    return entry


def _entry(name: str, certificate: Certificate) -> zipfile.ZipInfo:
    # With the time of the certificate: made twice, the file has the same entries. Readable for all, as certificates are public.
    entry = zipfile.ZipInfo(name, date_time=certificate.issued_at.timetuple()[:6])
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    return entry


def file_name(line: SeenLine) -> str:
    """Return a name such as `00017-api.example.com.pem`: unique by the line's number, without characters that file systems interpret."""
    name = (line.names or [""])[0].lower().replace("*", "wildcard")
    return f"{line.item.number:05d}-{_UNSAFE.sub('_', name)[:_NAME_CHARS].lstrip('.')}.pem"


def inventory_csv(order: BulkOrder, teams: Teams) -> Iterator[str]:
    """Yield a CSV with a row for each certificate of the order, whatever its status is now."""
    issued = all_lines(order, Show.ISSUED, teams=teams)
    return _rows(INVENTORY_COLUMNS, (_inventory_row(line, line.certificate) for line in issued if line.certificate))


def problems_csv(order: BulkOrder, teams: Teams) -> Iterator[str]:
    """Yield a CSV with a row for each line that was refused, cannot be read or failed, with the reason and what would pass."""
    return _rows(PROBLEM_COLUMNS, (_problem_row(line) for line in all_lines(order, Show.PROBLEMS, teams=teams)))


@dataclass(frozen=True, slots=True)
class Download:
    """A file whose parts are made while they are sent."""

    parts: Iterator[bytes] | Iterator[str]
    content_type: str
    filename: str


def download(order: BulkOrder, form: str, *, authority: Authority) -> Download:
    """Return what `file_of` returns, and record the download of certificates (one `certificate:downloaded` event)."""
    # Before the first byte: a download that breaks off has sent some of the certificates.
    found = file_of(order, form, authority=authority)
    if form != "problems.csv":
        _note(order, form, authority)
    return found


def file_of(order: BulkOrder, form: str, *, authority: Authority) -> Download:
    """Return one of FILES with the lines that the actor may see. Nothing is recorded, as for HEAD.

    Raises NotFound for another form, or an order that the actor may not see.
    """
    # Not NotPermitted: that would confirm to a stranger that there is an order of this id.
    if not authority.may_see(order):
        raise NotFound("There is no such bulk order.")
    if form not in FILES:
        raise NotFound(f"An order has no file {form}.", next_step=f"There are {', '.join(FILES)}.")
    make, content_type = FILES[form]
    return Download(make(order, authority.sees()), content_type, f"{order.public_id}-{form}")


@transaction.atomic
def _note(order: BulkOrder, form: str, authority: Authority) -> None:
    """Record one event for the download of a whole order, with the number of its certificates, not an event for each."""
    rows = Certificate.objects.filter(request__bulk_item__in=lines_of_teams(order, authority.sees()))
    # The ZIP is for servers and has certificates in force only; a CSV is an inventory and has all.
    count = rows.filter(status=Certificate.Status.GOOD).count() if form.endswith(".zip") else rows.count()
    data: dict[str, Value] = {"form": form, "certificates": count}
    seen, teams = authority.sees(), order.teams_of_lines()
    if seen is not None and not teams <= seen:
        # Of an order of several teams the file has a part: the history of the other certificates does not have it.
        data["teams"] = list(Team.objects.filter(pk__in=teams & seen).order_by("slug").values_list("slug", flat=True))
    record(EventType.CERTIFICATE_DOWNLOADED, subject=order.subject, actor=authority.actor, at=database_now(), data=data)


def _inventory_row(line: SeenLine, certificate: Certificate) -> Sequence[object]:
    return (
        line.item.number,
        line.item.source,
        certificate.common_name,
        " ".join(line.names),
        certificate.cert_id,
        format_serial(int(certificate.serial_number, 16)),
        certificate.status,
        f"{certificate.not_before:%Y-%m-%dT%H:%M:%SZ}",
        f"{certificate.not_after:%Y-%m-%dT%H:%M:%SZ}",
        certificate.key_type,
        certificate.sha256_fingerprint,
        certificate.spki_sha256,
        certificate.issuer.name,
        certificate.profile,
        certificate.team.slug,
        certificate.policy_version,
        line.request.public_id if line.request else "",
        _validity(line),
    )


def _problem_row(line: SeenLine) -> Sequence[object]:
    name = line.item.common_name
    return (line.item.number, line.item.source, name, line.state, line.reason, line.advice, line.request or "", _validity(line))


def _validity(line: SeenLine) -> str:
    return line.validity.written if line.validity else ""


def _rows(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    write: Callable[[Iterable[object]], str] = writer.writerow  # which returns what the file's write() returns
    yield write(columns)
    for row in rows:
        # What a sender wrote into a cell must not run as a formula where somebody opens the file.
        yield write([safe_cell(str(value)) for value in row])


FILES: dict[str, tuple[Callable[[BulkOrder, Teams], Iterator[bytes] | Iterator[str]], str]] = {
    "certificates.zip": (certificates_zip, "application/zip"),
    "inventory.csv": (inventory_csv, "text/csv; charset=utf-8"),
    "problems.csv": (problems_csv, "text/csv; charset=utf-8"),
}


class _Echo:
    """A file for csv.writer whose write() returns the line instead of keeping it."""

    def write(self, text: str) -> str:
        return text


class _Sink:
    """A file for zipfile without seek: what was written is taken out and sent."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """What is left is taken afterwards."""

    def taken(self) -> list[bytes]:
        parts, self._parts = self._parts, []
        return [b"".join(parts)] if parts else []
