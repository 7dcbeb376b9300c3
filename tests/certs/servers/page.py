"""`python -m tests.certs.servers.page > docs/servers.md`: the page of installation snippets, from their one source."""

from __future__ import annotations

import sys

import django

HEAD = """# Two files and one reload

How a certificate gets into server software. The portal shows the same text, with your names in it, on the page of a request once the
certificate is signed. Each part is put to the real server by the tests (`tests/certs/servers/test_snippets.py`); IIS by its structure
alone.

The two files are the private key, which the composed command made on your machine, and the certificate with its chain
(`…-fullchain.pem`), which you download. The names here are those of `shop.example.com`.
"""
NAMES = ("shop.example.com", "www.example.com")


def page() -> str:
    """The whole text."""
    from certs.servers.kinds import CLIENT, SERVERS  # noqa: PLC0415 - needs settings
    from certs.servers.snippets import snippet  # noqa: PLC0415

    parts = [HEAD]
    for server in (*SERVERS, CLIENT):
        parts.append(f"## {server.label}\n")
        for number, step in enumerate(snippet(server, NAMES).steps, start=1):
            text = f"\n\n```\n{step.text}\n```" if step.text else "."
            parts.append(f"{number}. {step.title}{text}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    django.setup()
    sys.stdout.write(page())
