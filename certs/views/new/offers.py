"""What may be chosen on the pages of a new certificate, and why the rest may not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from certs.models import Team
from certs.requests.plan import defaults_for
from certs.servers.kinds import Place
from keys.spec import KeySpec
from policy.models import PolicyVersion, Profile
from policy.publishing import version_in_force
from policy.rules.keys import AllowedKeys
from policy.rules.profiles import AllowedProfiles


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing to choose. `reason` says why it cannot be chosen; "" where it can."""

    value: str
    label: str
    about: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """A place on the first page. `link`: the URL name of a page of its own; "" for a draft."""

    choice: Choice
    icon: str
    link: str = ""


PLACES = (
    (Place.SERVER, "A web server I run", "nginx, Apache, HAProxy, Caddy, a mail server or database", "server", ""),
    (Place.AUTOMATIC, "An automatic client", "a program or cluster that requests and renews automatically", "automatic", "new-automatic"),
    (Place.JAVA, "Java, Windows or a device", "a key store, IIS, or a CSR made with the device's own tool", "java", ""),
    (Place.CLIENT, "A program that logs in", "a client certificate, for mTLS", "client", ""),
    (Place.VAULT, "Software that signs through Vault", "or PKCS#11: the key never leaves the vault", "vault", ""),
    (Place.CSR, "I have a CSR", "a file that begins with BEGIN CERTIFICATE REQUEST", "csr", "new-csr"),
)


def in_force(now: datetime) -> PolicyVersion:
    """Return the policy version of now."""
    return version_in_force(settings.PKI_DEFAULT_POLICY, at=now)


def tiles(now: datetime) -> list[Tile]:
    """Return the places of the first page; one that the policy has no certificate for says so."""
    version = in_force(now)
    reasons = {} if profile_for(Place.CLIENT, now=now) else {Place.CLIENT: no_client(version)}
    made = [Tile(Choice(place, label, about, reasons.get(place, "")), icon, link) for place, label, about, icon, link in PLACES]
    return [*made, Tile(Choice("bulk", "Many at once", "a table, a zip of CSRs, or a sentence"), "bulk", "bulk-new")]


def changes_of(place: str, now: datetime) -> list[Choice]:
    """Return the places to which the draft of a place can be changed; one that the policy has no certificate for says so."""
    drafted = (tile.choice for tile in tiles(now) if not tile.link)
    return [choice for choice in drafted if choice.value != place]


def no_client(version: PolicyVersion) -> str:
    """Return why there is no client certificate."""
    return f"Policy {version.version} has no client certificates. Ask the security team to allow them."


def profile_for(place: str, *, now: datetime) -> str:
    """Return the profile that certificates for a place have: "" for the policy's default.

    For client certificates the first profile with clientAuth that the policy allows; "" where there
    is none.
    """
    if place != Place.CLIENT:
        return ""
    allowed = in_force(now).ruleset.rule(AllowedProfiles)
    for profile in Profile.objects.order_by("name"):
        if "clientAuth" in profile.ekus and allowed is not None and set(profile.ekus) <= set(allowed.ekus_of(profile.name)):
            return str(profile.name)
    return ""


def keys(team: Team, *, now: datetime) -> list[Choice]:
    """Return the key types, the policy's default first as "", the refused ones with the reason."""
    version, defaults = in_force(now), defaults_for(team, now=now)
    allowed = version.ruleset.rule(AllowedKeys)
    choices = [Choice("", f"{defaults.key.label} (the policy's default)")]
    for spec in KeySpec:
        if spec.family == "ml-dsa":
            continue
        fits = allowed is None or allowed.allows(spec.family, spec.bits)
        choices.append(Choice(spec.value, spec.label, reason="" if fits else f"policy {version.version} does not allow it"))
    return choices
