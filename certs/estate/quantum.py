"""Readiness for post-quantum signatures: what is in use, what lasts long, and what supports ML-DSA today.

Support is stated only where this process can see or try it. Nothing here says that ML-DSA is ready
for production: the clients that were tried with it do not accept it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache

import cryptography
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.backends.openssl import backend as openssl
from cryptography.hazmat.primitives.asymmetric import mldsa
from django.conf import settings
from django.utils.module_loading import import_string

from certs.authorities.overview import CA
from certs.estate.overview import Number
from certs.inventory.counting import HORIZONS, Kind
from certs.inventory.figures import Figures
from certs.inventory.filters import CertificateFilter, StateGroup
from keys.backends.base import KeyBackend
from keys.spec import KeyFacts, KeySpec, facts_of_spki, spki_der

_FAMILIES = (("rsa", "RSA"), ("ec", "ECDSA"), ("ed25519", "Ed25519"), ("ml-dsa", "ML-DSA"))
_ML_DSA = frozenset(spec for spec in KeySpec if spec.family == "ml-dsa")
DISALLOWED = date.fromisoformat(HORIZONS[-1])


@dataclass(frozen=True, slots=True)
class Family:
    """Certificates on keys of one algorithm."""

    number: Number
    resists: bool


@dataclass(frozen=True, slots=True)
class CAKey:
    """The key of a CA. `beyond`: the CA ends after the day from which its algorithm is disallowed."""

    name: str
    key: str
    ends_at: datetime | None
    beyond: bool


@dataclass(frozen=True, slots=True)
class Support:
    """Whether something can use ML-DSA, and how that is known."""

    what: str
    yes: bool
    how: str


def families(figures: Figures) -> list[Family]:
    """Return the algorithms with their counts; each leads to its list."""
    by_family: dict[str, list[str]] = {}
    for name in figures.of(Kind.KEY):
        by_family.setdefault(KeyFacts.from_name(name).family, []).append(name)
    found = []
    for family, label in _FAMILIES:
        names = sorted(by_family.get(family, [])) or sorted(spec.value for spec in KeySpec if spec.family == family)
        count = sum(figures.count(Kind.KEY, name) for name in names)
        url = CertificateFilter(state=StateGroup.ACTIVE.value, key=",".join(names)).url()
        found.append(Family(Number(label, count, url), family == "ml-dsa"))
    return found


def long_lived(figures: Figures) -> list[Number]:
    """Return how many certificates end on each of HORIZONS or later."""
    return [
        Number(
            f"end on {_day(date.fromisoformat(horizon))} or later", figures.count(Kind.BEYOND, horizon), figures.url(Kind.BEYOND, horizon)
        )
        for horizon in HORIZONS
    ]


def ca_keys(cas: Sequence[CA]) -> list[CAKey]:
    """Return the key of each CA whose certificate is known."""
    found = []
    for ca in cas:
        if ca.certificate is None:
            continue
        facts = facts_of_spki(spki_der(ca.certificate.certificate.public_key()))
        resists = facts is not None and facts.family == "ml-dsa"
        beyond = not resists and ca.ends_at is not None and ca.ends_at.date() >= DISALLOWED
        found.append(CAKey(ca.issuer.name, ca.certificate.key_label, ca.ends_at, beyond))
    return found


def support() -> list[Support]:
    """Return what of this installation can use ML-DSA keys (FIPS 204), each as far as it was tried or is stated in its code."""
    library = f"cryptography {cryptography.__version__} with {openssl.openssl_version_text()}"
    tried = "tried in this process: makes a key, signs and verifies"
    found = [Support(library, signs_and_verifies(), tried if signs_and_verifies() else "tried in this process: it cannot")]
    for alias, config in settings.KEY_BACKENDS.items():
        backend: type[KeyBackend] = import_string(str(config["BACKEND"]))
        able = bool(backend.capabilities.specs & _ML_DSA)
        found.append(Support(f"Key backend {alias}", able, "makes such keys" if able else "makes no such keys"))
    return found


@cache
def signs_and_verifies() -> bool:
    """Try ML-DSA-65 once a process: make a key, sign and verify. Takes about a millisecond."""
    try:
        key = mldsa.MLDSA65PrivateKey.generate()
        key.public_key().verify(key.sign(b"readiness"), b"readiness")
    except (UnsupportedAlgorithm, InvalidSignature):
        return False
    return True


def _day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"
