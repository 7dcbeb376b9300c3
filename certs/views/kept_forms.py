"""What a person typed into a form that could not be sent: kept, so that nothing is typed twice.

Passwords, secrets and files are never kept. A form is kept in the browser's session, which belongs
to nobody until the person has signed in, and is forgotten an hour later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.http import HttpRequest, QueryDict
from django.utils.http import url_has_allowed_host_and_scheme

from certs.access.login_limits import network_of
from certs.access.rates import Limit, use
from certs.errors import TooMany
from certs.language.secret_scan import find_secret
from certs.views.client_ip import client_address

KEY = "kept_form"
KEPT_FOR = timedelta(hours=1)
MOST_CHARACTERS = 100_000
MOST_FIELDS = 500
# Kept forms of one address in an hour: each is a row that nobody who is signed in asked for.
FROM_ONE_ADDRESS = 30
_UNSHOWN = {"csrfmiddlewaretoken", "back", "next", "plan", "digest", "go"}


@dataclass(frozen=True, slots=True)
class Kept:
    """The fields of a form, the address to which it goes, and the page on which it stands.

    `without`: something was left out, such as a password or a file.
    """

    path: str
    page: str
    fields: list[tuple[str, str]]
    without: bool = False

    @property
    def can_be_sent(self) -> bool:
        """Whether sending the fields again is what the person wanted: nothing is missing."""
        return bool(self.fields) and not self.without

    @property
    def shown(self) -> list[tuple[str, str]]:
        """Return what a person typed, without what the page added for itself, with names as words."""
        return [(_words(name), value) for name, value in self.fields if name not in _UNSHOWN and value]

    def as_json(self) -> dict[str, Any]:
        """Return what a session can hold."""
        return {"path": self.path, "page": self.page, "fields": self.fields, "without": self.without}


def form_of(request: HttpRequest) -> Kept:
    """Return the form that a request carries."""
    fields: list[tuple[str, str]] = []
    without, length = bool(request.FILES), 0
    for name, values in request.POST.lists():
        if name == "csrfmiddlewaretoken":
            continue
        for value in values:
            length += len(name) + len(value)
            if "password" in name or find_secret(value) or length > MOST_CHARACTERS or len(fields) >= MOST_FIELDS:
                without = True
            else:
                fields.append((name, value))
    return Kept(request.get_full_path(), _page_of(request), fields, without)


def typed_of(request: HttpRequest) -> QueryDict:
    """Return what was typed, to be shown again in its form: without passwords and secrets."""
    typed = QueryDict(mutable=True)
    for name, value in form_of(request).fields:
        typed.appendlist(name, value)
    return typed


def keep_for_sign_in(request: HttpRequest) -> bool:
    """Keep the form of a request until its person has signed in. Returns whether there was one to keep.

    Effects: the session. An address that does this too often is not kept anything.
    """
    kept = form_of(request)
    if not kept.fields and not kept.without:
        return False
    limit = Limit("kept-form", network_of(client_address(request)), FROM_ONE_ADDRESS, KEPT_FOR)
    try:
        use([limit], message="")
    except TooMany:
        return False
    request.session[KEY] = kept.as_json()
    request.session.set_expiry(KEPT_FOR)
    return True


def kept_for(request: HttpRequest) -> Kept | None:
    """Return the form that is kept in the session."""
    found = request.session.get(KEY)
    if not isinstance(found, dict):
        return None
    fields: Sequence[Sequence[str]] = found["fields"]
    return Kept(found["path"], found["page"], [(name, value) for name, value in fields], found["without"])


def forget(request: HttpRequest) -> None:
    """Forget the kept form."""
    request.session.pop(KEY, None)


def is_from_here(request: HttpRequest) -> bool:
    """Whether a page of this portal sent the request, by what the browser itself says (Fetch, `Origin`).

    A form that came from elsewhere must not be offered for sending again: one click would then do
    what the other site wanted.
    """
    site = request.headers.get("Sec-Fetch-Site")
    return request.headers.get("Origin") == f"{request.scheme}://{request.get_host()}" and site in (None, "same-origin")


def _page_of(request: HttpRequest) -> str:
    """Return the path of the page that the form was on; empty where the browser does not say, or it was elsewhere."""
    referer = request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(referer, allowed_hosts={request.get_host()}):
        return ""
    parts = urlsplit(referer)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()
