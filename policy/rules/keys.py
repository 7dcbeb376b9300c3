"""Rules about the key: which families and sizes are allowed, and when a key may serve a second certificate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from policy.facts import RequestFacts
from policy.rules.base import Case, Check, Params, Repair, Rule, listed, plural
from policy.rules.fields import Field, Kind

# What the portal makes itself; a suggestion never names another size. The package `keys` has the
# same list as KeySpec
# and neither package imports the other: tests/policy/test_rules.py holds the two together.
OFFERED: dict[str, tuple[int, ...]] = {"rsa": (2048, 3072, 4096), "ec": (256, 384, 521), "ed25519": (255,), "ml-dsa": (44, 65, 87)}
_ANOTHER_FAMILY_COST = 10


def key_name(family: str, bits: int) -> str:
    """Return the spelling of commands and JSON: rsa-3072, ec-p256, ed25519, ml-dsa-65."""
    if family == "ec":
        return f"ec-p{bits}"
    return family if family == "ed25519" else f"{family}-{bits}"


def key_from_name(name: str) -> tuple[str, int]:
    """Return family and size of a key that the portal offers. Raises ValueError."""
    for family, sizes in OFFERED.items():
        for bits in sizes:
            if key_name(family, bits) == name:
                return family, bits
    raise ValueError(f"unknown key {name!r}; offered are {', '.join(key_name(f, b) for f, sizes in OFFERED.items() for b in sizes)}")


def key_label(family: str, bits: int) -> str:
    """Return a kind of key as people write it: "RSA 3072"."""
    return {"rsa": f"RSA {bits}", "ec": f"ECDSA P-{bits}", "ed25519": "Ed25519", "ml-dsa": f"ML-DSA-{bits}"}.get(
        family, family or "unknown"
    )


@dataclass(frozen=True, slots=True)
class AllowedKeys(Rule):
    """Key families with their sizes: RSA by a range of modulus bits, EC by curve, ML-DSA by parameter set, Ed25519 or not."""

    rsa: tuple[int, int] | None
    ec: tuple[int, ...]
    ed25519: bool
    ml_dsa: tuple[int, ...]

    name: ClassVar[str] = "allowed_keys"
    label: ClassVar[str] = "Key type or size"
    about: ClassVar[str] = "Which keys are strong enough."
    form: ClassVar[tuple[Field, ...]] = (
        Field("rsa.min_bits", "RSA from", Kind.OPTIONAL_NUMBER, 2048, 8192, unit="bits", help="Empty: no RSA key."),
        Field("rsa.max_bits", "RSA to", Kind.OPTIONAL_NUMBER, 2048, 16384, unit="bits"),
        Field("ec", "Elliptic curves", Kind.SIZES, choices=tuple((str(n), f"P-{n}") for n in OFFERED["ec"])),
        Field("ed25519", "Ed25519", Kind.SWITCH),
        Field("ml-dsa", "ML-DSA", Kind.SIZES, choices=tuple((str(n), f"ML-DSA-{n}") for n in OFFERED["ml-dsa"])),
    )

    @classmethod
    def from_params(cls, params: Params) -> Self:
        rsa = None
        if params.has("rsa"):
            bounds = params.inner("rsa")
            low = bounds.integer("min_bits", minimum=2048, maximum=8192)
            rsa = (low, bounds.integer("max_bits", minimum=low, maximum=16384, default=8192))
            bounds.done()
        rule = cls(rsa, _sizes(params, "ec"), params.boolean("ed25519", default=False), _sizes(params, "ml-dsa"))
        params.done()
        if not next(rule._allowed(), None):
            params.refuse("no key that the portal offers is allowed")
        return rule

    def to_dict(self) -> dict[str, Any]:
        data: dict[str, Any] = {"ec": list(self.ec), "ed25519": self.ed25519, "ml-dsa": list(self.ml_dsa)}
        return data | ({"rsa": {"min_bits": self.rsa[0], "max_bits": self.rsa[1]}} if self.rsa else {})

    def allows(self, family: str, bits: int) -> bool:
        match family:
            case "rsa":
                return self.rsa is not None and self.rsa[0] <= bits <= self.rsa[1]
            case "ec":
                return bits in self.ec
            case "ed25519":
                return self.ed25519
            case "ml-dsa":
                return bits in self.ml_dsa
        return False

    def sentences(self) -> Sequence[str]:
        found = [f"RSA keys of {self.rsa[0]} to {self.rsa[1]} bits are allowed."] if self.rsa else ["RSA keys are refused."]
        curves = tuple(f"P-{size}" for size in self.ec)
        found.append(f"Elliptic curves {listed(curves, 'and')} are allowed." if curves else "ECDSA keys are refused.")
        found += ["Ed25519 keys are allowed."] if self.ed25519 else []
        sets = tuple(f"ML-DSA-{size}" for size in self.ml_dsa)
        return found + ([f"{listed(sets, 'and')} are allowed."] if sets else [])

    def checks(self, case: Case) -> Iterator[Check]:
        family, bits = case.facts.key_family, case.facts.key_bits
        if self.allows(family, bits):
            yield self._passed(f"Key {key_label(family, bits)} is allowed", "key")
        elif family == "rsa" and self.rsa:
            low, high = self.rsa
            yield self._failed(f"Key size {bits} below minimum {low}" if bits < low else f"Key size {bits} above maximum {high}", "key")
        elif family == "ec" and self.ec:
            yield self._failed(f"Curve P-{bits} is not allowed; allowed: {', '.join(f'P-{size}' for size in self.ec)}", "key")
        else:
            yield self._failed(f"Key type {key_label(family, bits)} is not allowed; allowed: {self.description()}", "key")

    def description(self) -> str:
        """Return all that is allowed, in one line for people."""
        parts = [f"RSA ≥ {self.rsa[0]} bits"] if self.rsa else []
        parts += [f"ECDSA P-{size}" for size in self.ec]
        parts += ["Ed25519"] if self.ed25519 else []
        return ", ".join(parts + [f"ML-DSA-{size}" for size in self.ml_dsa])

    def repairs(self, case: Case) -> Iterator[Repair]:
        family, bits = case.facts.key_family, case.facts.key_bits
        # Within the family the nearest stronger size comes first, then the nearest weaker one; then the other families.
        same = sorted((size for name, size in self._allowed() if name == family), key=lambda size: (size < bits, abs(size - bits)))
        for rank, size in enumerate(same):
            yield Repair(self._text(family, size, bits), _with_key(case.facts, family, size), cost=1 + rank)
        others = [(name, size) for name, size in self._allowed() if name != family]
        for rank, (name, size) in enumerate(others):
            yield Repair(self._text(name, size, 0), _with_key(case.facts, name, size), cost=_ANOTHER_FAMILY_COST + rank)

    def _allowed(self) -> Iterator[tuple[str, int]]:
        for family, sizes in OFFERED.items():
            yield from ((family, size) for size in sizes if self.allows(family, size))

    def _text(self, family: str, size: int, asked: int) -> str:
        if family == "rsa" and self.rsa:
            return f"Use RSA key size ≤ {self.rsa[1]} bits" if asked > self.rsa[1] else f"Use RSA key size ≥ {self.rsa[0]} bits"
        return f"Use curve P-{size}" if family == "ec" and asked else f"Use key type {key_label(family, size)}"


def _sizes(params: Params, family: str) -> tuple[int, ...]:
    if not params.has(family):
        return ()
    sizes = []
    for size in params.items(family):
        if isinstance(size, int) and not isinstance(size, bool) and size in OFFERED[family]:
            sizes.append(size)
        else:
            params.refuse(f"{family} may list {listed(tuple(map(str, OFFERED[family])))}, not {size!r}", family)
    return tuple(sorted(set(sizes)))


def _with_key(facts: RequestFacts, family: str, bits: int) -> RequestFacts:
    # Another kind of key is a new key: a renewal that kept its key no longer does.
    return replace(facts, key_family=family, key_bits=bits, key_reused=False, key_age_days=0, key_certificates=0)


@dataclass(frozen=True, slots=True)
class KeyReuseAtRenewal(Rule):
    """Whether a renewal may keep its key, and for how long: days since the key was made, certificates made with it so far."""

    allowed: bool
    max_age_days: int | None = None
    max_certificates: int | None = None

    name: ClassVar[str] = "key_reuse_at_renewal"
    label: ClassVar[str] = "Use of the same key again"
    about: ClassVar[str] = "Whether a renewal may keep its key."
    form: ClassVar[tuple[Field, ...]] = (
        Field("allowed", "A renewal may keep its key", Kind.SWITCH),
        Field("max_age_days", "Oldest key", Kind.OPTIONAL_NUMBER, 1, 36500, unit="days", help="Empty: no limit."),
        Field("max_certificates", "Certificates on one key", Kind.OPTIONAL_NUMBER, 1, 100_000, help="Empty: no limit."),
    )
    may_be_left_out: ClassVar[bool] = True

    @classmethod
    def from_params(cls, params: Params) -> Self:
        rule = cls(
            params.boolean("allowed"),
            params.optional_integer("max_age_days", minimum=1, maximum=36500),
            params.optional_integer("max_certificates", minimum=1, maximum=100_000),
        )
        params.done()
        return rule

    def to_dict(self) -> dict[str, Any]:
        return {"allowed": self.allowed, "max_age_days": self.max_age_days, "max_certificates": self.max_certificates}

    def sentences(self) -> Sequence[str]:
        if not self.allowed:
            return ["Every renewal makes a new key."]
        limits = [f"the key is at most {plural(self.max_age_days, 'day')} old"] if self.max_age_days else []
        limits += [f"it served fewer than {plural(self.max_certificates, 'certificate')}"] if self.max_certificates else []
        return [f"A renewal may keep its key{' while ' if limits else ''}{' and '.join(limits)}."]

    def checks(self, case: Case) -> Iterator[Check]:
        facts = case.facts
        if not facts.key_reused:
            yield self._passed("The key is new", "new_key")
        elif not self.allowed:
            yield self._failed("The key may not be used again: each certificate needs a new key", "new_key")
        elif self.max_age_days is not None and facts.key_age_days > self.max_age_days:
            yield self._failed(f"Key age {facts.key_age_days} days exceeds maximum {self.max_age_days} for use again", "new_key")
        elif self.max_certificates is not None and facts.key_certificates >= self.max_certificates:
            yield self._failed(f"The key already served {facts.key_certificates} certificates; maximum {self.max_certificates}", "new_key")
        else:
            yield self._passed("The key may be used again", "new_key")

    def repairs(self, case: Case) -> Iterator[Repair]:
        yield Repair("Use a new key", replace(case.facts, key_reused=False, key_age_days=0, key_certificates=0))
