"""How a certificate gets into server software: the one source for pages, mails and documents.

Each text is `templates/snippets/servers/SLUG.txt`: steps that begin with a line `== kind: title`. The kinds
are `files` (shell), `config` (of the server) and `reload` (shell).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.template import engines

from certs.servers.files import FileNames, is_plain
from certs.servers.kinds import Server

_STEP = re.compile(r"^== (files|config|reload): (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an installation. `text` is empty where there is nothing to type."""

    kind: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Snippet:
    """The steps that bring a certificate into one kind of server."""

    server: Server
    steps: tuple[Step, ...]

    @property
    def title(self) -> str:
        """The heading of a mail or page that has these steps alone."""
        return f"{self.server.label}: {self.server.amount}"


def snippet(server: Server, names: Sequence[str], *, folder: str = "") -> Snippet:
    """Return the steps for a certificate of these names.

    `names` are DNS names and IP addresses in normal form; one with another letter is left out.
    `folder`: "" for the server's usual one.
    """
    plain = [name for name in names if is_plain(name)]
    files = FileNames.of(tuple(plain))
    # Written for shells and configuration files, not for HTML: pages escape it.
    source = engines["django"].from_string(
        "{% autoescape off %}{% include name %}{% endautoescape %}",
    )
    context = {
        "name": f"snippets/servers/{server.slug}.txt",
        "names": plain,
        "hosts": [f"[{name}]" if ":" in name else name for name in plain],
        "files": files,
        "folder": folder or server.folder,
    }
    parts = _STEP.split(source.render(context))
    steps = [Step(parts[at], parts[at + 1], parts[at + 2].strip("\n")) for at in range(1, len(parts), 3)]
    return Snippet(server, tuple(steps))
