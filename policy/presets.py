"""The two policies that the portal ships: the default v2.3, and one that follows the CA/Browser Forum's ballot SC-081. Pure data."""

from __future__ import annotations

from typing import Any

# rsa-3072 is the default key because every client that is still alive accepts it; teams ask for P-256 by name.
_COMMON_RULES: dict[str, Any] = {
    "allowed_keys": {"rsa": {"min_bits": 3072, "max_bits": 8192}, "ec": [256, 384, 521], "ed25519": True},
    "key_reuse_at_renewal": {"allowed": True},
    "allowed_profiles": {"tls-server": ["serverAuth"]},
    "require_san": {},
    "allowed_names": {},
    "ip_addresses": {"networks": []},
    "wildcards": {"decision": "approval", "whole_domain": "approval"},
    "max_names": {"maximum": 100},
    "duplicates": {"inventory": "allow"},
}

DEFAULT_V2_3: dict[str, Any] = {
    "version": "v2.3",
    "defaults": {"key": "rsa-3072", "validity_days": 90, "profile": "tls-server"},
    "approval_valid_days": 397,
    "rules": _COMMON_RULES | {"max_validity": {"days": 397}},
}

# The default validity is one that the last step of the schedule still allows, so that this text outlives 2029.
# CA/Browser Forum ballot SC-081v3: first day, longest validity, longest reuse of validated names.
SC081_STEPS = (("2026-03-15", 200, 200), ("2027-03-15", 100, 100), ("2029-03-15", 47, 10))

CABF_SC081: dict[str, Any] = {
    "version": "v1.0-sc081",
    "defaults": {"key": "rsa-3072", "validity_days": 45, "profile": "tls-server"},
    "approval_valid_days": 397,
    "rules": _COMMON_RULES
    | {
        "max_validity": {
            "days": 398,
            "schedule": [{"from": start, "days": days} for start, days, _ in SC081_STEPS],
        }
    },
}
