"""Nonsense in any parameter of any address or operation is refused, or passed over: it is never a fault of ours.

The addresses and what they need come from the matrix; the names of the fields from what each view reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

import pytest
from django.db import transaction
from django.http import QueryDict
from django.test import Client
from django.urls import NoReverseMatch, reverse
from django.utils.datastructures import MultiValueDict

from tests.cast import Cast
from tests.certs.access.matrix import OK, Page, Things
from tests.certs.access.test_matrix import pages

pytestmark = pytest.mark.django_db(transaction=True)

# Nobody, and somebody of each kind: the first who may is tried with every value, the others with one.
ROLES = ("officer", "requester", "approver", "operator", "auditor", "outsider")
NONSENSE = (
    "",
    "\x00",
    "-1",
    "0",
    "9" * 19,
    "9" * 5000,
    "\u00b2",  # a digit to str.isdigit, and none to int()
    "NaN",
    "1e999",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31",
    "2026-02-30",
    "\u202e\u200b\ud7ff\U000e0041",
    "\r\n\x1b[31m\x85\u2028",
    "%00%ff",
    "http://[",
    "[" * 20_000,
    '{"a": "\\u0000"}',
    "x" * 20_000,
    "' OR 1=1 --",
    "*.",
    "xn--\u00fc.example.com",
)
ARGUMENTS = ("\x00", "x" * 3000, "\u202e'\"<", "..", "\u00b2", 0, 2**63, 10**30)


class Reads:
    """Names of the fields that views read, of a form or a query: asked of Django's own dictionary of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: set[str] = set()
        for method in ("__getitem__", "getlist", "__contains__"):
            monkeypatch.setattr(MultiValueDict, method, self._noting(getattr(MultiValueDict, method)))

    def _noting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def noting(fields: MultiValueDict[Any, Any], name: Any, *more: Any, **options: Any) -> Any:
            if isinstance(fields, QueryDict):  # the resolver of addresses has such a dictionary too
                self.names.add(str(name))
            return method(fields, name, *more, **options)

        return noting

    def of(self, call: Callable[[], object]) -> list[str]:
        """Return the names that are read during the call."""
        self.names.clear()
        call()
        return sorted(self.names - {"csrfmiddlewaretoken"})


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


class Visitor:
    """A person's browser. Whatever a page does is rolled back; answers that are faults of ours are kept in `faults`."""

    def __init__(self, user: Any = None) -> None:
        self.client = Client(raise_request_exception=False)
        if user is not None:
            self.client.force_login(user)
        self._cookies = dict(self.client.cookies)
        self.faults: list[tuple[Any, ...]] = []

    def send(self, address: str, data: dict[str, Any] | None, query: dict[str, Any], *note: Any) -> int:
        self.client.cookies.clear()
        self.client.cookies.update(self._cookies)
        with transaction.atomic():
            if data is None:
                response: Any = self.client.get(address, query)
            else:
                response = self.client.post(address, data, query_params=query)
            if response.streaming:
                b"".join(response)
            transaction.set_rollback(True)
        if response.status_code >= 500:
            self.faults.append((address[:80], response.status_code, *note))
        return int(response.status_code)


def address_of(name: str, args: list[Any]) -> str:
    return reverse(name) if name.startswith("bulk-template") else reverse(name, args=args)


def first_who_may(page: Page) -> str:
    return next((role for role in ROLES if page.rule(role, "own") == OK), ROLES[0])


def own_pages() -> Iterator[tuple[str, Page]]:
    """The first row of each address, looked at and sent to: other rows of it differ in what they do, not in what they read."""
    seen = set()
    for name, page, whose in pages():
        if whose == "own" and (name, page.data is None) not in seen:
            seen.add((name, page.data is None))
            yield name, page


def try_fields(visitor: Visitor, reads: Reads, name: str, page: Page, things: Things, values: Callable[[], tuple[str, ...]]) -> int:
    """Each field that the page reads with nonsense in it, and the others as they should be. Returns how many were sent."""
    args, sent = page.args(things, "own"), 0
    address, data = address_of(name, args), page.data(things, "own") if page.data else None
    for field in reads.of(lambda: visitor.send(address, data, {}, name)):
        for value in values():
            given = None if data is None else data | {field: value}
            visitor.send(address, given, {field: value} if data is None else {}, name, field, value[:40])
            sent += 1
    return sent


def try_arguments(visitor: Visitor, name: str, page: Page, things: Things, values: Callable[[], tuple[Any, ...]]) -> None:
    """Each part of the address with nonsense in it, where the address can hold it."""
    args, data = page.args(things, "own"), page.data(things, "own") if page.data else None
    for place in range(0 if name.startswith("bulk-template") else len(args)):
        for value in values():
            try:
                address = reverse(name, args=[*args[:place], value, *args[place + 1 :]])
            except NoReverseMatch:
                continue
            visitor.send(address, data, {}, name, place, str(value)[:40])


def some_of(values: tuple[Any, ...], number: int) -> Callable[[], tuple[Any, ...]]:
    """Return the next `number` of the values at each call, so that all have their turn."""
    turn = count()
    return lambda: tuple(values[next(turn) % len(values)] for _ in range(number))


def sweep(cast: Cast, reads: Reads, things: Things, fields: Callable[[], tuple[str, ...]], args: Callable[[], tuple[Any, ...]]) -> int:
    """Every address as somebody who may. Returns how many fields were tried; fails with the list of the faults."""
    sent = 0
    visitors = {role: Visitor(cast[role]) for role in ROLES}
    for name, page in own_pages():
        visitor = visitors[first_who_may(page)]
        sent += try_fields(visitor, reads, name, page, things, fields)
        try_arguments(visitor, name, page, things, args)
    assert [fault for visitor in visitors.values() for fault in visitor.faults] == []
    return sent


def test_no_address_fails_over_nonsense(cast: Cast, things: Things, reads: Reads) -> None:
    assert sweep(cast, reads, things, some_of(NONSENSE, 1), some_of(ARGUMENTS, 1)) > 200


@pytest.mark.long_fault
@pytest.mark.timeout(1800)
def test_no_address_fails_over_any_of_the_nonsense(cast: Cast, things: Things, reads: Reads) -> None:
    """The whole product of fields and values."""
    assert sweep(cast, reads, things, lambda: NONSENSE, lambda: ARGUMENTS) > 4000


def test_no_address_fails_for_anybody_over_nonsense_in_all_fields_at_once(cast: Cast, things: Things, reads: Reads) -> None:
    """Each address as nobody, and as the next of the roles."""
    visitors = {role: Visitor(cast[role]) for role in ROLES}
    nobody, roles, values = Visitor(), some_of(ROLES, 1), some_of(NONSENSE, 1)
    for name, page in own_pages():
        (role,), (value,) = roles(), values()
        address, data = address_of(name, page.args(things, "own")), page.data(things, "own") if page.data else None
        for visitor in (nobody, visitors[role]):
            names = reads.of(partial(visitor.send, address, data, {}, name))
            given = dict.fromkeys(names, value)
            visitor.send(address, None if data is None else given, given, name, role, value[:40])
    assert [fault for visitor in (nobody, *visitors.values()) for fault in visitor.faults] == []
