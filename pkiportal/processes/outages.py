"""What a management command reports when a part of the portal is away: one line, no traceback."""

from __future__ import annotations

import errno

from django.db import ProgrammingError
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from certs.api.http.failures import is_outage
from certs.ca.base import CAUnreachable
from certs.errors import PortalError, sentence
from keys.errors import KeyBackendError
from pkiportal.processes.console import print_failure

_AGAIN = "then run the command again."
# A connection that PostgreSQL refuses has no SQLSTATE in psycopg, only the words of the server.
_FULL = ("too many clients", "too many connections", "remaining connection slots")
_SOON = {"57P01", "57P02", "57P03"}  # it starts, recovers or stops
_SOON_IN_WORDS = ("the database system is", "terminating connection")
_DATABASE = f"See that it runs and that DATABASE_URL is right; {_AGAIN} If this is a new installation, run `manage.py bootstrap` first."


def outage_of(exc: BaseException) -> tuple[str, str] | None:
    """Return what is away and the next step; None for a fault of the command itself.

    Only the first line of a database's or broker's error is used: the others quote statements.
    """
    cause = str(exc).partition("\n")[0][:200]
    match exc:
        case KeyBackendError():
            return str(exc), exc.next_step or f"See that the key backend works; {_AGAIN}"
        case PortalError():
            return exc.message, exc.next_step or "The log of the portal has more."
        case CAUnreachable():
            return sentence(f"The CA cannot be used: {exc}"), f"See that the CA works; {_AGAIN}"
        case BrokerError() | RedisError():
            return (
                sentence(f"The message broker cannot be used: {cause}"),
                f"See that Redis runs and that its URL is right; {_AGAIN}",
            )
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EROFS | errno.EIO | errno.EFBIG):
            # Such a file need not have been named by the operator: a key, a checkpoint, a log.
            what = exc.filename or "A file"
            return f"{what} cannot be written: {exc.strerror}.", f"See that the disk has space and can be written; {_AGAIN}"
        case ProgrammingError():  # no tables yet
            return sentence(f"The database cannot be used: {cause}"), _DATABASE
    return (sentence(f"The database cannot be used: {cause}"), _of_database(exc)) if is_outage(exc) else None


def _of_database(exc: BaseException) -> str:
    """Return the next step for a database that answers and cannot do it, or does not answer."""
    code, text = getattr(exc.__cause__, "sqlstate", ""), str(exc)
    if code == "53100" or "disk is full" in text:
        return f"Make room on the disk of the database; {_AGAIN} What was committed is there."
    if code == "53300" or any(words in text for words in _FULL):
        return f"All connections that it allows are in use: end what holds them, or raise its max_connections; {_AGAIN}"
    if code in _SOON or any(words in text for words in _SOON_IN_WORDS):
        return f"It starts, stops or recovers after a crash: wait until it accepts connections, {_AGAIN} What was committed is there."
    if code == "25006" or "readonly database" in text:
        return f"It can only be read now: see that it is no standby, and that its files can be written by this account; {_AGAIN}"
    return _DATABASE


def report_outage(exc: BaseException, *, as_json: bool) -> bool:
    """Print the outage: one JSON object on standard output, or one line on standard error. Returns
    False, and prints nothing, for a fault of the command itself.
    """
    found = outage_of(exc)
    if found is None:
        return False
    print_failure(*found, as_json=as_json)
    return True
