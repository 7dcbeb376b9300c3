"""A private Vault over TLS with file storage: started, initialised and unsealed; may be killed and started again on its data."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.harness.certificates import make_server_certificate
from tests.harness.console import HarnessError
from tests.harness.processes import Server, free_port

# The configuration of a `vault` or `bao` from elsewhere (PKI_TEST_VAULT_BIN); tests/vaultd takes the same as options.
_CONFIG = """
disable_mlock = true
api_addr = "https://127.0.0.1:{port}"
storage "file" {{ path = "{storage}" }}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_cert_file = "{certificate}"
  tls_key_file = "{key}"
}}
"""


class Vault:
    """One server in `folder`. After `start()` it is sealed; `initialise()` once, then `unseal()` after every later start."""

    def __init__(self, folder: Path, program: Path) -> None:
        folder.mkdir(mode=0o700, parents=True)
        self._folder = folder
        self._program = program
        self._tls = make_server_certificate(folder / "tls")
        https = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self._tls.ca)))
        self._http = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)  # loopback goes through no proxy
        self._server = Server("Vault", folder / "vault.log")
        self._port = 0
        self._unseal_key = ""
        self.root_token = ""

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    @property
    def ca_file(self) -> Path:
        return self._tls.ca

    def start(self) -> None:
        """Start sealed. The port is chosen at the first start and kept."""
        if self._program.name == "vaultd":
            self._start_vaultd()
        else:
            self._start_packaged()
        self._server.wait_until(self._answers)

    def _start_vaultd(self) -> None:
        tls: list[str | Path] = ["-tls-cert", self._tls.certificate, "-tls-key", self._tls.key]
        command: list[str | Path] = [self._program, "-listen", f"127.0.0.1:{self._port}", "-dir", self._folder / "storage", *tls]
        process = self._server.spawn(command, stdout=subprocess.PIPE)
        line = process.stdout.readline() if process.stdout else ""
        if not line.strip():
            raise HarnessError(f"Vault ended while it started:\n{self._server.log_tail()}")
        self._port = int(line.rsplit(":", 1)[1])

    def _start_packaged(self) -> None:
        self._port = self._port or free_port()
        config = self._folder / "vault.hcl"
        values = {"port": self._port, "storage": self._folder / "storage", "certificate": self._tls.certificate, "key": self._tls.key}
        config.write_text(_CONFIG.format_map(values), encoding="utf-8")
        # VAULT_ADDR and the like are for clients, but a server reads some of them too.
        env = {name: value for name, value in os.environ.items() if not name.startswith(("VAULT_", "BAO_"))}
        self._server.spawn([self._program, "server", f"-config={config}"], env=env)

    def initialise(self) -> None:
        """One key share, so that one call unseals; real installations take more."""
        answer = self._call("PUT", "/v1/sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._unseal_key, self.root_token = answer["keys_base64"][0], answer["root_token"]
        self.unseal()

    def unseal(self) -> None:
        self._call("PUT", "/v1/sys/unseal", {"key": self._unseal_key})
        self._server.wait_until(self._active)

    def seal(self) -> None:
        self._call("PUT", "/v1/sys/seal", {})

    def kill(self) -> None:
        self._server.kill()

    def stop(self) -> None:
        self._server.stop()

    def _answers(self) -> bool:
        return self._health() is not None

    def _active(self) -> bool:
        return self._health() == 200  # sys/health: initialised, unsealed, active

    def _health(self) -> int | None:
        try:
            with self._http.open(f"{self.address}/v1/sys/health", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code
        except OSError:
            return None

    def _call(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.address}{path}", json.dumps(body).encode(), method=method)
        request.add_header("X-Vault-Token", self.root_token)
        try:
            with self._http.open(request, timeout=30) as answer:
                content = answer.read()
        except urllib.error.HTTPError as refused:
            raise HarnessError(f"Vault answered {refused.code} to {method} {path}.") from refused
        answered: dict[str, Any] = json.loads(content) if content else {}
        return answered
