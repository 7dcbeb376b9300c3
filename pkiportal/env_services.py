"""The URLs of the database, the broker and the mail server, as `pkiportal.env` reads other settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from psycopg.pq import Conninfo

from pkiportal.env import ENCODE, env_secret, needed, refuse_reserved_characters, refused, split_url

# Port 465 expects TLS from the first octet, port 587 STARTTLS (RFC 8314 3.3). `smtps` is implicit TLS here, although
# django-environ reads it as STARTTLS: a client that waits for a greeting on port 465 waits until its time-out.
_SMTP = {"smtp": ({}, 25), "smtp+tls": ({"EMAIL_USE_TLS": True}, 587)}
_SMTP |= dict.fromkeys(("smtps", "smtp+ssl"), ({"EMAIL_USE_SSL": True}, 465))
_REDIS_OPTIONS = {"ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"}
# A peer that answers no probe for a minute is gone; the kernel answers them, however busy the process is (libpq, PostgreSQL 33.1.2).
_KEEPALIVES = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
_OF_THE_SERVER = {
    "tcp_keepalives_idle": 30,
    "tcp_keepalives_interval": 10,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    # A process that was stopped answers probes too. No transaction of the portal waits for anything but the reader of an export.
    "idle_in_transaction_session_timeout": 600_000,
}
_WRONG_PORT = {
    ("smtps", 587): "port 587 expects STARTTLS: write smtp+tls://",
    ("smtp+ssl", 587): "port 587 expects STARTTLS: write smtp+tls://",
    ("smtp+tls", 465): "port 465 expects TLS from the start: write smtps://",
    ("smtp", 465): "port 465 expects TLS from the start: write smtps://",
}


def env_database(name: str) -> dict[str, Any]:
    """Django's settings for the PostgreSQL database that a URL names."""
    example = "postgres://portal:password@db/portal"
    value = needed(name, env_secret(name), example=example)
    if not re.match(r"(postgres|postgresql|psql|pgsql)://", value, re.IGNORECASE):
        raise refused(name, f"must name a PostgreSQL database in production, for example {example}; SQLite is the embedded default only.")
    refuse_reserved_characters(name, value)
    try:
        found: dict[str, Any] = environ.Env.db_url_config(value)
    except (ValueError, ImproperlyConfigured):
        raise refused(name, f"must be a URL such as {example}. {ENCODE}") from None
    if not found["NAME"]:
        raise refused(name, f"must end with the name of the database, as in {example}.")
    known = {"assume_role", *(option.keyword.decode() for option in Conninfo.get_defaults())}
    if not found.get("OPTIONS", {}).keys() <= known:
        raise refused(name, "has an option behind the ? that PostgreSQL's client does not know.")
    return found


def end_lost_sessions(database: dict[str, Any]) -> None:
    """Let both ends of a session with PostgreSQL notice that the other one is gone, in Django's settings of the database.

    By the system's defaults a request waits a quarter of an hour for a server whose host is gone, and PostgreSQL keeps the locks of a
    worker whose host is gone for two hours: nothing is sealed, and no row that it had locked moves. What the URL says stays.
    """
    options = database.setdefault("OPTIONS", {})
    for name, value in {"connect_timeout": 5, **_KEEPALIVES}.items():
        options.setdefault(name, value)
    # A pooler that gives each transaction another session refuses `options`, and has its own settings towards PostgreSQL.
    if not database.get("DISABLE_SERVER_SIDE_CURSORS"):
        options.setdefault("options", " ".join(f"-c {name}={value}" for name, value in _OF_THE_SERVER.items()))


def env_redis(name: str) -> str:
    """Return the URL of the broker."""
    example = "redis://portal:password@redis:6379/0"
    value = needed(name, env_secret(name), example=example)
    url = split_url(name, value, ("redis", "rediss"), example=example)
    if not re.fullmatch(r"/?[0-9]{0,3}", url.path):
        raise refused(name, f"must end with the number of a Redis database, as in {example}.")
    options = dict(parse_qsl(url.query, keep_blank_values=True))
    if not options.keys() <= _REDIS_OPTIONS:
        raise refused(name, f"may have only these options behind a ?: {', '.join(sorted(_REDIS_OPTIONS))}.")
    if options and url.scheme.lower() != "rediss":
        raise refused(name, "has options of TLS, which need rediss:// at its beginning.")
    if options.get("ssl_cert_reqs", "required").upper().removeprefix("CERT_") not in ("NONE", "OPTIONAL", "REQUIRED"):
        raise refused(name, "must have none, optional or required as its ssl_cert_reqs.")
    for option in options.keys() & {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}:
        try:
            Path(options[option]).open("rb").close()
        except (OSError, ValueError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "it is no path"
            raise refused(name, f"must name a file that this process can read as its {option}: {why}.") from None
    return value


def env_smtp(name: str) -> dict[str, Any]:
    """Django's EMAIL_* settings of a mail URL."""
    example = "smtp+tls://user:password@mail.example.com:587"
    value = needed(name, env_secret(name), example=example)
    if value in {"consolemail://", "consolemail:"}:
        return {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}
    if value.startswith("filemail:///"):
        folder = unquote(urlsplit(value).path)
        if Path(folder).exists() and not Path(folder).is_dir():
            raise refused(name, "must name a folder behind filemail://; something else is there.")
        return {"EMAIL_BACKEND": "django.core.mail.backends.filebased.EmailBackend", "EMAIL_FILE_PATH": folder}
    url = split_url(name, value, tuple(_SMTP), example=example)
    security, usual_port = _SMTP[url.scheme]
    port = url.port or usual_port
    if wrong := _WRONG_PORT.get((url.scheme, port)):
        raise refused(name, f"has a scheme and a port that do not belong together: {wrong}.")
    if url.path.strip("/") or url.query:
        raise refused(name, f"must have neither path nor query, as in {example}. {ENCODE}")
    return {
        "EMAIL_BACKEND": "certs.notifications.delivery.smtp.PatientEmailBackend",
        "EMAIL_HOST": url.hostname,
        "EMAIL_PORT": port,
        "EMAIL_HOST_USER": unquote(url.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(url.password or ""),
        **security,
    }
