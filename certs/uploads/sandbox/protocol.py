"""The protocol between the portal and the child process: one JSON line for the rules, one for each line of the upload. Pure."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import asdict
from datetime import date
from typing import Any

from certs.enums import RefusalClass
from certs.errors import CSRRefused, InputRefused
from certs.spec import CertificateSpec, IntakeDefaults
from certs.uploads.formats.columns import ColumnsNotKnown, Title
from certs.uploads.limits import Limits, Rules
from certs.uploads.line import Line
from keys.spec import KeySpec


def rules_to_wire(rules: Rules) -> bytes:
    """Return the rules as one line of JSON."""
    defaults = asdict(rules.defaults)
    defaults["today"] = rules.defaults.today.isoformat() if rules.defaults.today else None
    return (
        json.dumps(
            {
                "defaults": defaults,
                "domains": rules.domains,
                "limits": asdict(rules.limits),
                "label": rules.label,
                "mapped": [[place, title, column] for (place, title), column in rules.mapped.items()],
            }
        ).encode()
        + b"\n"
    )


def rules_from_wire(line: bytes) -> Rules:
    values = json.loads(line)
    defaults = values["defaults"]
    defaults |= {
        "key": KeySpec(defaults["key"]),
        "profiles": tuple(defaults["profiles"]),
        "today": date.fromisoformat(defaults["today"]) if defaults["today"] else None,
    }
    mapped = {(place, title): column for place, title, column in values["mapped"]}
    return Rules(IntakeDefaults(**defaults), tuple(values["domains"]), Limits(**values["limits"]), values["label"], mapped)


def line_to_wire(line: Line) -> bytes:
    """Return a line as a JSON list: an object would repeat the names of its fields ten thousand times."""
    values = [
        *(line.number, line.source, line.owner, line.notes, line.problem, line.field),
        *(line.problem_class, line.completed, _spec_to_wire(line.spec), line.given),
    ]
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def line_from_wire(values: list[Any]) -> Line:
    number, source, owner, notes, problem, field, problem_class, completed, wire_spec, given = values
    spec = _spec_from_wire(wire_spec)
    cells = tuple((column, text) for column, text in given)
    return Line(number, source, spec, owner, tuple(notes), problem, field, problem_class, tuple(completed), cells)


def _spec_to_wire(spec: CertificateSpec | None) -> list[Any] | None:
    if spec is None:
        return None
    csr, spki = (None if der is None else b64encode(der).decode() for der in (spec.csr_der, spec.spki_der))
    end = spec.not_after.isoformat() if spec.not_after else None
    return [spec.common_name, spec.dns_names, spec.ip_addresses, spec.key, spec.validity_days, spec.profile, csr, spki, end]


def _spec_from_wire(values: list[Any] | None) -> CertificateSpec | None:
    if values is None:
        return None
    common_name, dns_names, ip_addresses, key, days, profile, csr, spki, end = values
    csr_der, spki_der = (None if der is None else b64decode(der) for der in (csr, spki))
    not_after = date.fromisoformat(end) if end else None
    return CertificateSpec(common_name, tuple(dns_names), tuple(ip_addresses), key, days, profile, csr_der, spki_der, not_after)


def refusal_to_wire(refused: InputRefused) -> bytes:
    """Return the refusal of the whole upload as one line of JSON."""
    values: dict[str, Any] = {"message": refused.message, "field": refused.field, "next_step": refused.next_step}
    if isinstance(refused, CSRRefused):
        values |= {"refusal": str(refused.refusal), "exposed_keys": refused.exposed_keys}
    if isinstance(refused, ColumnsNotKnown):
        values["titles"] = [[title.place, title.text, title.column] for title in refused.titles]
    return json.dumps({"refused": values}).encode() + b"\n"


def refusal_from_wire(values: dict[str, Any]) -> InputRefused:
    field, next_step = values["field"], values["next_step"]
    if "refusal" in values:
        refusal, exposed = RefusalClass(values["refusal"]), tuple(values["exposed_keys"])
        return CSRRefused(refusal, values["message"], field=field, next_step=next_step, exposed_keys=exposed)
    if "titles" in values:
        titles = [Title(place, text, column) for place, text, column in values["titles"]]
        return ColumnsNotKnown(values["message"], next_step=next_step, titles=titles)
    return InputRefused(values["message"], field=field, next_step=next_step)
