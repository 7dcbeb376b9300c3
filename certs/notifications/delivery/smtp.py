"""Django's SMTP backend with the time-outs that RFC 5321 requires of a client.

A client that hangs up before the server has confirmed a mail does not know whether it was accepted,
and sends it again: the recipient gets it twice.
"""

from __future__ import annotations

from typing import Any

from django.core.mail.backends.smtp import EmailBackend

# RFC 5321 4.5.3.2.6: a server may take ten minutes to confirm a mail.
ANSWER_SECONDS = 600.0


class PatientEmailBackend(EmailBackend):
    """Connects within EMAIL_TIMEOUT, then waits `answer_seconds` for each reply."""

    def __init__(self, *args: Any, answer_seconds: float = ANSWER_SECONDS, **options: Any) -> None:
        super().__init__(*args, **options)
        self.answer_seconds = answer_seconds

    def open(self) -> bool | None:
        """Open the connection. Returns whether there was none before."""
        opened = super().open()
        if self.connection is not None and self.connection.sock is not None:
            self.connection.sock.settimeout(self.answer_seconds)
        return opened
