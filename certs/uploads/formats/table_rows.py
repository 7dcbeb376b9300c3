"""Make a line of a bulk order of one row of a table. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from certs.enums import RefusalClass
from certs.errors import CSRRefused, InputRefused, NotUnderstood, sentence
from certs.language.grammar import parse_key
from certs.language.hosts import Host, host_of
from certs.spec import CertificateSpec, IntakeDefaults, Validity
from certs.uploads.formats.columns import COLUMNS, Header
from certs.uploads.formats.pem_bundle import judge_request, refused_line, request_spec, stripped_notes
from certs.uploads.formats.validity_cell import read_validity
from certs.uploads.limits import Rules
from certs.uploads.line import Line
from certs.x509.csr.gate import CSRFacts
from keys.spec import KeySpec

_BUILT_IN_PROFILES = ("tls-server", "tls-client")
_OWNER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAMES_SHOWN = 5
_KEPT_CHARS = 2000  # of a cell that a person may correct
_KEYS = "RSA 3072, RSA 4096, P-256, P-384, Ed25519"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table, unchecked. `cells` are in the order of COLUMNS; `extra` is the first cell with content that has no title."""

    number: int
    cells: tuple[str, ...]
    extra: str = ""
    notes: tuple[str, ...] = ()  # what the spreadsheet program may hide from a person

    @property
    def source(self) -> str:
        return f"row {self.number}"

    @property
    def csr(self) -> str:
        return self.cells[COLUMNS.index("csr")]


def row_of(number: int, cells: Sequence[str], header: Header) -> Row:
    """Return the cells of a row in the order of COLUMNS; missing ones are empty."""
    given = {column: cells[place].strip() for column, place in header.places.items() if place < len(cells)}
    under_no_title = [cells[place] for place in header.unnamed if place < len(cells)] + list(cells[header.width :])
    return Row(number, tuple(given.get(column, "") for column in COLUMNS), next((cell for cell in under_no_title if cell.strip()), ""))


def row_line(row: Row, rules: Rules) -> Line:
    """Return the line of a row; a refusal becomes its `problem`. Raises CSRRefused for `secret_pasted` only."""
    cells = dict(zip(COLUMNS, row.cells, strict=True))
    owner = cells["owner"] if _OWNER.fullmatch(cells["owner"]) else ""
    try:
        _check_row(row, owner)
        spec, notes, completed = (_spec_of_csr if cells["csr"] else _spec_of_cells)(cells, rules)
    except CSRRefused as refused:
        if refused.refusal is RefusalClass.SECRET_PASTED:
            raise
        return replace(refused_line(row.number, row.source, refused, owner=owner), notes=row.notes)
    except InputRefused as refused:
        problem = f"{refused.message} {refused.next_step}".strip()
        given = tuple((column, text[:_KEPT_CHARS]) for column, text in cells.items() if text and column != "csr")
        return Line(row.number, row.source, None, owner=owner, notes=row.notes, problem=problem, field=refused.field, given=given)
    return Line(row.number, row.source, spec, owner=owner, notes=(*row.notes, *notes), completed=completed)


def _check_row(row: Row, owner: str) -> None:
    if row.extra:
        raise InputRefused(
            "A cell has no title.", field="row", next_step="Give its column a title, or quote cells that hold the separator."
        )
    if row.cells[COLUMNS.index("owner")] and not owner:
        raise InputRefused("This is no team.", field="owner", next_step="Write the team's short name: letters, digits, - and _.")


def _spec_of_cells(cells: dict[str, str], rules: Rules) -> tuple[CertificateSpec, list[str], tuple[str, ...]]:
    """Return the specification of a certificate whose key the portal makes, the notes, and the completed names. Raises InputRefused."""
    notes: list[str] = []
    hosts = _hosts(cells, rules, notes)
    if not hosts:
        raise InputRefused("The row names no host.", field="name", next_step="Fill in name, sans or csr.")
    dns = tuple(host.name for host in hosts if not host.is_ip)
    key = _key(cells["key"], rules.defaults, notes)
    validity = _validity(cells["validity_days"], rules.defaults, notes)
    spec = CertificateSpec(
        common_name=dns[0] if dns else hosts[0].name,
        dns_names=dns,
        ip_addresses=tuple(host.name for host in hosts if host.is_ip),
        key=key.value,
        validity_days=validity.days,
        not_after=validity.not_after,
        profile=_profile(cells["profile"], rules.defaults, notes),
    )
    return spec, notes, tuple(host.name for host in hosts if host.completed)


def _spec_of_csr(cells: dict[str, str], rules: Rules) -> tuple[CertificateSpec, list[str], tuple[str, ...]]:
    """Return the same for a row with a CSR. Raises InputRefused where another cell contradicts the CSR, CSRRefused as the gate does."""
    facts = judge_request(cells["csr"].encode("utf-8", "replace"), rules)
    _check_agreement(cells, facts, rules)
    notes = list(stripped_notes(facts))
    validity, profile = _validity(cells["validity_days"], rules.defaults, notes), _profile(cells["profile"], rules.defaults, notes)
    return request_spec(facts, validity, profile), notes, ()


def _check_agreement(cells: dict[str, str], facts: CSRFacts, rules: Rules) -> None:
    theirs = (*facts.dns_names, *facts.ip_addresses)
    first = theirs[0]  # the common name; the first address of a CSR without DNS names
    named = [host.name for host in _hosts(cells | {"sans": ""}, rules, [])]
    if named and named[0] != first:
        raise _disagrees("name", first)
    names = {host.name for host in _hosts(cells, rules, [])}
    if cells["sans"] and names | {first} != {*theirs}:
        raise _disagrees("sans", ", ".join(theirs[:_NAMES_SHOWN]))
    if cells["key"] and _key(cells["key"], rules.defaults, []).value != facts.key.name:
        raise _disagrees("key", facts.key.label)


def _disagrees(column: str, theirs: str) -> InputRefused:
    return InputRefused(
        f"The CSR has {theirs}, this column something else.", field=column, next_step="Leave the column empty, or make a new CSR."
    )


def _hosts(cells: dict[str, str], rules: Rules, notes: list[str]) -> list[Host]:
    """Return the names of one certificate, each once, the common name first."""
    given = [("name", cells["name"])] if cells["name"] else []
    given += [("sans", text) for text in re.split(r"[\s,;]+", cells["sans"]) if text]
    if len(given) > rules.limits.max_names:
        raise InputRefused(
            f"{len(given)} names are more than the {rules.limits.max_names} of one certificate.",
            field="sans",
            next_step="Spread them over several rows.",
        )
    hosts: dict[str, Host] = {}
    for column, text in given:
        host = _host(text, column, rules.defaults.domain)
        hosts.setdefault(host.name, host)
    completed = [host.name for host in hosts.values() if host.completed]
    if completed:
        more = f" and {len(completed) - _NAMES_SHOWN} more" if len(completed) > _NAMES_SHOWN else ""
        notes.append(f"Completed with the default domain {rules.defaults.domain}: {', '.join(completed[:_NAMES_SHOWN])}{more}")
    notes += [f"{host.converted_from} is written {host.name} in a certificate" for host in hosts.values() if host.converted_from][
        :_NAMES_SHOWN
    ]
    return list(hosts.values())


def _host(text: str, column: str, domain: str) -> Host:
    if re.search(r"[\s,;]", text):
        raise InputRefused(
            f"{text[:80]!r} is more than one name.", field=column, next_step="Put one in the column name, the others in sans."
        )
    try:
        return host_of(text, 0, domain)
    except NotUnderstood as refused:
        raise InputRefused(sentence(refused.message), field=column, next_step="For example api.example.com.") from refused


def _key(text: str, defaults: IntakeDefaults, notes: list[str]) -> KeySpec:
    if not text:
        notes.append(f"Key {defaults.key.label}: the policy's default")
        return defaults.key
    try:
        key, more = _key_words(text, defaults)
    except NotUnderstood as refused:
        raise InputRefused(sentence(refused.message), field="key", next_step=f"For example {_KEYS}.") from refused
    notes += more
    return key


def _validity(text: str, defaults: IntakeDefaults, notes: list[str]) -> Validity:
    if not text:
        notes.append(defaults.validity_note)
        return Validity(defaults.validity_days)
    validity, more = read_validity(text, defaults)
    notes += more
    return validity


# A table has the same few keys and validities again and again.
@lru_cache(maxsize=1024)
def _key_words(text: str, defaults: IntakeDefaults) -> tuple[KeySpec, tuple[str, ...]]:
    return parse_key(f"{text} bits" if text.isdecimal() else text, defaults)


def _profile(text: str, defaults: IntakeDefaults, notes: list[str]) -> str:
    if not text:
        notes.append(f"Profile {defaults.profile}: the policy's default")
        return defaults.profile
    low = re.sub(r"[\s_]+", "-", text.casefold())
    known = tuple(dict.fromkeys((*defaults.profiles, *_BUILT_IN_PROFILES)))
    for name in (low, f"tls-{low}"):
        if name in known:
            return name
    raise InputRefused(f"There is no profile {text[:64]!r}.", field="profile", next_step=f"There are {', '.join(known)}.")
