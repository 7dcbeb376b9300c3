"""A certified OpenID provider as a local server: `running` starts it, `IdentityProvider` speaks with it."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from tests.harness.console import in_ci

HERE = Path(__file__).parent
CLIENT_ID, CLIENT_SECRET = "pki-portal", "a client secret of thirty-two chars"
CALLBACK = "/login/oidc/callback/"


@dataclass(frozen=True)
class IdentityProvider:
    """The running server. `issuer` is its address."""

    issuer: str

    def is_signed_in(self, sub: str, **claims: Any) -> None:
        """Let the person be signed in at the provider from now on, with these claims."""
        requests.put(f"{self.issuer}/control", json={"sub": sub, **claims}, timeout=5).raise_for_status()

    def logout_form(self, sub: str) -> dict[str, str]:
        """Return the form that the provider posts when it has signed the subject out."""
        answer = requests.put(f"{self.issuer}/sign-out", json={"sub": sub}, timeout=5)
        answer.raise_for_status()
        return dict(parse_qsl(answer.text))

    def answer_to(self, address: str) -> str:
        """Go to the provider as a browser does, and return the path and query of the way back."""
        with requests.Session() as browser:
            for _ in range(8):
                answer = browser.get(address, allow_redirects=False, timeout=5)
                assert answer.is_redirect, answer.text[:500]
                address = requests.compat.urljoin(address, answer.headers["Location"])
                parts = urlsplit(address)
                if parts.path == CALLBACK:
                    return f"{parts.path}?{parts.query}"
        raise AssertionError("The provider did not lead back.")


def installed() -> Path:
    """Return the folder with the server and its packages, installed once into a cache outside the tree."""
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in ("package-lock.json", "server.mjs"))).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "pkiportal" / f"identity-provider-{digest[:16]}"
    if (folder / "installed").exists():
        return folder
    if not (shutil.which("node") and shutil.which("npm")):
        _left_out("node and npm are not there: they run the OpenID provider of the tests")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", ".npmrc", "server.mjs"):
        shutil.copy(HERE / name, folder / name)
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if done.returncode:
        _left_out(f"npm could not install the OpenID provider of the tests: {done.stderr[-300:]}")
    (folder / "installed").touch()
    return folder


def _left_out(reason: str) -> None:
    (pytest.fail if in_ci() else pytest.skip)(reason)


@contextmanager
def running(*redirect_uris: str) -> Iterator[IdentityProvider]:
    """Run the provider on a free port until the block ends."""
    folder = installed()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["node", "server.mjs", str(port), CLIENT_ID, CLIENT_SECRET, ",".join(redirect_uris)]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if line.strip() == "ready":
                break
        assert server.poll() is None, "The OpenID provider of the tests did not start."
        yield IdentityProvider(f"http://127.0.0.1:{port}")
    finally:
        server.terminate()
        server.wait(timeout=10)
        if server.stdout is not None:
            server.stdout.close()
