"""What a careful operator is to know of the settings at the start of a process, and what stops nothing.

A misspelt variable is read by nobody: the default holds, which may be the opposite of what somebody wrote, and nothing shows it.
It stops no start, for other programs put variables into an environment too.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pkiportal.env import READ, host_of, leads_to_itself

_WHERE = "All settings: docs/operations/settings.md."
# Of the compose file and its script, of examples for clients of the API, and of tests and benchmarks.
_OF_OTHERS = re.compile(r"PKI_(PORTAL_HOST|SECRETS_GROUP|TOKEN|PICTURES|(TEST|BENCH|FAULT)_.*)")
# Kubernetes puts the address of each service into the environment: of a service "pki-portal" PKI_PORTAL_PORT=tcp://10.0.0.1:443.
_OF_KUBERNETES = re.compile(r"(.*_SERVICE_(HOST|PORT(_.*)?)|.*_PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")
_MOUNTED = (Path("/run/secrets"), Path("/var/run/secrets"))


def unread(environment: Mapping[str, str], read: Collection[str] = READ) -> Iterator[str]:
    """Yield a line for each variable that looks like a setting and that nothing reads, with the nearest name that is read.

    Values are not repeated. Vault's own program has variables of its own, so of `VAULT_...` only what is close to a setting counts.
    """
    for name in sorted(set(environment) - set(read)):
        looks = name.upper()
        if not looks.startswith(("PKI_", "VAULT_")) or _OF_OTHERS.fullmatch(looks) or _OF_KUBERNETES.fullmatch(looks):
            continue
        nearest = get_close_matches(looks, read, n=1, cutoff=0.85)
        if nearest:
            yield f"{name} is set and has no effect: this process reads no variable of that name. Did you mean {nearest[0]}? {_WHERE}"
        elif looks.startswith("PKI_"):
            yield f"{name} is set and has no effect: this process reads no variable of that name. Correct the name, or remove it. {_WHERE}"


def open_files(environment: Mapping[str, str], settings: Any, read: Collection[str] = READ) -> Iterator[str]:
    """Yield one line with the files of secrets that every account of this machine can read or change.

    What an orchestrator mounts is another matter: it gives files the modes that it likes, to one container alone.
    """
    files = {f"{name}={environment[name]}": Path(environment[name]) for name in read if name.endswith("_FILE") and environment.get(name)}
    homes = [Path(str(home)) for home in (getattr(settings, "AUDIT_HOME", None),) if home]
    files |= {str(home / "audit.key"): home / "audit.key" for home in homes}
    files |= {str(path): Path(path) for one in settings.KEY_BACKENDS.values() if (path := one["OPTIONS"].get("kek_file"))}
    files |= {str(path): path for path in _entries(Path(settings.PKI_CA_CREDENTIALS)) if path.suffix != ".pem"}
    found = [label for label, path in sorted(files.items()) if _is_open(path)]
    if found:
        yield f"Every account of this machine can use these secrets: {', '.join(found)}. Run chmod o-rwx on them, and replace the secrets."


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # only some processes have it
        return []


def _is_open(path: Path) -> bool:
    mounted = any(path.is_relative_to(folder) for folder in _MOUNTED)
    try:
        return not mounted and path.is_file() and bool(path.stat().st_mode & stat.S_IRWXO)
    except OSError:
        return False


def doubtful(settings: Any) -> Iterator[str]:
    """Yield a line for each setting that is accepted and will hardly be what its operator wants."""
    # 1. A Vault that this process cannot sign in to would show at the first key.
    vaults = [one["OPTIONS"] for one in settings.KEY_BACKENDS.values() if one["BACKEND"] == "keys.backends.vault.VaultKeyBackend"]
    if any(not (one.get("token") or one.get("role_id")) for one in vaults):
        yield (
            "VAULT_ADDR is set without a login, so this process can use no key there. Set VAULT_ROLE_ID and VAULT_SECRET_ID (or their "
            "_FILE forms), or leave VAULT_ADDR out where no key is used."
        )
    if settings.PKI_EMBEDDED:
        return
    # 2. RFC 5280 4.2.1.6: a full domain name or an address. A single label is looked up in one's own domain only.
    host = host_of(settings.PKI_BASE_URL)
    if "." not in host and not host.startswith("["):
        yield (
            "PKI_BASE_URL has a host name without a domain. It stands in certificates permanently, and clients of another domain cannot "
            "look it up. Use a full name, such as http://pki.example.com, before the first certificate."
        )
    # 3. Links in mails.
    if leads_to_itself(host_of(settings.PKI_PORTAL_URL)):
        yield "PKI_PORTAL_URL leads each reader of a mail to the reader's own machine. Set it to the address of the portal."
