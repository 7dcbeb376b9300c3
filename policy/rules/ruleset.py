"""A whole policy as rules: read from JSON and written back, strictly, with the version and the defaults that it carries."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from policy.rules.approval_terms import USUAL, ApprovalTerms
from policy.rules.base import TOP, Fault, Params, Rule, RuleSetInvalid
from policy.rules.keys import AllowedKeys, KeyReuseAtRenewal, key_from_name
from policy.rules.names import AllowedNames, Duplicates, IPAddresses, MaxNames, RequireSAN, Wildcards
from policy.rules.profiles import AllowedProfiles
from policy.rules.validity import MaxValidity

# The order of evaluation, hence of the checks on every page: key, time, purpose, then names.
RULES: tuple[type[Rule], ...] = (
    AllowedKeys,
    KeyReuseAtRenewal,
    MaxValidity,
    AllowedProfiles,
    RequireSAN,
    AllowedNames,
    IPAddresses,
    Wildcards,
    MaxNames,
    Duplicates,
)
LONGEST_VERSION = 32
_VERSION = re.compile(r"v[0-9]+(\.[0-9]+){0,3}(-[a-z0-9]+)?")

R = TypeVar("R", bound=Rule)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What fills the gaps of a request in words or in a form. `key` is a name such as rsa-3072."""

    key: str
    validity_days: int
    profile: str


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of one policy version. `approval_valid_days`: a renewal of the same digest inherits an approval younger than that."""

    version: str
    defaults: Defaults
    rules: tuple[Rule, ...]
    approval_valid_days: int = 397
    approval: ApprovalTerms = USUAL
    digest: str = field(default="", compare=False)  # of `ruleset_digest`, computed when it is read

    def rule(self, kind: type[R]) -> R | None:
        """Return the rule of that class, where the policy has it."""
        return next((rule for rule in self.rules if isinstance(rule, kind)), None)


def ruleset_from_dict(data: Any) -> RuleSet:
    """Read a policy. Raises RuleSetInvalid with every fault: the unknown rule, field or value, and what is allowed there."""
    faults: list[Fault] = []
    top = Params(TOP, data, faults)
    version = top.text("version")
    if version != "-" and not _VERSION.fullmatch(version):
        top.refuse(f"version must look like v2.3, not {version[:40]!r}", "version")
    elif len(version) > LONGEST_VERSION:
        top.refuse(f"version has at most {LONGEST_VERSION} characters", "version")
    defaults = _defaults(top.inner("defaults"))
    rules = _rules(top.inner("rules"), faults)
    valid_days = top.integer("approval_valid_days", minimum=0, maximum=3650, default=397)
    terms = ApprovalTerms.from_params(top.inner("approval")) if top.has("approval") else USUAL
    ruleset = RuleSet(version, defaults, rules, valid_days, terms)
    top.done()
    if not faults:
        _refuse_defaults_that_fail(ruleset, faults)
    if faults:
        raise RuleSetInvalid(*faults)
    return replace(ruleset, digest=ruleset_digest(ruleset))


def ruleset_to_dict(ruleset: RuleSet) -> dict[str, Any]:
    """Return the inverse of `ruleset_from_dict`, with every parameter of the rules written out."""
    return {
        "version": ruleset.version,
        "defaults": {
            "key": ruleset.defaults.key,
            "validity_days": ruleset.defaults.validity_days,
            "profile": ruleset.defaults.profile,
        },
        "approval_valid_days": ruleset.approval_valid_days,
        "rules": {rule.name: rule.to_dict() for rule in ruleset.rules},
        # Only where they are not the usual ones: the digests of versions from before they existed stay.
        **({"approval": ruleset.approval.to_dict()} if ruleset.approval != USUAL else {}),
    }


def ruleset_digest(ruleset: RuleSet) -> str:
    """Return the hex SHA-256 over the canonical JSON (sorted keys, no spaces, UTF-8): the same rules give the same digest."""
    text = json.dumps(ruleset_to_dict(ruleset), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _defaults(params: Params) -> Defaults:
    key = params.text("key")
    try:
        key_from_name(key)
    except ValueError as error:
        if key != "-":
            params.refuse(str(error), "key")
    defaults = Defaults(key, params.integer("validity_days", minimum=1, maximum=36500), params.text("profile"))
    params.done()
    return defaults


def _rules(params: Params, faults: list[Fault]) -> tuple[Rule, ...]:
    # Without one of these a policy would let through what nobody meant to allow.
    missing = [kind.name for kind in RULES if not kind.may_be_left_out and not params.has(kind.name)]
    if missing:
        params.refuse(f"{', '.join(missing)} must be stated")
    stated = [kind for kind in RULES if params.has(kind.name)]
    found = tuple(kind.from_params(Params(f"rules.{kind.name}", params.take(kind.name, {}), faults)) for kind in stated)
    params.done()
    return found


def _refuse_defaults_that_fail(ruleset: RuleSet, faults: list[Fault]) -> None:
    keys, validity, profiles = ruleset.rule(AllowedKeys), ruleset.rule(MaxValidity), ruleset.rule(AllowedProfiles)
    defaults = ruleset.defaults
    if keys and not keys.allows(*key_from_name(defaults.key)):
        faults.append(Fault("defaults.key", f"key {defaults.key} is refused by the policy's own rule allowed_keys"))
    if validity and defaults.validity_days > validity.strictest:
        least = f"validity_days {defaults.validity_days} exceeds {validity.strictest}, the least that max_validity allows"
        faults.append(Fault("defaults.validity_days", least))
    if profiles and not profiles.ekus_of(defaults.profile):
        faults.append(Fault("defaults.profile", f"profile {defaults.profile} is refused by the policy's own rule allowed_profiles"))
