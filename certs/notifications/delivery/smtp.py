"""Django's SMTP backend with the time-outs that RFC 5321 requires of a client.

A client that hangs up before the server has confirmed a mail does not know whether it was accepted,
and sends it again: the recipient gets it twice.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import requests
from django.core.mail.backends.smtp import EmailBackend

from keys.bounded import BoundedCalls

# RFC 5321 4.5.3.2.6: a server may take ten minutes to confirm a mail.
ANSWER_SECONDS = 600.0
# Conversations that may hang in one process; further ones fail at once until one of them ends.
_conversations = BoundedCalls(most=8)


class PatientEmailBackend(EmailBackend):
    """Connects within EMAIL_TIMEOUT, then waits `answer_seconds` for each octet of a reply.

    `whole_seconds`: the limit of opening, of sending and of closing as a whole, for a process that
    has other work. Without it a server that sends an octet now and then is waited for permanently;
    the task of the mail worker has a limit of its own.
    """

    def __init__(
        self,
        *args: Any,
        answer_seconds: float = ANSWER_SECONDS,
        whole_seconds: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.answer_seconds, self.whole_seconds = answer_seconds, whole_seconds

    def open(self) -> bool | None:
        """Open the connection. Returns whether there was none before. Raises OSError."""
        opened: bool | None = self._in_time(self._open)
        return opened

    def send_messages(self, email_messages: Any) -> int:
        """Send the messages. Returns how many were sent. Raises OSError, SMTPException."""
        sent: int = self._in_time(lambda: super(PatientEmailBackend, self).send_messages(email_messages))
        return sent

    def close(self) -> None:
        """End the conversation. Raises OSError, SMTPException."""
        self._in_time(super().close)

    def _in_time(self, act: Callable[[], Any]) -> Any:
        """Run `act` within the limit. After it the connection is closed, which ends what still waits for it."""
        if self.whole_seconds is None:
            return act()
        try:
            return _conversations.run(act, seconds=self.whole_seconds)
        except requests.exceptions.ReadTimeout:
            if self.connection is not None and self.connection.sock is not None:
                with contextlib.suppress(OSError):
                    self.connection.sock.shutdown(socket.SHUT_RDWR)
            self.connection = None
            raise

    def _open(self) -> bool | None:
        opened = super().open()
        if self.connection is not None and self.connection.sock is not None:
            self.connection.sock.settimeout(self.answer_seconds)
        return opened
