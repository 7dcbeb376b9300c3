"""`manage.py up`: the whole portal in one process (web, worker, beat), on the embedded default."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import BaseCommand, CommandError, CommandParser, call_command

from audit.files import write_once

DEMO_SENTENCE = "Issue TLS certificate for api.example.com with RSA 4096, 90-day validity"


class Command(BaseCommand):
    help = "Serve the portal with worker and beat in the same process, until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--demo", action="store_true", help="bootstrap with a demo login and issue the README's certificate first")
        parser.add_argument("--no-serve", action="store_true", help="stop after the preparation (with --demo: after the request)")
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=0, help="default: 8000, or the next free one")
        parser.add_argument("--threads", type=int, default=8)
        parser.add_argument("--json", action="store_true", help="with --no-serve: print only the JSON of the result")

    def handle(self, *args: Any, **options: Any) -> None:
        if not getattr(settings, "PKI_EMBEDDED", False):
            raise CommandError(
                "`up` is for the embedded default. In production, run web, worker and beat apart (see docker-compose.yml).", returncode=2
            )
        if not 0 <= options["port"] <= 65_535:
            raise CommandError("--port takes 1 to 65535.", returncode=2)
        if not 1 <= options["threads"] <= 1000:
            raise CommandError("--threads takes 1 to 1000.", returncode=2)
        _check_host(options["host"])
        port = 0 if options["no_serve"] else options["port"] or free_port(options["host"])
        if port:
            address = _address(options["host"], port)
            _be_found_at(address)
            _link_to(address)
        if options["demo"]:
            self._demo(options)
        if options["no_serve"]:
            return
        if not options["demo"]:
            call_command("bootstrap", interactive=False, stdout=self.stdout)
        call_command("collectstatic", interactive=False, verbosity=0)
        if options["demo"]:
            self.stdout.write("\nSign in as demo, with the password of the line that begins with `login`.")
        self._serve(options["host"], port, options["threads"])

    def _demo(self, options: dict[str, Any]) -> None:
        out = open("/dev/null", "w", encoding="ascii") if options["json"] else self.stdout  # noqa: SIM115, PTH123 - lives as long as the process
        print("Setting up (SQLite, local encrypted keys, own CA) ...", file=out, flush=True)
        call_command("bootstrap", demo=True, stdout=out)
        print(f"Request: {DEMO_SENTENCE}", file=out, flush=True)
        self._issue(options)

    def _issue(self, options: dict[str, Any]) -> None:
        """In a process of its own, which is its own worker: the server forks its web process, and a worker's threads do not
        survive that. Exits with the command's code when nothing was issued.
        """
        command = [sys.executable, sys.argv[0], "issue", DEMO_SENTENCE, "--idempotency-key", "make-demo"]
        done = subprocess.run([*command, *(["--json"] if options["json"] else [])], check=False)
        if done.returncode:
            sys.exit(done.returncode)

    def _serve(self, host: str, port: int, threads: int) -> None:
        self.stdout.write(self.style.SUCCESS(f"\nPortal: http://{host}:{port}/   admin: http://{host}:{port}/admin/   (Ctrl-C stops it)"))
        if urlsplit(settings.PKI_BASE_URL).port != port:
            addresses = f"Certificates name {settings.PKI_BASE_URL} for CRL, OCSP and the CA's certificate, which this server is not."
            self.stdout.write(f"  note: {addresses} Serve at that address: what is issued names it for good.")
        self.stdout.flush()
        from pkiportal.processes.serving import serve_embedded  # noqa: PLC0415 - gunicorn is needed only here

        serve_embedded(host, port, threads)


def _address(host: str, port: int) -> str:
    name = "127.0.0.1" if host in {"0.0.0.0", "::"} else f"[{host}]" if ":" in host else host  # noqa: S104 - compared, not bound
    return f"http://{name}:{port}"


def _check_host(host: str) -> None:
    """Raise CommandError for a host that is no address of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((host, 0))
        except (OSError, UnicodeError) as exc:
            raise CommandError(f"--host takes an address of this machine, such as 127.0.0.1: {exc}.", returncode=2) from exc


def _be_found_at(address: str) -> None:
    """On the very first start, certificates are made to name this server for CRL, OCSP and the CA's certificate. Later the address
    stays, for it is in certificates then; so it does where PKI_BASE_URL gives it.
    """
    database = Path(str(settings.DATABASES["default"]["NAME"]))
    # The checks of this start have opened the database already: SQLite leaves an empty file.
    has_begun = database.exists() and database.stat().st_size > 0
    if os.environ.get("PKI_BASE_URL") or settings.PKI_BASE_URL_FILE.exists() or has_begun:
        return
    settings.PKI_BASE_URL = address
    write_once(settings.PKI_BASE_URL_FILE, f"{address}\n".encode("ascii"))


def _link_to(address: str) -> None:
    """Links in mails lead to where the portal is served now, at every start, whatever the address in certificates is."""
    if not os.environ.get("PKI_PORTAL_URL"):
        settings.PKI_PORTAL_URL = address
        settings.PKI_PORTAL_URL_FILE.write_text(address + "\n", encoding="ascii")


def free_port(host: str) -> int:
    """Return the port that certificates name (8000 at first) if it is free, else one from 8000 on. Raises CommandError after a hundred."""
    ports: list[int] = [urlsplit(str(settings.PKI_BASE_URL)).port or 8000, *range(8000, 8100)]
    for port in ports:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise CommandError(f"No port from 8000 to 8099 is free on {host}; give one with --port.", returncode=1)
