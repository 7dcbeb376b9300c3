"""Rules about names: who owns them, wildcards, addresses, how many, each once, and at least one as subjectAltName."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from policy.facts import RequestFacts
from policy.rules.base import SECURITY_TEAM, Case, Check, Params, Repair, Rule, listed, plural
from policy.rules.fields import Field, Kind

_SHOWN = 10
LISTED_DOMAINS = _SHOWN  # domains of a team that refusals and advice list
_DECISIONS = ("allow", "approval", "deny")
_CHOICES = (("allow", "allowed"), ("approval", "needs an approval"), ("deny", "refused"))
_DECIDED = {"allow": "is allowed", "approval": "needs an approval", "deny": "is refused"}


def base_domain(name: str) -> str:
    """Return `apps.example.com` for `*.apps.example.com`, and other names as they are."""
    return name.removeprefix("*.")


def owner_domain(name: str, domains: Iterable[str]) -> str:
    """Return the longest of `domains` at or above the name, compared label by label; "" when there is none."""
    labels = base_domain(name).split(".")
    parents = {".".join(labels[start:]) for start in range(len(labels))}
    return max((domain for domain in domains if domain in parents), key=len, default="")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_host(text: str) -> bool:
    """Return whether a common name can be a DNS name or an address."""
    return _address(text) is not None or _looks_like_host(text)


def _looks_like_host(text: str) -> bool:
    return bool(text) and all(char.isalnum() or char in "-._*" for char in text) and _address(text) is None


def without(facts: RequestFacts, names: Iterable[str]) -> RequestFacts:
    """Return the request without these names; a common name that was among them becomes the first name left."""
    gone = set(names)
    dns = tuple(name for name in facts.dns_names if name not in gone)
    addresses = tuple(address for address in facts.ip_addresses if address not in gone)
    common_name = next(iter(dns + addresses), "") if facts.common_name in gone else facts.common_name
    return replace(facts, common_name=common_name, dns_names=dns, ip_addresses=addresses)


def _instead(facts: RequestFacts, names: tuple[str, ...]) -> str:
    """Return the words with which advice begins where other names are left: no suggestion leaves a name out."""
    return f"Request it without {_some(names)}, or ask" if names and without(facts, names).names else "Ask"


def _some(names: tuple[str, ...]) -> str:
    return listed(names, "and") if len(names) <= _SHOWN else f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more"


@dataclass(frozen=True, slots=True)
class RequireSAN(Rule):
    """At least one subjectAltName, and the common name among them (RFC 9525: clients look at nothing else)."""

    name: ClassVar[str] = "require_san"
    label: ClassVar[str] = "Subject alternative name"
    about: ClassVar[str] = "Clients look at subject alternative names only (RFC 9525)."
    may_be_left_out: ClassVar[bool] = True

    @classmethod
    def from_params(cls, params: Params) -> Self:
        params.done()
        return cls()

    def to_dict(self) -> dict[str, Any]:
        return {}

    def sentences(self) -> Sequence[str]:
        return ["At least one subject alternative name, and the common name among them."]

    def checks(self, case: Case) -> Iterator[Check]:
        facts = case.facts
        if not facts.names:
            yield self._failed("Subject alternative name missing", "dns_names")
        elif facts.common_name and facts.common_name not in facts.names:
            yield self._failed(f"Common name {facts.common_name} is not among the subject alternative names", "common_name")
        else:
            yield self._passed("Subject alternative names are present", "dns_names")

    def repairs(self, case: Case) -> Iterator[Repair]:
        facts = case.facts
        text = f"Add {facts.common_name} as subject alternative name"
        if _address(facts.common_name):
            yield Repair(text, replace(facts, ip_addresses=(facts.common_name, *facts.ip_addresses)))
        elif _looks_like_host(facts.common_name):
            yield Repair(text, replace(facts, dns_names=(facts.common_name, *facts.dns_names)))
        elif facts.names:  # a common name that is no host names nothing
            first = facts.names[0]
            yield Repair(f"Use common name {first}", replace(facts, common_name=first), cost=2)

    def advice(self, case: Case) -> str:
        return "Name at least one host, such as a name inside your team's domains."


@dataclass(frozen=True, slots=True)
class AllowedNames(Rule):
    """Every DNS name inside a domain of the team, unless a longer domain above it belongs to another team.

    A wildcard also may not stand above another team's domain. A refusal has one text whatever the
    reason, so that nobody can find out which domains other teams own by asking for them.
    """

    name: ClassVar[str] = "allowed_names"
    label: ClassVar[str] = "Names outside the team's domains"
    about: ClassVar[str] = "Whose names may be requested."

    @classmethod
    def from_params(cls, params: Params) -> Self:
        params.done()
        return cls()

    def to_dict(self) -> dict[str, Any]:
        return {}

    def sentences(self) -> Sequence[str]:
        return ["Every name is inside a domain of the requesting team."]

    def checks(self, case: Case) -> Iterator[Check]:
        problems = self._problems(case)
        for _, message in problems[:_SHOWN]:
            yield self._failed(message, "dns_names")
        if len(problems) > _SHOWN:
            yield self._failed(f"{len(problems) - _SHOWN} more names are refused for the same reasons", "dns_names")
        if not problems:
            yield self._passed("Every name is inside the team's domains", "dns_names")

    def advice(self, case: Case) -> str:
        owned = case.requester.owned_domains
        refused = tuple(name for name, _ in self._problems(case))
        if owned:
            begin = f"{_instead(case.facts, refused)} for names inside {listed(owned[:_SHOWN])}"
        else:
            begin = f"Team {case.requester.team} owns no domain yet"
        return f"{begin}, or ask {SECURITY_TEAM} to give the domain to your team."

    def _problems(self, case: Case) -> list[tuple[str, str]]:
        owned, foreign = case.requester.owned_domains, case.requester.foreign_domains
        found = []
        for name in dict.fromkeys(case.facts.dns_names):
            message = self._problem(name, owned, foreign)
            if message:
                found.append((name, message))
        return found

    def _problem(self, name: str, owned: tuple[str, ...], foreign: tuple[str, ...]) -> str:
        ours, theirs = owner_domain(name, owned), owner_domain(name, foreign)
        above = name.startswith("*.") and any(domain.endswith("." + base_domain(name)) for domain in foreign)
        if ours and len(theirs) < len(ours) and not above:
            return ""
        # One text for the three reasons: a refusal that differed would reveal what others own.
        allowed = f" ({', '.join(owned[:_SHOWN])})" if owned else ""
        return f"Name {name} is outside the team's domains{allowed}"


@dataclass(frozen=True, slots=True)
class Wildcards(Rule):
    """What a wildcard needs: nothing, an approval, or it is refused. `whole_domain` is for `*.` directly before an owned domain."""

    decision: str
    whole_domain: str

    name: ClassVar[str] = "wildcards"
    label: ClassVar[str] = "Wildcards"
    about: ClassVar[str] = "What a wildcard needs."
    form: ClassVar[tuple[Field, ...]] = (
        Field("decision", "A wildcard", Kind.CHOICE, choices=_CHOICES),
        Field("whole_domain", "Over a whole domain of the team", Kind.CHOICE, choices=_CHOICES),
    )
    may_be_left_out: ClassVar[bool] = True

    @classmethod
    def from_params(cls, params: Params) -> Self:
        decision = params.choice("decision", _DECISIONS)
        rule = cls(decision, params.choice("whole_domain", _DECISIONS, default=decision))
        params.done()
        return rule

    def to_dict(self) -> dict[str, Any]:
        return {"decision": self.decision, "whole_domain": self.whole_domain}

    def sentences(self) -> Sequence[str]:
        return [
            f"A wildcard {_DECIDED[self.decision]}.",
            f"A wildcard over a whole domain of the team {_DECIDED[self.whole_domain]}.",
        ]

    def checks(self, case: Case) -> Iterator[Check]:
        wildcards = [name for name in case.facts.dns_names if name.startswith("*.")]
        if not wildcards:
            yield self._passed("No wildcard is asked for", "dns_names")
        for name in wildcards:
            whole = base_domain(name) in case.requester.owned_domains
            about = f"Wildcard {name} covers a whole domain and" if whole else f"Wildcard {name}"
            match self.whole_domain if whole else self.decision:
                case "deny":
                    yield self._failed(f"{about} is not allowed", "dns_names")
                case "approval":
                    yield self._approval(f"{about} needs approval", "dns_names")
                case _:
                    yield self._passed(f"Wildcard {name} is allowed", "dns_names")

    def advice(self, case: Case) -> str:
        return f"Name the hosts one by one, or ask {SECURITY_TEAM}."


@dataclass(frozen=True, slots=True)
class MaxNames(Rule):
    """At most so many names on one certificate."""

    maximum: int

    name: ClassVar[str] = "max_names"
    label: ClassVar[str] = "Number of names"
    about: ClassVar[str] = "How many names a certificate may have."
    form: ClassVar[tuple[Field, ...]] = (Field("maximum", "At most", Kind.NUMBER, 1, 10_000, unit="names"),)
    may_be_left_out: ClassVar[bool] = True

    @classmethod
    def from_params(cls, params: Params) -> Self:
        rule = cls(params.integer("maximum", minimum=1, maximum=10_000))
        params.done()
        return rule

    def to_dict(self) -> dict[str, Any]:
        return {"maximum": self.maximum}

    def sentences(self) -> Sequence[str]:
        return [f"At most {plural(self.maximum, 'name')} on one certificate."]

    def checks(self, case: Case) -> Iterator[Check]:
        count = len(case.facts.names)
        if count > self.maximum:
            yield self._failed(f"Number of names {count} exceeds maximum {self.maximum}", "dns_names")
        else:
            yield self._passed(f"Number of names {count} is within {self.maximum}", "dns_names")

    def advice(self, case: Case) -> str:
        surplus = len(case.facts.names) - self.maximum
        return f"Ask for at most {self.maximum} names and put the other {surplus} into another request."


@dataclass(frozen=True, slots=True)
class IPAddresses(Rule):
    """Which addresses may be named: those inside `networks`; none when the list is empty."""

    networks: tuple[str, ...]

    name: ClassVar[str] = "ip_addresses"
    label: ClassVar[str] = "IP addresses"
    about: ClassVar[str] = "Which addresses may be named."
    form: ClassVar[tuple[Field, ...]] = (
        Field("networks", "Networks", Kind.LINES, help="One network a line, such as: 10.0.0.0/8. Empty: no address."),
    )

    @classmethod
    def from_params(cls, params: Params) -> Self:
        networks = []
        for network in params.items("networks"):
            try:
                # Of a number ip_network makes an address, which nobody meant.
                networks.append(str(ipaddress.ip_network(str(network))))
            except ValueError:
                params.refuse(f"{network!r} is not a network such as 10.0.0.0/8", "networks")
        params.done()
        return cls(tuple(networks))

    def to_dict(self) -> dict[str, Any]:
        return {"networks": list(self.networks)}

    def sentences(self) -> Sequence[str]:
        return [f"IP addresses inside {listed(self.networks)} are allowed." if self.networks else "IP addresses are refused."]

    def checks(self, case: Case) -> Iterator[Check]:
        refused = self._refused(case)
        for address in refused[:_SHOWN]:
            inside = f"outside the allowed networks ({', '.join(self.networks)})" if self.networks else "not allowed"
            yield self._failed(f"IP address {address} is {inside}", "ip_addresses")
        if len(refused) > _SHOWN:
            yield self._failed(f"{len(refused) - _SHOWN} more IP addresses are refused for the same reason", "ip_addresses")
        if not refused:
            yield self._passed("Every IP address is allowed" if case.facts.ip_addresses else "No IP address is asked for", "ip_addresses")

    def advice(self, case: Case) -> str:
        return f"Ask for a DNS name instead of the address, or ask {SECURITY_TEAM} to allow its network."

    def _refused(self, case: Case) -> tuple[str, ...]:
        networks = [ipaddress.ip_network(network) for network in self.networks]
        return tuple(text for text in dict.fromkeys(case.facts.ip_addresses) if not _inside(text, networks))


def _inside(text: str, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    address = _address(text)
    return address is not None and any(address in network for network in networks)


@dataclass(frozen=True, slots=True)
class Duplicates(Rule):
    """Each name once on a certificate; and what a second living certificate for the same names needs (`inventory`)."""

    inventory: str

    name: ClassVar[str] = "duplicates"
    label: ClassVar[str] = "Names listed twice"
    about: ClassVar[str] = "Each name once, and one certificate for the same names."
    form: ClassVar[tuple[Field, ...]] = (Field("inventory", "A second certificate for the same names", Kind.CHOICE, choices=_CHOICES),)
    may_be_left_out: ClassVar[bool] = True

    @classmethod
    def from_params(cls, params: Params) -> Self:
        rule = cls(params.choice("inventory", _DECISIONS))
        params.done()
        return rule

    def to_dict(self) -> dict[str, Any]:
        return {"inventory": self.inventory}

    def sentences(self) -> Sequence[str]:
        return ["Each name once on a certificate.", f"A second certificate for the same names {_DECIDED[self.inventory]}."]

    def checks(self, case: Case) -> Iterator[Check]:
        facts = case.facts
        twice = _twice(facts)
        if twice:
            yield self._failed(f"Name {_some(twice)} is listed more than once", "dns_names")
        if not (facts.duplicate_of or facts.also_asked_by) or facts.renewal:
            if not twice:
                yield self._passed("No name is listed twice", "dns_names")
            return
        message = (
            f"Certificate {facts.duplicate_of} already serves the same names"
            if facts.duplicate_of
            else f"{facts.also_asked_by[:1].upper()}{facts.also_asked_by[1:]} asks for the same names"
        )
        match self.inventory:
            case "deny":
                yield self._failed(message, "dns_names")
            case "approval":
                yield self._approval(f"{message}: a second one needs approval", "dns_names")
            case _:
                yield self._passed(message, "dns_names")

    def repairs(self, case: Case) -> Iterator[Repair]:
        facts = case.facts
        if _twice(facts):
            once = replace(facts, dns_names=tuple(dict.fromkeys(facts.dns_names)), ip_addresses=tuple(dict.fromkeys(facts.ip_addresses)))
            yield Repair(f"List {_some(_twice(facts))} once", once)

    def advice(self, case: Case) -> str:
        if case.facts.also_asked_by and not case.facts.duplicate_of:
            return f"Leave this one out, or ask {SECURITY_TEAM}."
        return f"Renew {case.facts.duplicate_of or 'the certificate that you have'} instead, or ask {SECURITY_TEAM}."


def _twice(facts: RequestFacts) -> tuple[str, ...]:
    seen: set[str] = set()
    again = [name for name in facts.names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    return tuple(dict.fromkeys(again))
