"""The sentences of a report: what a reader sees first, in the mail's subject and at the top of the page."""

from __future__ import annotations

from typing import Any

from certs.reports.weeks import Week


def sentence(facts: dict[str, Any]) -> str:
    """Return the first sentence: whether anything needs a person."""
    things = [f"{kind['count']:,} {_small(kind['label'])}" for kind in facts["needs"]] + _machinery(facts)
    if not things:
        return "Nothing needs a person."
    return f"This needs a person: {'; '.join(things)}."


def subject(facts: dict[str, Any]) -> str:
    """Return the mail's subject: the figure that matters first."""
    week = Week.parse(facts["week"])
    wanted = sum(kind["count"] for kind in facts["needs"]) + len(_machinery(facts))
    first = f"{wanted:,} need a person" if wanted else "nothing needs a person"
    percent = facts["compliance"]["percent"]
    compliant = f", {percent:.1f} % compliant" if percent is not None else ""
    return f"Certificates, week {week.monday:%d %b} to {week.sunday:%d %b}: {first}{compliant}"


def _machinery(facts: dict[str, Any]) -> list[str]:
    found = []
    audit = facts["audit"]
    if audit["problem"]:
        found.append("the audit log, or what it explains, was changed")
    if audit["late"]:
        found.append("the audit log has not been verified for two days")
    found += [f"the CRL of {one['issuer']} is not current" for one in facts["status"] if not one["crl_good"]]
    found += [f"OCSP of {one['issuer']} has no responder" for one in facts["status"] if one["ocsp"] and not one["ocsp_good"]]
    return found


def _small(label: str) -> str:
    return label[:1].lower() + label[1:]
