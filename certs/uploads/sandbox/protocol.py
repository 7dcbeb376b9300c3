"""What goes between the portal and the process that reads an upload: one JSON line for the rules, one for each answer. Pure."""

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
    """One line."""
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
    told = json.loads(line)
    defaults = told["defaults"]
    defaults |= {
        "key": KeySpec(defaults["key"]),
        "profiles": tuple(defaults["profiles"]),
        "today": date.fromisoformat(defaults["today"]) if defaults["today"] else None,
    }
    mapped = {(place, title): column for place, title, column in told["mapped"]}
    return Rules(IntakeDefaults(**defaults), tuple(told["domains"]), Limits(**told["limits"]), told["label"], mapped)


def line_to_wire(line: Line) -> bytes:
    """One line of JSON, a list: its words are said ten thousand times."""
    told = [
        *(line.number, line.source, line.owner, line.notes, line.problem, line.field),
        *(line.problem_class, line.completed, _spec_to_wire(line.spec), line.given),
    ]
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def line_from_wire(told: list[Any]) -> Line:
    number, source, owner, notes, problem, field, problem_class, completed, wire_spec, given = told
    spec = _spec_from_wire(wire_spec)
    cells = tuple((column, text) for column, text in given)
    return Line(number, source, spec, owner, tuple(notes), problem, field, problem_class, tuple(completed), cells)


def _spec_to_wire(spec: CertificateSpec | None) -> list[Any] | None:
    if spec is None:
        return None
    csr, spki = (None if der is None else b64encode(der).decode() for der in (spec.csr_der, spec.spki_der))
    end = spec.not_after.isoformat() if spec.not_after else None
    return [spec.common_name, spec.dns_names, spec.ip_addresses, spec.key, spec.validity_days, spec.profile, csr, spki, end]


def _spec_from_wire(told: list[Any] | None) -> CertificateSpec | None:
    if told is None:
        return None
    common_name, dns_names, ip_addresses, key, days, profile, csr, spki, end = told
    csr_der, spki_der = (None if der is None else b64decode(der) for der in (csr, spki))
    not_after = date.fromisoformat(end) if end else None
    return CertificateSpec(common_name, tuple(dns_names), tuple(ip_addresses), key, days, profile, csr_der, spki_der, not_after)


def refusal_to_wire(refused: InputRefused) -> bytes:
    """Of the whole upload."""
    told: dict[str, Any] = {"message": refused.message, "field": refused.field, "next_step": refused.next_step}
    if isinstance(refused, CSRRefused):
        told |= {"refusal": str(refused.refusal), "exposed_keys": refused.exposed_keys}
    if isinstance(refused, ColumnsNotKnown):
        told["titles"] = [[title.place, title.text, title.column] for title in refused.titles]
    return json.dumps({"refused": told}).encode() + b"\n"


def refusal_from_wire(told: dict[str, Any]) -> InputRefused:
    field, next_step = told["field"], told["next_step"]
    if "refusal" in told:
        refusal, exposed = RefusalClass(told["refusal"]), tuple(told["exposed_keys"])
        return CSRRefused(refusal, told["message"], field=field, next_step=next_step, exposed_keys=exposed)
    if "titles" in told:
        titles = [Title(place, text, column) for place, text, column in told["titles"]]
        return ColumnsNotKnown(told["message"], next_step=next_step, titles=titles)
    return InputRefused(told["message"], field=field, next_step=next_step)
