"""Installation snippets on pages and in mails: `{% snippets names server %}`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import template

from certs.servers.kinds import CLIENT, CLIENT_PROFILE, SERVERS, Server
from certs.servers.snippets import Snippet, snippet

register = template.Library()


@register.inclusion_tag("components/snippets.html")
def snippets(names: Sequence[str], server: Server | None = None, profile: str = "tls-server") -> dict[str, Any]:
    """Show how a certificate of these names gets into each kind of server.

    The chosen server comes first and open. A client certificate has one way.
    """
    return {"snippets": _snippets(names, server, profile)}


def _snippets(names: Sequence[str], server: Server | None, profile: str) -> list[Snippet]:
    if profile == CLIENT_PROFILE:
        return [snippet(CLIENT, names)]
    first = server or SERVERS[0]
    return [snippet(one, names) for one in (first, *(one for one in SERVERS if one is not first))]
