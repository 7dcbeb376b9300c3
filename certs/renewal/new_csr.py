"""The command with which an owner makes a new key and CSR for a certificate."""

from __future__ import annotations

from certs.renewal.plan import RenewalPlan
from certs.servers.commands import CSRContent, compose
from certs.servers.kinds import Tool


def csr_command(plan: RenewalPlan, tool: Tool = Tool.OPENSSL) -> str:
    """Return the command for a CSR with the names of the plan and a key of its type.

    The key type is the one that the policy in force requires. "" where the tool cannot make such a
    key.
    """
    suggestion = plan.decision.suggestion if plan.decision else None
    spec = plan.spec
    key = str((suggestion.changes if suggestion else {}).get("key", spec.key))
    names = (*spec.dns_names, *spec.ip_addresses)
    return compose(tool, CSRContent(names, key, spec.profile, spec.common_name))


def csr_commands(plan: RenewalPlan) -> list[tuple[Tool, str]]:
    """Return the same for each tool that makes such a key, for pages that let people choose."""
    return [(tool, text) for tool in Tool if (text := csr_command(plan, tool))]
