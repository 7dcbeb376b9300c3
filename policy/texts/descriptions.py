"""One description of each rule: its sentences and its fields. Pages, forms and differences come from it.

A field has a path into the rule's JSON (`rsa.min_bits`). Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from policy.rules.approval_terms import ApprovalTerms
from policy.rules.base import Rule, listed
from policy.rules.keys import OFFERED, AllowedKeys, KeyReuseAtRenewal
from policy.rules.names import (
    AllowedNames,
    Duplicates,
    IPAddresses,
    MaxNames,
    RequireSAN,
    Wildcards,
)
from policy.rules.profiles import KNOWN_EKUS, AllowedProfiles
from policy.rules.ruleset import RULES, RuleSet
from policy.rules.validity import MaxValidity


class Kind(StrEnum):
    """How a field is typed, and what its value is in JSON."""

    NUMBER = "number"
    OPTIONAL_NUMBER = "optional number"  # empty: no limit
    SWITCH = "switch"
    CHOICE = "choice"
    SIZES = "sizes"  # some of a few numbers
    LINES = "lines"  # one text a line
    STEPS = "steps"  # `2027-03-15 100` a line: from that day on at most so many days
    PROFILES = "profiles"  # `tls-server: serverAuth, clientAuth` a line


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a rule. `choices` are values with their words; `unit` stands behind a number."""

    path: str
    label: str
    kind: Kind
    minimum: int = 0
    maximum: int = 0
    choices: tuple[tuple[str, str], ...] = ()
    unit: str = ""
    help: str = ""


@dataclass(frozen=True, slots=True)
class Description:
    """What a rule is about, its fields, and its sentences for given parameters."""

    rule: type[Rule]
    about: str
    fields: tuple[Field, ...]
    sentences: Callable[[Any], Sequence[str]]
    may_be_left_out: bool = False

    @property
    def name(self) -> str:
        """Return the rule's name in JSON and in forms."""
        return self.rule.name

    @property
    def label(self) -> str:
        """Return what people call the rule."""
        return self.rule.label


_DECISIONS = (("allow", "allowed"), ("approval", "needs an approval"), ("deny", "refused"))
_DECIDED = {"allow": "is allowed", "approval": "needs an approval", "deny": "is refused"}


def day(moment: date) -> str:
    """Return a date as sentences write it: 15 Dec 2026."""
    return f"{moment.day} {moment:%b %Y}"


def plural(number: int, word: str) -> str:
    """Return `1 day`, `2 days`."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def _keys(rule: AllowedKeys) -> Sequence[str]:
    found = [f"RSA keys of {rule.rsa[0]} to {rule.rsa[1]} bits are allowed."] if rule.rsa else ["RSA keys are refused."]
    curves = [f"P-{size}" for size in rule.ec]
    found.append(f"Elliptic curves {listed(tuple(curves), 'and')} are allowed." if curves else "ECDSA keys are refused.")
    found += ["Ed25519 keys are allowed."] if rule.ed25519 else []
    sets = [f"ML-DSA-{size}" for size in rule.ml_dsa]
    return found + ([f"{listed(tuple(sets), 'and')} are allowed."] if sets else [])


def _reuse(rule: KeyReuseAtRenewal) -> Sequence[str]:
    if not rule.allowed:
        return ["Every renewal makes a new key."]
    limits = [f"the key is at most {plural(rule.max_age_days, 'day')} old"] if rule.max_age_days else []
    limits += [f"it served fewer than {plural(rule.max_certificates, 'certificate')}"] if rule.max_certificates else []
    return [f"A renewal may keep its key{' while ' if limits else ''}{' and '.join(limits)}."]


def _validity(rule: MaxValidity) -> Sequence[str]:
    return [
        f"At most {plural(rule.days, 'day')}.",
        *(f"At most {plural(days, 'day')} from {day(start)}." for start, days in rule.schedule),
    ]


def _profiles(rule: AllowedProfiles) -> Sequence[str]:
    return [f"Profile {name} is allowed, with {listed(ekus, 'and')}." for name, ekus in rule.profiles]


def _networks(rule: IPAddresses) -> Sequence[str]:
    inside = listed(rule.networks) if rule.networks else ""
    return [f"IP addresses inside {inside} are allowed." if inside else "IP addresses are refused."]


def _wildcards(rule: Wildcards) -> Sequence[str]:
    return [
        f"A wildcard {_DECIDED[rule.decision]}.",
        f"A wildcard over a whole domain of the team {_DECIDED[rule.whole_domain]}.",
    ]


_NONE: tuple[Field, ...] = ()
_ALL: tuple[Description, ...] = (
    Description(
        AllowedKeys,
        "Which keys are strong enough.",
        (
            Field("rsa.min_bits", "RSA from", Kind.OPTIONAL_NUMBER, 2048, 8192, unit="bits", help="Empty: no RSA key."),
            Field("rsa.max_bits", "RSA to", Kind.OPTIONAL_NUMBER, 2048, 16384, unit="bits"),
            Field("ec", "Elliptic curves", Kind.SIZES, choices=tuple((str(n), f"P-{n}") for n in OFFERED["ec"])),
            Field("ed25519", "Ed25519", Kind.SWITCH),
            Field("ml-dsa", "ML-DSA", Kind.SIZES, choices=tuple((str(n), f"ML-DSA-{n}") for n in OFFERED["ml-dsa"])),
        ),
        _keys,
    ),
    Description(
        KeyReuseAtRenewal,
        "Whether a renewal may keep its key.",
        (
            Field("allowed", "A renewal may keep its key", Kind.SWITCH),
            Field("max_age_days", "Oldest key", Kind.OPTIONAL_NUMBER, 1, 36500, unit="days", help="Empty: no limit."),
            Field("max_certificates", "Certificates on one key", Kind.OPTIONAL_NUMBER, 1, 100_000, help="Empty: no limit."),
        ),
        _reuse,
        may_be_left_out=True,
    ),
    Description(
        MaxValidity,
        "How long a certificate may live.",
        (
            Field("days", "At most", Kind.NUMBER, 1, 36500, unit="days"),
            Field(
                "schedule",
                "From later dates on",
                Kind.STEPS,
                help="One step a line, such as: 2027-03-15 100. From that day on (UTC) at most so many days.",
            ),
        ),
        _validity,
    ),
    Description(
        AllowedProfiles,
        "What certificates may be for.",
        (
            Field(
                "",
                "Profiles with their extended key usages",
                Kind.PROFILES,
                help=f"One profile a line, such as: tls-server: serverAuth. Usages: {', '.join(KNOWN_EKUS)}.",
            ),
        ),
        _profiles,
    ),
    Description(
        RequireSAN,
        "Clients look at subject alternative names only (RFC 9525).",
        _NONE,
        lambda _rule: ["At least one subject alternative name, and the common name among them."],
        may_be_left_out=True,
    ),
    Description(
        AllowedNames,
        "Whose names may be requested.",
        _NONE,
        lambda _rule: ["Every name is inside a domain of the requesting team."],
    ),
    Description(
        IPAddresses,
        "Which addresses may be named.",
        (Field("networks", "Networks", Kind.LINES, help="One network a line, such as: 10.0.0.0/8. Empty: no address."),),
        _networks,
    ),
    Description(
        Wildcards,
        "What a wildcard needs.",
        (
            Field("decision", "A wildcard", Kind.CHOICE, choices=_DECISIONS),
            Field("whole_domain", "Over a whole domain of the team", Kind.CHOICE, choices=_DECISIONS),
        ),
        _wildcards,
        may_be_left_out=True,
    ),
    Description(
        MaxNames,
        "How many names a certificate may have.",
        (Field("maximum", "At most", Kind.NUMBER, 1, 10_000, unit="names"),),
        lambda rule: [f"At most {plural(rule.maximum, 'name')} on one certificate."],
        may_be_left_out=True,
    ),
    Description(
        Duplicates,
        "Each name once, and one certificate for the same names.",
        (Field("inventory", "A second certificate for the same names", Kind.CHOICE, choices=_DECISIONS),),
        lambda rule: ["Each name once on a certificate.", f"A second certificate for the same names {_DECIDED[rule.inventory]}."],
        may_be_left_out=True,
    ),
)
DESCRIPTIONS: dict[str, Description] = {one.rule.name: one for one in _ALL}
assert list(DESCRIPTIONS) == [kind.name for kind in RULES]


def rule_sentences(rule: Rule) -> tuple[str, ...]:
    """Return the sentences of one rule."""
    return tuple(DESCRIPTIONS[rule.name].sentences(rule))


def sentences(ruleset: RuleSet) -> dict[str, tuple[str, ...]]:
    """Return the sentences of each rule by its name, then those of the defaults under `defaults`."""
    found = {rule.name: rule_sentences(rule) for rule in ruleset.rules}
    defaults = ruleset.defaults
    found["defaults"] = (
        f"What a request leaves open is {defaults.key}, {plural(defaults.validity_days, 'day')} and profile {defaults.profile}.",
        (
            f"A renewal of the same content inherits an approval for {plural(ruleset.approval_valid_days, 'day')}."
            if ruleset.approval_valid_days
            else "Every renewal that needs an approval is approved anew."
        ),
        *_approval_sentences(ruleset.approval),
    )
    return found


def _approval_sentences(terms: ApprovalTerms) -> tuple[str, ...]:
    """What differs from the usual terms of an approval."""
    found = [f"An approval takes {terms.approvers} different persons."] if terms.approvers > 1 else []
    if terms.time_limit_days is not None:
        found.append(f"A request that nobody has decided lapses after {plural(terms.time_limit_days, 'day')}.")
    if terms.confirmed:
        found.append("Each approval is confirmed with a passkey or a one-time code.")
    return tuple(found)


def label_of(name: str) -> str:
    """Return what people call a rule, or the defaults."""
    return DESCRIPTIONS[name].rule.label if name in DESCRIPTIONS else "Defaults"
