"""A real mail server that keeps what it gets, and that can be told to misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from tests.harness.processes import free_port


@dataclass
class MailServer:
    """`seconds`: how long it takes for each mail. `refused`: recipients that do not exist.

    `hangs_up_on`: numbers of mails, from 1, at which it closes the connection. `password`: where
    there is one, a client signs in with it first; `password_after_a_break` replaces it when the
    server closed a connection.
    """

    port: int
    seconds: float = 0.0
    refused: set[str] = field(default_factory=set)
    hangs_up_on: set[int] = field(default_factory=set)
    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    begun: int = 0
    password: str = ""
    password_after_a_break: str = ""
    controller: Controller | None = None

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name and arguments
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if address in self.refused:
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: Any, _session: Any, envelope: Any
    ) -> str:
        self.begun += 1
        if self.begun in self.hangs_up_on:
            server.transport.close()
            self.password = self.password_after_a_break or self.password
            return "421 4.3.2 going away"
        await asyncio.sleep(self.seconds)
        message = message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        self.recipients += envelope.rcpt_tos
        return "250 OK"

    def start(self) -> None:
        self.controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            authenticator=self._sign_in,
            auth_required=bool(self.password),
            auth_require_tls=False,
        )
        self.controller.start()

    def _sign_in(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
        return AuthResult(success=given.password.decode() == self.password, handled=False)

    def stop(self) -> None:
        if self.controller is not None:
            self.controller.stop()
            self.controller = None


@pytest.fixture
def mail_server(settings: Any) -> Iterator[MailServer]:
    server = MailServer(port=free_port())
    settings.EMAIL_BACKEND = "certs.notifications.delivery.smtp.PatientEmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
    settings.EMAIL_TIMEOUT = 5
    server.start()
    try:
        yield server
    finally:
        server.stop()
