"""The command with which an owner makes a new key and CSR for a certificate."""

from __future__ import annotations

from certs.inventory.servers import server_of
from certs.renewal.plan import RenewalPlan
from certs.servers.commands import CSRContent, compose
from certs.servers.kinds import Tool


def csr_command(plan: RenewalPlan) -> str:
    """Return the command of the tool with which the requester's server makes keys, else that of openssl."""
    return next((text for _, text in csr_commands(plan)), "")


def csr_commands(plan: RenewalPlan) -> list[tuple[Tool, str]]:
    """Return the commands of all tools that make such a key, that of the requester's server first."""
    server = server_of(plan.certificate)
    tools = sorted(Tool, key=lambda tool: server is None or tool is not server.tool)
    return [(tool, text) for tool in tools if (text := _command(plan, tool))]


def _command(plan: RenewalPlan, tool: Tool) -> str:
    """Return the command for a CSR with the names of the plan and a key of its type.

    The key type is the one that the policy in force requires. "" where the tool cannot make such a
    key.
    """
    suggestion = plan.decision.suggestion if plan.decision else None
    spec = plan.spec
    key = str((suggestion.changes if suggestion else {}).get("key", spec.key))
    names = (*spec.dns_names, *spec.ip_addresses)
    return compose(tool, CSRContent(names, key, spec.profile, spec.common_name))
