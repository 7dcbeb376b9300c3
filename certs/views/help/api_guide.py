"""The guide of the API: from a token to the first certificate, with examples that are run in the tests."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from certs.access.permissions import teams_of

EXAMPLE = "shop.example.com"


@dataclass(frozen=True, slots=True)
class Example:
    """A file of `templates/snippets/api/`, as the guide shows it."""

    file: str
    label: str
    text: str


_FILES = {
    "settings": ("settings.sh.txt", "Settings of the shell"),
    "first": ("first.sh.txt", "First certificate with curl"),
    "renew": ("renew.sh.txt", "Renewal every night with curl"),
    "vault": ("vault.sh.txt", "Certificate with a key in the vault"),
    "words": ("words.sh.txt", "Request in words"),
    "list": ("list.sh.txt", "Certificates that end soon"),
    "python": ("python.py.txt", "First certificate with Python"),
    "gitlab": ("gitlab.yml.txt", "GitLab CI"),
}


def examples(*, base_url: str, name: str) -> dict[str, Example]:
    """Return the examples for a portal, each for a certificate of `name`, by their own names."""
    context = {"base_url": base_url, "name": name}
    return {name: Example(file, label, render_to_string(f"snippets/api/{file}", context).strip()) for name, (file, label) in _FILES.items()}


@require_safe
def guide(request: HttpRequest) -> HttpResponse:
    """For everybody; a person who is signed in sees the domain of the first own team."""
    teams = teams_of(request.user) if request.user.is_authenticated else []
    name = teams[0].example_name if teams else EXAMPLE
    context = {"examples": examples(base_url=settings.PKI_PORTAL_URL, name=name), "base_url": settings.PKI_PORTAL_URL}
    return render(request, "guide/api.html", context)
