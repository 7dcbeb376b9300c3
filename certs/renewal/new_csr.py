"""The command with which an owner makes a new key and CSR for a certificate."""

from __future__ import annotations

import re
import shlex

from certs.renewal.plan import RenewalPlan
from keys.spec import KeyFacts

_CURVES = {256: "P-256", 384: "P-384", 521: "P-521"}


def csr_command(plan: RenewalPlan) -> str:
    """Return the OpenSSL command for a CSR with the names of the plan and a key of its type.

    Where the policy of now asks for another key type, it is that one. "" where OpenSSL makes no such
    key. `-nodes`: the server reads the key without a passphrase, as it did before.
    """
    suggestion = plan.decision.suggestion if plan.decision else None
    key = _key_options(str((suggestion.changes if suggestion else {}).get("key", plan.spec.key)))
    names = [f"DNS:{name}" for name in plan.spec.dns_names] + [f"IP:{address}" for address in plan.spec.ip_addresses]
    if not key or not names:
        return ""
    first = plan.spec.common_name or names[0].partition(":")[2]
    file = re.sub(r"[^A-Za-z0-9.-]", "_", first.replace("*", "wildcard"))
    # A subject is `/type=value` each; a slash in the value would begin another one.
    # A common name holds up to 64 characters (RFC 5280 A.1); a longer name is in the subjectAltName alone.
    subject = "/" if len(first) > 64 else "/CN=" + first.replace("\\", "\\\\").replace("/", "\\/").replace("+", "\\+")
    # Lines that a mail program need not break.
    return " \\\n  ".join(
        (
            f"openssl req -new -newkey {key} -nodes",
            f"-keyout {shlex.quote(file + '.key')} -out {shlex.quote(file + '.csr')}",
            f"-subj {shlex.quote(subject)}",
            f"-addext {shlex.quote('subjectAltName=' + ','.join(names))}",
        )
    )


def _key_options(key_type: str) -> str:
    facts = KeyFacts.from_name(key_type)
    match facts.family:
        case "rsa":
            return f"rsa:{facts.bits}"
        case "ec" if facts.bits in _CURVES:
            return f"ec -pkeyopt ec_paramgen_curve:{_CURVES[facts.bits]}"
        case "ed25519":
            return "ed25519"
    return ""
