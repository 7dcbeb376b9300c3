"""A CA elsewhere: Vault's PKI engine with a root and a role as docs/vault/README.md wants them."""

from __future__ import annotations

from typing import Any

import hvac

from tests.harness.plugin.parts import VaultAccess

ROLE = "portal"


def pki_engine(vault: hvac.Client, access: VaultAccess, mount: str) -> dict[str, Any]:
    """Set that engine up; answers the options of a VaultPKIClient that may use it, but for its address."""
    vault.sys.tune_mount_configuration(mount, max_lease_ttl="87600h")
    vault.secrets.pki.generate_root("internal", "Vault Root", {"ttl": "87000h", "key_type": "ec", "key_bits": 256}, mount_point=mount)
    role = {
        "allowed_domains": "example.com",
        "allow_subdomains": True,
        "use_csr_sans": False,
        "use_csr_common_name": False,
        "server_flag": True,
        "client_flag": False,
        "key_type": "any",
        "max_ttl": "9528h",
        "key_usage": ["DigitalSignature"],
    }
    vault.secrets.pki.create_or_update_role(ROLE, role, mount_point=mount)
    return {"mount": mount, "role": ROLE, "ca_cert": str(access.ca_file), "token": access.token}
