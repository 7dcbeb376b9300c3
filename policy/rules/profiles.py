"""The rule about purpose: which certificate profiles and extended key usages are allowed (RFC 5280 4.2.1.12)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from policy.rules.base import SECURITY_TEAM, Case, Check, Params, Rule, listed
from policy.rules.fields import Field, Kind

# The purposes the portal can put into a certificate, by the names of RFC 5280.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
KNOWN_EKUS = ("serverAuth", "clientAuth", "codeSigning", "emailProtection", "timeStamping", "OCSPSigning")


@dataclass(frozen=True, slots=True)
class AllowedProfiles(Rule):
    """Profiles by name, each with the extended key usages that a certificate of it may carry (at least one of them)."""

    profiles: tuple[tuple[str, tuple[str, ...]], ...]

    name: ClassVar[str] = "allowed_profiles"
    label: ClassVar[str] = "Purpose (profile and extended key usage)"
    about: ClassVar[str] = "What certificates may be for."
    form: ClassVar[tuple[Field, ...]] = (
        Field(
            "",
            "Profiles with their extended key usages",
            Kind.PROFILES,
            help=f"One profile a line, such as: tls-server: serverAuth. Usages: {', '.join(KNOWN_EKUS)}.",
        ),
    )

    @classmethod
    def from_params(cls, params: Params) -> Self:
        profiles = []
        for profile, ekus in params.remaining().items():
            if not isinstance(ekus, list) or not ekus or not all(isinstance(eku, str) and eku in KNOWN_EKUS for eku in ekus):
                params.refuse(f"{profile!r} must list some of {', '.join(KNOWN_EKUS)}, not {ekus!r}", str(profile)[:64])
            elif not _NAME.fullmatch(str(profile)):
                params.refuse(f"{profile!r} is no name of a profile: letters, digits, - and _", str(profile)[:64])
            else:
                profiles.append((str(profile), tuple(dict.fromkeys(ekus))))
        if not profiles:
            params.refuse("name at least one profile")
        return cls(tuple(sorted(profiles)))  # JSON objects have no order in PostgreSQL

    def to_dict(self) -> dict[str, Any]:
        return {profile: list(ekus) for profile, ekus in self.profiles}

    def ekus_of(self, profile: str) -> tuple[str, ...]:
        """Return the usages allowed in a profile; empty when the profile is not allowed."""
        return dict(self.profiles).get(profile, ())

    def sentences(self) -> Sequence[str]:
        return [f"Profile {name} is allowed, with {listed(ekus, 'and')}." for name, ekus in self.profiles]

    def checks(self, case: Case) -> Iterator[Check]:
        profile, ekus = case.facts.profile, case.facts.ekus
        allowed = self.ekus_of(profile)
        if not allowed:
            yield self._failed(f"Profile {profile} is not allowed; allowed: {', '.join(name for name, _ in self.profiles)}", "profile")
            return
        foreign = [eku for eku in ekus if eku not in allowed]
        if foreign:
            yield self._failed(f"Extended key usage {', '.join(foreign)} is not allowed in profile {profile}", "ekus")
        elif not ekus:
            yield self._failed(f"Extended key usage missing: profile {profile} needs {', '.join(allowed)}", "ekus")
        else:
            yield self._passed(f"Profile {profile} with {', '.join(ekus)} is allowed", "profile")

    # No repair: another profile or usage is another purpose, and what was requested is not that.

    def advice(self, case: Case) -> str:
        profiles = listed(tuple(name for name, _ in self.profiles))
        return f"Ask {SECURITY_TEAM}, or request a certificate for the purpose {profiles}."
