"""How each system and language is told to trust a root: one command or one sentence, from `templates/snippets/trust/`.

The same text is on the page, and in tests that run what can be run.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.template.loader import render_to_string

from certs.trust.roots import Root


@dataclass(frozen=True, slots=True)
class System:
    """`name` of the file in `templates/snippets/trust/`, without its ending. `note`: what a reader may miss."""

    name: str
    title: str
    note: str = ""
    is_command: bool = True


SYSTEMS = (
    System("debian", "Debian, Ubuntu"),
    System("rhel", "RHEL, Fedora, Rocky, Alma"),
    System("alpine", "Alpine", "Needs the package ca-certificates."),
    System("windows", "Windows", "In PowerShell, as administrator. Edge, Chrome and .NET use this store."),
    System("macos", "macOS", "Safari, Chrome and most programs use this store."),
    System("ios", "iPhone, iPad", is_command=False),
    System("firefox", "Firefox", "Since version 120, Firefox also trusts what the system trusts.", is_command=False),
    System("chrome", "Chrome on Linux", "Elsewhere, Chrome uses the store of the system. Needs the package libnss3-tools."),
    System("java", "Java", "For one Java installation; changeit is the password that Java comes with."),
    System("node", "Node.js", "For the program that is started so."),
    System(
        "python",
        "Python",
        "For programs that use requests, urllib or ssl. Names this root alone: certificates of the internet are then refused.",
    ),
    System("curl", "curl", "For this one call."),
    System("container", "Containers (Debian image)", "In the Dockerfile. On Alpine the same works after apk add ca-certificates."),
)


def text_for(system: System, root: Root, *, base_url: str) -> str:
    """Return the command or the sentence for one root."""
    context = {"root": root, "file": f"{root.slug}.pem", "url": f"{base_url}/trust/{root.slug}"}
    return render_to_string(f"snippets/trust/{system.name}.txt", context).strip()


def download_for(root: Root, *, base_url: str) -> str:
    """Return the commands that download the PEM file and compare it with its checksum."""
    context = {"root": root, "file": f"{root.slug}.pem", "url": f"{base_url}/trust/{root.slug}"}
    return render_to_string("snippets/trust/download.txt", context).strip()
