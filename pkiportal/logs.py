"""Logs: one line a record, JSON where no person reads along, and nothing that looks like a secret."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from typing import Any

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_SECRETS = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|$)|\bhv[sbr]\.[A-Za-z0-9_-]{8,}|\bpkip_[A-Za-z0-9_-]{8,}|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)",
    re.DOTALL,
)


def redacted(text: str) -> str:
    """Return a text without private keys, tokens of Vault and the portal, and passwords in URLs: the last net, not the first."""
    return _SECRETS.sub("[redacted]", text)


def _on_one_line(text: str) -> str:
    """Return the text with ends of lines, commands of terminals and reordering characters written out as Python does."""
    return "".join(char if char.isprintable() or char == "\u00a0" else ascii(char)[1:-1] for char in text)


class LineFormatter(logging.Formatter):
    """For people: time, level, logger, message on one line; a traceback below it, further in."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        # Redacted first: written out, the end of a line would be part of the word that follows it.
        message = _on_one_line(redacted(record.getMessage()))
        lines = [f"{self.formatTime(record, self.datefmt)}Z {record.levelname} {record.name}: {message}"]
        if record.exc_info:
            lines += [f"    {_on_one_line(line)}" for line in redacted(self.formatException(record.exc_info)).split("\n")]
        return "\n".join(lines)


class JSONFormatter(logging.Formatter):
    """For machines: one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname,
            "logger": record.name,
            "message": redacted(record.getMessage()),
        }
        if record.exc_info:
            entry["exception"] = redacted(self.formatException(record.exc_info))
        # JSON itself writes out ASCII's control characters only; some readers end lines elsewhere too.
        written = json.dumps(entry, ensure_ascii=False)
        return written if written.isprintable() else "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in written)


class OneLineAMinute(logging.Filter):
    """One line a minute for a record that anybody can cause at will: a warning, without its traceback, and with how many were left out.

    A scanner that sends wrong Host headers would otherwise fill the log, and hide what matters in it.
    """

    def __init__(self, *, seconds: float = 60) -> None:
        super().__init__()
        self._seconds, self._again_at, self._left_out = seconds, 0.0, 0
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        with self._lock:
            if now < self._again_at:
                self._left_out += 1
                return False
            self._again_at, left_out, self._left_out = now + self._seconds, self._left_out, 0
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.exc_info = record.exc_text = None
        message = record.getMessage()[:300]
        record.msg, record.args = f"{message} ({left_out} more were left out before this)" if left_out else message, None
        return True


# Records that a scanner or an outage causes as often as it likes.
CAUSED_FROM_OUTSIDE = (
    "certs.outage",
    *(
        f"django.security.{name}"
        for name in (
            "DisallowedHost",
            "DisallowedModelAdminLookup",
            "DisallowedModelAdminToField",
            "DisallowedRedirect",
            "InvalidSessionKey",
            "RequestDataTooBig",
            "SuspiciousFileOperation",
            "SuspiciousMultipartForm",
            "SuspiciousOperation",
            "SuspiciousSession",
            "TooManyFieldsSent",
            "TooManyFilesSent",
            "csrf",
        )
    ),
)


def logging_settings(level: str) -> dict[str, Any]:
    """Django's LOGGING: everything to standard error, in lines on a terminal and in JSON elsewhere."""
    formatter = "pkiportal.logs.LineFormatter" if sys.stderr.isatty() else "pkiportal.logs.JSONFormatter"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"portal": {"()": formatter}},
        "filters": {"one line a minute": {"()": "pkiportal.logs.OneLineAMinute"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "portal"}},
        "root": {"handlers": ["stderr"], "level": level},
        # A task that succeeded is not logged; one that was tried again has an alert.
        "loggers": {
            "celery": {"level": "WARNING"},
            "kombu": {"level": "ERROR"},  # it warns that memory:// has no host name
            "django.request": {"level": "ERROR"},
            **{name: {"filters": ["one line a minute"]} for name in CAUSED_FROM_OUTSIDE},
        },
    }
