"""The sentences of a report: what a reader sees first, in the mail's subject and at the top of the page."""

from __future__ import annotations

from typing import Any

from certs.reports.weeks import Week

_PLURALS = ("renewals", "certificates", "approvals", "requests")


def sentence(facts: dict[str, Any]) -> str:
    """Return the first sentence: whether anything needs a person."""
    things = [f"{kind['count']:,} {_small(kind['label'], kind['count'])}" for kind in facts["needs"]] + _machinery(facts)
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
    return f"Certificates, week {week.monday.day} {week.monday:%b} to {week.sunday.day} {week.sunday:%b}: {first}{compliant}"


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


def _small(label: str, count: int) -> str:
    """Return the label of a list within a sentence, where its first word is a plural: "1 renewal that failed"."""
    words = label[:1].lower() + label[1:]
    first, _, rest = words.partition(" ")
    return f"{first.removesuffix('s')} {rest}" if count == 1 and first in _PLURALS else words
