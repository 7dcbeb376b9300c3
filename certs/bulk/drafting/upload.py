"""Uploads as lines: read in another process, completed with the team's domain and the policy's defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from django.conf import settings

from certs.enums import RefusalClass
from certs.errors import CSRRefused, InputRefused
from certs.requests.exposure.refused_secrets import refuse_secrets, report_secret
from certs.requests.plan import defaults_for
from certs.requests.submit import Requester
from certs.uploads import Limits, read_upload
from certs.uploads.formats.columns import COLUMNS, Mapped
from certs.uploads.formats.table_rows import Row, row_line
from certs.uploads.limits import Rules
from certs.uploads.line import Line
from certs.uploads.sandbox.concurrency import turn
from certs.uploads.secret_scan import refuse_secrets_around_requests
from certs.x509.dns_names import name_from_text, parse_ip_address
from db.clock import database_now


def read_lines(data: bytes, *, filename: str, requester: Requester, mapped: Mapped | None = None) -> Sequence[Line]:
    """Read an upload. `mapped`: what a person said the titles of a table mean.

    Raises ColumnsNotKnown where only a person can say that, InputRefused for a file that cannot be used at all; one line that cannot
    be used is reported in its place. Busy when this process reads PKI_BULK_READS_AT_ONCE others.

    A private key or token anywhere in it refuses the whole file; that is audited, and the text is kept nowhere.
    """
    # 1. Before anything of the file is looked at. Its name is a text of a person too, which pages show later.
    requester.check()
    refuse_secrets(filename, actor=requester.actor, team=requester.team.slug, field="file", channel=requester.channel)
    # 2. Read it in a child process, which a hostile file may crash or exhaust. A thread of this process waits for the child, so
    #    only a few are read at once.
    with turn(most=settings.PKI_BULK_READS_AT_ONCE), _secrets_on_record(requester, kind="secret in an upload", length=len(data)):
        rules = _rules(requester)
        return read_upload(
            data,
            filename=filename,
            defaults=rules.defaults,
            domains=rules.domains,
            limits=rules.limits,
            mapped=mapped,
        )


class NameNotComplete(InputRefused):
    """A table of a program has a name without its domain."""

    status = 400


def read_complete_lines(data: bytes, *, filename: str, requester: Requester) -> Sequence[Line]:
    """Read lines for a channel that shows no plan: a name is completed only where a person sees
    the completed name before it is ordered.

    Raises NameNotComplete, which names the first such line and the name that would pass.
    """
    lines = read_lines(data, filename=filename, requester=requester)
    bare = [(line.source, line.completed[0]) for line in lines if line.completed]
    if bare:
        source, name = bare[0]
        label = name.removesuffix(f".{requester.team.default_domain}")
        more = f" The same holds for {len(bare) - 1} more." if len(bare) > 1 else ""
        raise NameNotComplete(
            f"{source}: {label!r} is no full domain name. Nothing was ordered.{more}",
            field="file",
            next_step=f"Write the name with its domain, for example {name}.",
        )
    return lines


def lines_of_items(items: Sequence[Mapping[str, str]], *, requester: Requester) -> list[Line]:
    """Return items with the columns of a table, as REST sends them, as lines. Raises InputRefused for too many, CSRRefused for a secret."""
    requester.check()  # before anything of the items is looked at
    limit = settings.PKI_BULK_MAX_LINES
    if len(items) > limit:
        raise InputRefused(f"{len(items)} items are more than {limit}.", field="items", next_step="Send several orders.")
    rules = _rules(requester)
    # All of it is scanned before a line is read: a refusal of a line quotes what is wrong with it.
    rows = [Row(number, tuple(item.get(column, "").strip() for column in COLUMNS)) for number, item in enumerate(items, start=1)]
    text = "\n".join(cell for row in rows for cell in row.cells)
    with _secrets_on_record(requester, kind="secret in a bulk order", length=len(text)):
        refuse_secrets_around_requests(text)
        return [_item_line(row, rules) for row in rows]


def line_of_cells(number: int, cells: Mapping[str, str], *, requester: Requester) -> Line:
    """Read one row that a person wrote on a page. Raises CSRRefused for a secret in it.

    A bare label is completed as in a file: the page shows the name before anything is issued.
    """
    row = Row(number, tuple(cells.get(column, "").strip() for column in COLUMNS))
    text = "\n".join(row.cells)
    with _secrets_on_record(requester, kind="secret in a bulk order", length=len(text)):
        refuse_secrets_around_requests(text)
        return row_line(row, _rules(requester))


def _item_line(row: Row, rules: Rules) -> Line:
    """Return the line of an item. A bare label is completed only where the plan is shown before it is done; a program writes full names."""
    name, sans = row.cells[COLUMNS.index("name")], row.cells[COLUMNS.index("sans")]
    bare = next((text for text in (name, *sans.split()) if _is_bare(text)), None)
    source = f"item {row.number}"
    if bare is None:
        return replace(row_line(row, rules), source=source)
    problem = f"name: {bare[:64]!r} is no full domain name. For example api.{rules.defaults.domain or 'example.com'}."
    return Line(row.number, source, None, problem=problem, field="name")


def _is_bare(text: str) -> bool:
    """Return whether a domain would be added: a label alone, or a wildcard before one (`*.com`)."""
    name = name_from_text(text)
    return bool(name) and "." not in name.removeprefix("*.") and parse_ip_address(text) is None


def _rules(requester: Requester) -> Rules:
    limits = Limits(
        max_bytes=settings.PKI_BULK_MAX_BYTES,
        max_lines=settings.PKI_BULK_MAX_LINES,
        max_names=settings.PKI_MAX_NAMES,
        max_csr_bytes=settings.PKI_MAX_CSR_BYTES,
    )
    return Rules(defaults_for(requester.team, now=database_now()), requester.team.domain_names(), limits)


@contextmanager
def _secrets_on_record(requester: Requester, *, kind: str, length: int) -> Iterator[None]:
    """Record a refusal because of a secret: its class, length and the keys that it exposes, never the text."""
    try:
        yield
    except CSRRefused as refused:
        if refused.refusal is RefusalClass.SECRET_PASTED:
            report_secret(
                actor=requester.actor,
                team=requester.team.slug,
                channel=requester.channel,
                kind=kind,
                length=length,
                exposed_keys=refused.exposed_keys,
            )
        raise
