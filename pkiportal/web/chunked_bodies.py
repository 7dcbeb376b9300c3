"""Bodies sent in chunks (RFC 9112 7.1), which have no length: read before Django, which would treat them as empty."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from typing import IO, Any

from django.conf import settings

from pkiportal.web.middleware import AROUND_A_FILE

_IN_MEMORY = 1024 * 1024  # a longer body waits in a temporary file
_PIECE = 64 * 1024

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]


class ChunkedBodies:
    """A WSGI application that gives a chunked body its length and hands on to another.

    The server in front (gunicorn) has taken the chunks apart. A proxy usually does the same, and
    sends a length; this is for clients that reach the portal directly. No more is read than the
    largest upload: one octet more shows in the length, and the request is refused as any other
    that is too large.
    """

    def __init__(self, behind: Application) -> None:
        self._behind = behind

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        coding: str = environ.get("HTTP_TRANSFER_ENCODING", "")
        if coding.strip().lower() != "chunked" or environ.get("CONTENT_LENGTH"):
            return self._behind(environ, start_response)
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as body:
            try:
                length = _copy(environ["wsgi.input"], body, settings.PKI_BULK_MAX_BYTES + AROUND_A_FILE)
            except OSError:  # the client hung up, or its chunks are malformed
                return _refuse(start_response)
            body.seek(0)
            environ |= {"wsgi.input": body, "CONTENT_LENGTH": str(length)}
            # The whole response is made while the file is open: a view has read its body by then.
            return self._behind(environ, start_response)


def _copy(source: IO[bytes], target: IO[bytes], most: int) -> int:
    """Copy at most `most` octets and one more. Returns how many."""
    length = 0
    while length <= most and (piece := source.read(min(_PIECE, most + 1 - length))):
        target.write(piece)
        length += len(piece)
    return length


def _refuse(start_response: Any) -> Iterable[bytes]:
    text = b"The body ended early, or its chunks are malformed (RFC 9112 7.1).\n"
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
    start_response("400 Bad Request", headers)
    return [text]
