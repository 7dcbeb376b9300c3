"""CSRs of an upload: split a text into CSRs, check each at the CSR gate, and make a line of it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from certs.enums import RefusalClass
from certs.errors import CSRRefused
from certs.language.kept_csr import kept_csr
from certs.spec import CertificateSpec, Validity
from certs.uploads.limits import Rules
from certs.uploads.line import Line
from certs.uploads.secret_scan import refuse_secrets, secret_in_upload
from certs.x509.csr.gate import LARGEST_LOOKED_INTO, CSRFacts, read_csr

_BEGIN = re.compile(rb"-----BEGIN [^\r\n-]{1,60}-----")


@dataclass(frozen=True, slots=True)
class RequestFound:
    """Bytes that should be a CSR, unchecked."""

    number: int
    source: str
    data: bytes


def count_objects(data: bytes) -> int:
    """Return how many PEM objects begin in it."""
    return len(_BEGIN.findall(data))


def split_requests(data: bytes) -> list[bytes]:
    """Split a text before each BEGIN line; the text before the first one belongs to the first piece.

    Every byte is in exactly one piece, so a broken block affects no other CSR. A text with one object
    or none is returned whole.
    """
    starts = [match.start() for match in _BEGIN.finditer(data)]
    if len(starts) < 2:
        return [data]
    starts[0] = 0
    return [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]


def judge_request(data: bytes, rules: Rules) -> CSRFacts:
    """Check a CSR at the gate of every channel. Raises CSRRefused; `secret_pasted`, for a private key in its place, refuses the
    whole upload.
    """
    if len(data) > LARGEST_LOOKED_INTO:
        refuse_secrets(data.decode("latin-1"))  # the gate refuses such a size without looking into it
    try:
        return read_csr(data, domains=rules.domains, max_names=rules.limits.max_names, max_bytes=rules.limits.max_csr_bytes)
    except CSRRefused as refused:
        if refused.refusal is RefusalClass.SECRET_PASTED:
            raise secret_in_upload("private key", refused.exposed_keys) from refused
        if refused.field == "public_key":
            refused.next_step = f"Make a new key, for example {rules.defaults.key.label}."
        raise


def request_line(found: RequestFound, rules: Rules) -> Line:
    """Return the line of a CSR; a refusal becomes its `problem`. Raises CSRRefused for `secret_pasted` only."""
    try:
        facts = judge_request(found.data, rules)
    except CSRRefused as refused:
        if refused.refusal is RefusalClass.SECRET_PASTED:
            raise
        return refused_line(found.number, found.source, refused)
    defaults = rules.defaults
    notes = (
        *stripped_notes(facts),
        defaults.validity_note,
        f"Profile {defaults.profile}: the policy's default",
    )
    return Line(found.number, found.source, request_spec(facts, Validity(defaults.validity_days), defaults.profile), notes=notes)


def request_spec(facts: CSRFacts, validity: Validity, profile: str) -> CertificateSpec:
    """Return the specification of a CSR; see `kept_csr` for whether its octets are stored."""
    return CertificateSpec(
        common_name=facts.common_name,
        dns_names=facts.dns_names,
        ip_addresses=facts.ip_addresses,
        key=facts.key.name,
        validity_days=validity.days,
        not_after=validity.not_after,
        profile=profile,
        csr_der=kept_csr(facts),
        spki_der=facts.spki_der,
    )


def stripped_notes(facts: CSRFacts) -> tuple[str, ...]:
    stripped = tuple(f"Not taken over from the CSR: {what}" for what in facts.stripped)
    return stripped + tuple(f"Changed while the CSR was read: {what}" for what in facts.repairs)


def refused_line(number: int, source: str, refused: CSRRefused, *, owner: str = "") -> Line:
    problem = f"{refused.message} {refused.next_step}".strip()
    return Line(number, source, None, owner=owner, problem=problem, field=refused.field, problem_class=str(refused.refusal))
