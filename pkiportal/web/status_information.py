"""CRLs and OCSP in front of Django: programs request them thousands of times a second and need nothing of a page.

Public, by plain HTTP, without cookies or sessions (RFC 5280 8, RFC 9919 5 and 6). Everything else goes on to Django.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from urllib.parse import unquote_to_bytes

from django.db import close_old_connections

from certs.access.login_limits import network_of
from certs.alone import Alone
from certs.api.http.failures import log_without_request
from certs.status.crl.serve import ServedCRL, published_crl
from certs.status.ocsp import Reply, answer
from certs.status.ocsp.signers import UnknownIssuer
from certs.views.client_ip import address_in
from certs.x509.asn1.ber import is_whole
from certs.x509.ocsp import MAX_REQUEST, Unsuccessful

OCSP, CRL = "/pki/ocsp/", "/pki/crl/"
CRL_MAX_AGE = 300  # seconds; a new list may exist in seconds, and a request with an ETag costs little
_CRL_PATH = re.compile(r"/pki/crl/([-a-zA-Z0-9_]+)(?:/([1-9][0-9]{0,8}))?\.crl")
_OCSP_PATH = re.compile(r"/pki/ocsp/+([-a-zA-Z0-9_]+)(?:/(.*))?", re.DOTALL)
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)  # RFC 9110 8.6, and a number that is read in no time
_PLAIN_ALPHABET = bytes.maketrans(b"-_ ", b"+/+")  # URL-safe base64; a form decoder makes spaces of "+"
_STATUS = {200: "200 OK", 304: "304 Not Modified", 404: "404 Not Found", 405: "405 Method Not Allowed", 503: "503 Service Unavailable"}

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
Application = Callable[[Environ, Any], Iterable[bytes]]


class StatusInformation:
    """A WSGI application that serves /pki/crl/ and /pki/ocsp/ and passes everything else to another."""

    def __init__(self, behind: Application) -> None:
        self._behind = behind

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        path: str = environ.get("PATH_INFO", "")
        if path.startswith(OCSP):
            return _ocsp(environ, start_response, path)
        if path.startswith(CRL):
            return _crl(environ, start_response, path)
        return self._behind(environ, start_response)


def _ocsp(environ: Environ, start_response: Any, path: str) -> Iterable[bytes]:
    match = _OCSP_PATH.fullmatch(path)
    method = environ["REQUEST_METHOD"]
    if match is None:
        return _plain(environ, start_response, 404, "There is no such CA here.")
    if method not in ("GET", "HEAD", "POST"):
        return _plain(environ, start_response, 405, "OCSP requests are GET or POST (RFC 6960 A.1).", [("Allow", "GET, HEAD, POST")])
    slug, rest = match.groups()
    data = _posted(environ) if method == "POST" else _from_path(rest or "")
    reply = Reply(Unsuccessful.MALFORMED_REQUEST)
    if data:
        with Alone() as outcome:
            reply = answer(slug, data, client=network_of(address_in(environ)))
        if isinstance(outcome.error, UnknownIssuer):
            return _plain(environ, start_response, 404, "There is no such CA here.")
        if outcome.error is not None:  # a client without a reply repeats its request
            log_without_request(f"an OCSP request for {slug} failed", outcome.error)
            reply = Reply(Unsuccessful.INTERNAL_ERROR)
    headers = [("Content-Type", "application/ocsp-response"), *_SAFE]
    if method != "POST" and reply.max_age:
        return _cacheable(environ, start_response, reply, headers)
    return _send(start_response, 200, reply.body, [*headers, ("Cache-Control", "no-store")], head=method == "HEAD")


def _cacheable(environ: Environ, start_response: Any, reply: Reply, headers: Headers) -> Iterable[bytes]:
    """Return the reply to a GET, with the headers that let caches keep it for a minute (RFC 9919 6.2)."""
    headers += [
        ("Cache-Control", f"public, max-age={reply.max_age}, no-transform, must-revalidate"),
        ("ETag", reply.etag),
        ("Last-Modified", reply.last_modified),
    ]
    if reply.etag in environ.get("HTTP_IF_NONE_MATCH", ""):
        return _send(start_response, 304, b"", headers)
    return _send(start_response, 200, reply.body, headers, head=environ["REQUEST_METHOD"] == "HEAD")


def _posted(environ: Environ) -> bytes:
    """Return the body of a POST, or nothing when it is none, too long or cut off."""
    length: str = environ.get("CONTENT_LENGTH") or ""
    if not _LENGTH.fullmatch(length) or int(length) > MAX_REQUEST:
        return b""
    try:
        body: bytes = environ["wsgi.input"].read(int(length))
    except OSError:  # the client hung up
        return b""
    return body


def _from_path(rest: str) -> bytes:
    """Return the request in the path of a GET (RFC 6960 A.1), or nothing where there is none.

    WSGI has taken the percent-encoding away; some clients encode twice, leave the padding out, use
    the URL-safe alphabet, or join addresses with a slash too many. A request begins with a SEQUENCE,
    so its base64 begins with M: slashes before it are not part of it. Slashes behind it may be.
    """
    if len(rest) > 2 * MAX_REQUEST:
        return b""
    text = unquote_to_bytes(rest).strip().lstrip(b"/").translate(_PLAIN_ALPHABET)
    while True:
        found = _decoded(text)
        if found or not text.endswith(b"/"):
            return found
        text = text[:-1]


def _decoded(text: bytes) -> bytes:
    """Return the octets of base64 with or without padding, if they are one whole element."""
    bare = text.rstrip(b"=")
    try:
        data = base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
    except binascii.Error:
        return b""
    return data if is_whole(data) else b""


def _crl(environ: Environ, start_response: Any, path: str) -> Iterable[bytes]:
    match, method = _CRL_PATH.fullmatch(path), environ["REQUEST_METHOD"]
    if method not in ("GET", "HEAD"):
        return _plain(environ, start_response, 405, "A CRL is fetched by GET.", [("Allow", "GET, HEAD")])
    close_old_connections()
    crl: ServedCRL | None = None
    with Alone() as outcome:
        crl = published_crl(match[1], int(match[2] or 0)) if match else None
    if outcome.error is not None:
        log_without_request("a CRL could not be read", outcome.error)
        return _plain(environ, start_response, 503, "The CRL cannot be read now. Try again in a minute.", [("Retry-After", "60")])
    if crl is None:
        return _plain(environ, start_response, 404, "No CRL is published here.")
    return _send_crl(environ, start_response, crl, head=method == "HEAD")


def _send_crl(environ: Environ, start_response: Any, crl: ServedCRL, *, head: bool) -> Iterable[bytes]:
    left = int((crl.next_update - datetime.now(UTC)).total_seconds())
    headers = [
        ("Content-Type", "application/pkix-crl"),
        ("Cache-Control", f"public, max-age={max(0, min(CRL_MAX_AGE, left))}, no-transform, must-revalidate"),
        ("ETag", crl.etag),
        ("Last-Modified", _http_date(crl.this_update)),
        *_SAFE,
    ]
    if _not_modified(environ, crl):
        return _send(start_response, 304, b"", headers)
    start_response(_STATUS[200], [*headers, ("Content-Length", str(crl.length))])
    return [] if head else crl.pieces()


def _not_modified(environ: Environ, crl: ServedCRL) -> bool:
    """Return whether the client has this CRL: If-None-Match decides where it is given, else If-Modified-Since (RFC 9110 13.2.2).

    Only the very date that was sent with this CRL counts: after a wrong clock was put right, a date
    that lies later may belong to an older CRL.
    """
    if tags := environ.get("HTTP_IF_NONE_MATCH"):
        return crl.etag in tags or tags.strip() == "*"
    try:
        since = parsedate_to_datetime(environ.get("HTTP_IF_MODIFIED_SINCE", ""))
    except (ValueError, OverflowError):  # a year or a zone of twenty digits
        return False
    return since.tzinfo is not None and crl.this_update == since


_SAFE: Headers = [("X-Content-Type-Options", "nosniff")]


def _http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC).replace(microsecond=0), usegmt=True)


def _plain(environ: Environ, start_response: Any, status: int, text: str, headers: Headers | None = None) -> Iterable[bytes]:
    """Return a sentence for people. An answer to HEAD has none: it would be read as the next answer (RFC 9110 9.3.2)."""
    sent = [("Content-Type", "text/plain; charset=utf-8"), *_SAFE, *(headers or [])]
    return _send(start_response, status, f"{text}\n".encode(), sent, head=environ["REQUEST_METHOD"] == "HEAD")


def _send(start_response: Any, status: int, body: bytes, headers: Headers, *, head: bool = False) -> Iterable[bytes]:
    start_response(_STATUS[status], headers if status == 304 else [*headers, ("Content-Length", str(len(body)))])
    return [] if head else [body]
