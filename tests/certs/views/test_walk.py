"""The walk from the form to the request is short enough to be followed: docs/architecture.md says how many files it passes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from django.test import Client

from certs.models import CertificateRequest
from certs.views.new import draft
from tests.journeys.test_channels import signed_in
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("audit", "certs", "db", "keys", "policy")
SIGN_IN = "certs/access/sessions.py"


class Walk:
    """Notes the files of the product in which a function is called, from the view of the form on."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self._view = draft.submit.__code__
        self._began = False

    def __call__(self, frame: FrameType, event: str, _arg: Any) -> None:
        if event == "call":
            self._began = self._began or frame.f_code is self._view
            path = Path(frame.f_code.co_filename)
            if self._began and path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES:
                self.files.add(str(path.relative_to(ROOT)))
        elif event == "return" and frame.f_code is self._view:
            self._began = False


def submitted(client: Client, name: str, walk: Walk) -> None:
    place = client.post("/new/", {"place": "vault", "team": "web", "names": name})["Location"]
    shown = client.get(f"{place}plan/").context["shown"]
    sys.setprofile(walk)
    try:
        answer = client.post(f"{place}submit/", {"shown": shown})
    finally:
        sys.setprofile(None)
    assert answer["Location"].startswith("/requests/")


def test_the_walk_from_the_form_to_the_request_passes_as_many_files_as_the_architecture_says(portal: Portal) -> None:
    alice = signed_in("alice")
    submitted(alice, "first.example.com", Walk())  # what is read once a process
    walk = Walk()
    submitted(alice, "second.example.com", walk)
    assert CertificateRequest.objects.count() == 2
    said = re.search(r"runs in (\d+)\s+files", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert said is not None
    files = walk.files - {SIGN_IN}
    assert len(files) <= int(said[1]), "\n".join(sorted(files))
