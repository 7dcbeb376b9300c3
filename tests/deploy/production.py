"""The shipped compose file without containers: its commands as processes, with its environment, on private servers.

What changes on the way from the files to the processes is addresses and paths, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hvac
import psycopg

from tests.deploy.compose import HOST, compose
from tests.faults.proxy import proxied
from tests.harness.processes import Server, free_port
from tests.harness.vault import Vault

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
VAULT_README = (ROOT / "docs" / "vault" / "README.md").read_text().replace("\\\n", " ")
WEB = ("web", "ca-api", "status")
LOOPBACK = "127.0.0.0/8"


@dataclass
class Production:
    folder: Path
    vault: Vault
    services: dict[str, dict[str, Any]] = field(default_factory=lambda: compose()["services"])
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    plain: int = 0
    tls: int = 0

    def environment(self, service: str) -> dict[str, str]:
        """What the container would have, with this machine's addresses, and the image's own variables."""
        image = re.findall(r"(\w+)=(\S+)", " ".join(re.findall(r"^ENV (.*)$", DOCKERFILE, re.MULTILINE)))
        given = {name: self.local(service, str(value)) for name, value in self.services[service].get("environment", {}).items()}
        if "PKI_TRUSTED_PROXIES" in given:
            given["PKI_TRUSTED_PROXIES"] = LOOPBACK
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, "TMPDIR": str(self.tmp(service)), **dict(image), **given}

    def local(self, service: str, text: str) -> str:
        """Addresses and paths of the containers as those of this machine. In one pass: what is put in is not looked at again."""
        address = f"127.0.0.1:{self.ports.get(service)}"
        places = {
            "/run/secrets/": f"{self.folder}/secrets/",
            "/srv/": f"{self.folder}/srv/",
            "/tmp/": f"{self.tmp(service)}/",
            "https://openbao:8200": self.vault.address,
            "0.0.0.0:8000": address,
            "127.0.0.1:8000": address,
        }
        return re.sub("|".join(map(re.escape, places)), lambda match: places[match[0]], text)

    def tmp(self, service: str) -> Path:
        folder = self.folder / "tmp" / service
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log(self, service: str) -> Path:
        return self.folder / f"{service}.log"

    def command(self, service: str) -> list[str]:
        """The service's command, or the image's."""
        image = json.loads(re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)[-1])
        return [self.local(service, part) for part in self.services[service].get("command", image)]

    def finish(self, service: str) -> None:
        """Wait for a service that ends by itself."""
        assert self.processes.pop(service).wait(120) == 0, self.log(service).read_text()

    def script(self, service: str, text: str) -> str:
        """The output of a few lines of Python in one more container of the service."""
        command = [sys.executable, "-c", f"import django\ndjango.setup()\n{text}"]
        done = subprocess.run(command, cwd=ROOT, env=self.environment(service), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self, service: str, **more: str) -> None:
        """In a process group of its own, as the processes of a container are."""
        env = {**self.environment(service), **more}
        with self.log(service).open("ab") as log:
            self.processes[service] = subprocess.Popen(
                self.command(service), cwd=ROOT, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def healthy(self, service: str) -> bool:
        """Run the health check as it is written in the compose file."""
        kind, *command = self.services[service]["healthcheck"]["test"]
        local = [self.local(service, part) for part in command]
        server = {"PGHOST": "127.0.0.1", "PGPORT": str(self.ports["db"])}
        # Clients in the container find their server at its usual port.
        local = [part.replace("redis-cli ", f"redis-cli -p {self.ports['redis']} ") for part in local]
        line = ["/bin/sh", "-c", *local] if kind == "CMD-SHELL" else local
        done = subprocess.run(line, env={**self.environment(service), **server}, capture_output=True, check=False)
        return done.returncode == 0

    def stop(self) -> None:
        """At once: what they would do in an orderly end is not under test here."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def production(folder: Path, *, database_url: str, vault_program: Path) -> Iterator[Production]:
    """Everything that the compose file starts, after the steps of docs/operations/production.md."""
    with contextlib.ExitStack() as undo:
        vault = Vault(folder / "vault", vault_program)
        undo.callback(vault.stop)
        vault.start()
        vault.initialise()
        portal = Production(folder, vault)
        for name in ("static", "audit"):
            (folder / "srv" / name).mkdir(parents=True)
        portal.ports = {name: free_port() for name in (*WEB, "redis")}
        _make_secrets(portal)
        _make_database(portal, database_url, undo)
        _start_redis(portal, undo)
        _set_up_vault(portal)
        undo.callback(portal.stop)
        portal.start("bootstrap", VAULT_TOKEN=_bootstrap_token(portal))
        portal.start("collectstatic")
        portal.finish("collectstatic")
        portal.finish("bootstrap")
        for service, config in portal.services.items():
            if config["image"].startswith("pki-portal") and not config.get("profiles"):
                portal.start(service)
        _wait(portal)
        (folder / "proxy").mkdir()
        addresses = {name: portal.ports[name] for name in WEB}
        portal.plain, portal.tls = undo.enter_context(proxied(folder / "proxy", services=addresses, host=HOST))
        yield portal


def _make_secrets(portal: Production) -> None:
    env = {"PATH": os.environ["PATH"], "PKI_SECRETS_GROUP": str(os.getgid())}
    subprocess.run([ROOT / "deploy" / "make-secrets"], cwd=portal.folder, env=env, check=True, capture_output=True)
    files = portal.folder / "secrets"
    (files / "email_url").write_text("smtp://127.0.0.1:1")
    (files / "openbao_ca").write_bytes(portal.vault.ca_file.read_bytes())
    url = (files / "redis_url").read_text()
    (files / "redis_url").write_text(url.replace("@redis:6379/", f"@127.0.0.1:{portal.ports['redis']}/"))


def _make_database(portal: Production, admin_url: str, undo: contextlib.ExitStack) -> None:
    """A database and a role for this run; both names are its own, so that several may run at once."""
    name = f"portal_{secrets.token_hex(4)}"
    files = portal.folder / "secrets"
    password = (files / "database_password").read_text().strip()
    portal.ports["db"] = int(urlsplit(admin_url).port or 5432)
    admin = undo.enter_context(psycopg.connect(admin_url, autocommit=True))
    admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'".encode())
    undo.callback(lambda: admin.execute(f"DROP ROLE {name}".encode()))
    admin.execute(f"CREATE DATABASE {name} OWNER {name}".encode())
    undo.callback(lambda: admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode()))
    url = (files / "database_url").read_text()
    (files / "database_url").write_text(
        url.replace("//portal:", f"//{name}:").replace("@db/portal", f"@127.0.0.1:{portal.ports['db']}/{name}")
    )


def _start_redis(portal: Production, undo: contextlib.ExitStack) -> None:
    text = portal.local("redis", (ROOT / "deploy" / "redis" / "redis.conf").read_text())
    text = text.replace("port 6379", f"port {portal.ports['redis']}\nbind 127.0.0.1").replace("dir /tmp", f"dir {portal.tmp('redis')}")
    (portal.folder / "redis.conf").write_text(text)
    server = Server("Redis", portal.log("redis"))
    undo.callback(server.stop)
    server.spawn(["redis-server", portal.folder / "redis.conf"])
    server.wait_until(lambda: portal.healthy("redis"))


def _set_up_vault(portal: Production) -> None:
    """The lines of docs/vault/README.md, one by one; addresses of networks are this machine's."""
    client = _client(portal)
    for mount in re.findall(r"^bao secrets enable -path=(\S+) transit$", VAULT_README, re.MULTILINE):
        client.sys.enable_secrets_engine("transit", path=mount)
    (names,) = re.findall(r"^for name in ([\w ]+); do bao policy write", VAULT_README, re.MULTILINE)
    for name in names.split():
        client.sys.create_or_update_policy(f"portal-{name}", (ROOT / "docs" / "vault" / f"{name}.hcl").read_text())
    client.sys.enable_auth_method("approle")
    files = portal.folder / "secrets"
    for role, options in re.findall(r"^bao write auth/approle/role/portal-(\w+) +(.+)$", VAULT_README, re.MULTILINE):
        given = {key: LOOPBACK if key.endswith("_cidrs") else value for key, value in (option.split("=", 1) for option in options.split())}
        client.write_data(f"auth/approle/role/portal-{role}", data=given)
        (files / f"{role}_role_id").write_text(client.read(f"auth/approle/role/portal-{role}/role-id")["data"]["role_id"])
        (files / f"{role}_secret_id").write_text(client.write_data(f"auth/approle/role/portal-{role}/secret-id")["data"]["secret_id"])


def _bootstrap_token(portal: Production) -> str:
    made = _client(portal).auth.token.create(policies=["portal-bootstrap"], no_default_policy=True, ttl="15m")
    return str(made["auth"]["client_token"])


def _client(portal: Production) -> hvac.Client:
    client = hvac.Client(url=portal.vault.address, token=portal.vault.root_token, verify=str(portal.vault.ca_file))
    client.session.trust_env = False
    return client


def _wait(portal: Production) -> None:
    deadline = time.monotonic() + 180
    waiting = [name for name in portal.processes if "healthcheck" in portal.services[name]]
    while waiting:
        for name in waiting:
            assert portal.processes[name].poll() is None, portal.log(name).read_text()[-3000:]
        waiting = [name for name in waiting if not portal.healthy(name)]
        assert time.monotonic() < deadline, {name: portal.log(name).read_text()[-2000:] for name in waiting}
        time.sleep(0.5)
