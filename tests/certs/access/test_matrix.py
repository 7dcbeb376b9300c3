"""Role x verb x object x channel. Every address, API operation, command with `--as` and admin action has a row here.

A new one without a row fails `test_every_..._has_a_row`. Each call is rolled back, so one set of rows serves all.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command, get_commands, load_command_class
from django.db import transaction
from django.test import Client, RequestFactory
from django.urls import reverse

from audit.log import Actor
from certs import urls
from certs.access.api_tokens import SCOPES, create_token
from certs.api.app import api
from certs.models import ApiToken, BulkOrder, Certificate, CertificateRequest
from tests.cast import Cast
from tests.certs.access.matrix import (
    FORBIDDEN,
    LOGIN,
    NO_TOKEN,
    NOT_FOUND,
    OK,
    OWNERS,
    ROLES,
    TEAM,
    Page,
    Rule,
    Things,
    act,
    ask_for,
    everybody,
    operate,
    outcome,
    see,
)
from tests.certs.access.pages import PAGES, nothing

pytestmark = pytest.mark.django_db(transaction=True)


def names_of_addresses() -> set[str]:
    return {str(pattern.name) for pattern in urls.urlpatterns}


def test_every_address_has_a_row() -> None:
    assert names_of_addresses() == set(PAGES)


def visit(client: Client, page: Page, name: str, things: Things, whose: str) -> str:
    address = reverse(name, args=page.args(things, whose)) if not name.startswith("bulk-template") else reverse(name)
    with transaction.atomic():
        response = client.get(address) if page.data is None else client.post(address, page.data(things, whose))
        found = outcome(response)
        transaction.set_rollback(True)
    return found


def pages() -> Iterator[tuple[str, Page, str]]:
    for name, rows in PAGES.items():
        for page in rows:
            for whose in ("own",) if page.once else OWNERS:
                yield name, page, whose


@pytest.mark.parametrize("role", ROLES)
def test_portal(cast: Cast, things: Things, role: str) -> None:
    wrong = []
    client = Client(raise_request_exception=False)
    client.force_login(cast[role])
    session = client.cookies["sessionid"].value
    for name, page, whose in pages():
        client.cookies["sessionid"] = session  # a sign-out is rolled back too
        expected = page.rule(role, whose)
        found = visit(client, page, name, things, whose)
        if name in ("login", "account_login", "logout"):
            continue  # they lead elsewhere, whoever asks
        if found != expected:
            wrong.append((name, page.data is not None, whose, found, expected))
    assert not wrong


def test_portal_shows_nothing_to_who_is_not_signed_in(things: Things) -> None:
    client = Client(raise_request_exception=False)
    for name, page, whose in pages():
        if not page.public:
            assert (name, visit(client, page, name, things, whose)) == (name, LOGIN)


# --- REST ---

READ, ISSUE, REVOKE = "certificates:read", "certificates:issue", "certificates:revoke"


@dataclass(frozen=True)
class Operation:
    """An API operation: its scope, the thing in its address, and its body. Without a thing it is for the token's own team."""

    scope: str
    thing: str = ""
    body: Callable[[Things, str], dict[str, Any]] = nothing
    query: str = ""


def serial(things: Things, whose: str) -> dict[str, Any]:
    return {"serial_number": things.serials[whose], "reason": "superseded"}


OPERATIONS: dict[str, Operation] = {
    "ca_chain": Operation(""),
    "request_in_words": Operation(ISSUE, body=lambda _t, _w: {"text": "Certificate for a, P-256", "plan_only": True}),
    "request_certificate": Operation(ISSUE, body=lambda _t, _w: {"common_name": "a.example.com"}),
    "read_request": Operation(READ, "requests"),
    "resume_request": Operation(ISSUE, "resumable"),
    "revoke_by_serial": Operation(REVOKE, body=serial, thing="serials"),
    "release_by_serial": Operation(REVOKE, body=lambda t, w: {"serial_number": t.serials[w]}, thing="serials"),
    "revoke_certificate": Operation(REVOKE, "certificates", lambda _t, _w: {"reason": "superseded"}),
    "key_challenge": Operation(REVOKE, "certificates"),
    "release_certificate": Operation(REVOKE, "certificates"),
    "describe_certificate": Operation(ISSUE, "certificates", lambda _t, _w: {"purpose": "shop"}),
    "renew_certificate": Operation(ISSUE, "certificates"),
    "replace_certificate": Operation(REVOKE, "certificates"),
    "order_bulk": Operation(ISSUE, body=lambda _t, _w: {"items": [{"name": "a.example.com"}], "plan_only": True}),
    "order_bulk_by_upload": Operation(ISSUE),
    "read_bulk": Operation(READ, "orders"),
    "read_bulk_items": Operation(READ, "orders"),
    "pause_bulk": Operation(ISSUE, "orders"),
    "resume_bulk": Operation(ISSUE, "orders"),
    "cancel_bulk": Operation(ISSUE, "orders"),
    "retry_bulk": Operation(ISSUE, "orders"),
    "download_bulk_certificates": Operation(READ, "orders"),
    "download_bulk_inventory": Operation(READ, "orders"),
    "download_bulk_problems": Operation(READ, "orders"),
    "issue_certificate": Operation(ISSUE, body=lambda _t, _w: {"csr": "none"}),
    "certificate_by_order": Operation(ISSUE, "none"),
    "certificates_ordered": Operation(ISSUE),
    "read_certificate": Operation(READ, "certificates"),
    "download_certificate": Operation(READ, "certificates"),
    "download_proof": Operation(READ, "certificates"),
    "read_checkpoint": Operation(READ),
    "compare_checkpoint": Operation(READ, body=lambda t, _w: {"checkpoint": t.checkpoint}),
    "list_certificates": Operation(READ),
    "list_requests": Operation(READ),
}


@cache
def operations() -> dict[str, tuple[str, str]]:
    """By operation id: method and path."""
    paths = api.get_openapi_schema()["paths"]
    return {one["operationId"]: (method, path) for path, verbs in paths.items() for method, one in verbs.items()}


def test_every_api_operation_has_a_row() -> None:
    assert set(operations()) == set(OPERATIONS)


def call(secret: str, name: str, things: Things, whose: str) -> str:
    method, path = operations()[name]
    wanted = OPERATIONS[name]
    thing = str(getattr(things, wanted.thing)[whose]) if wanted.thing not in ("", "none") else "order-0"
    address = path.partition("{")[0] + thing + path.partition("}")[2] if "{" in path else path
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    client = Client(raise_request_exception=False, headers=headers)
    with transaction.atomic():
        if method == "get":
            response: Any = client.get(address)
        elif name == "order_bulk_by_upload":
            table = SimpleUploadedFile("a.csv", b"name\na.example.com\n", "text/csv")
            response = client.post(address, {"file": table, "plan_only": "true"})
        else:
            body = json.dumps(wanted.body(things, whose))
            response = client.generic(method.upper(), address, body, content_type="application/json")
        found = outcome(response)
        transaction.set_rollback(True)
    return found


def test_rest(cast: Cast, things: Things) -> None:
    """Tokens act within their team; the roles of their user do not count."""
    cast.other.members.add(cast["officer"])
    _, officers = create_token(user=cast["officer"], team=cast.other, name="o", scopes=SCOPES, actor=Actor("user", "officer"))
    secrets = {"requester": things.secrets["own"], "outsider": things.secrets["other team"], "officer": officers}
    team = {"requester": "web", "outsider": "other", "officer": "other"}
    wrong = []
    for name in operations():
        thing = OPERATIONS[name].thing
        for whose in OWNERS if thing else ("own",):
            for role, secret in secrets.items():
                expected = NOT_FOUND if thing == "none" or (thing and TEAM[whose] != team[role]) else OK
                if (found := call(secret, name, things, whose)) != expected:
                    wrong.append((role, name, whose, found, expected))
        strangers = {secret: call(secret, name, things, "own") for secret in (things.secrets["leaver"], "", "pkip_unknown")}
        wrong += [(secret[:6], name, "own", found, NO_TOKEN) for secret, found in strangers.items() if found != NO_TOKEN]
    assert not wrong


def test_rest_asks_for_the_scope_of_each_operation(cast: Cast, things: Things) -> None:
    wrong = []
    for scope in SCOPES:
        others = [one for one in SCOPES if one != scope]
        _, secret = create_token(
            user=cast["requester"], team=cast.web, name=f"not {scope}", scopes=others, actor=Actor("user", "requester")
        )
        wrong += [name for name in operations() if OPERATIONS[name].scope == scope and call(secret, name, things, "own") != FORBIDDEN]
    assert not wrong


# --- commands ---


@dataclass(frozen=True)
class Command:
    """A command that takes `--as`: its rule and its arguments."""

    rule: Rule
    args: Callable[[Things, str], list[str]]
    more: tuple[str, ...] = ("--wait", "0")


def ask_as_member(role: str, whose: str) -> str:
    """A team that somebody is not of is no secret of the command line."""
    return OK if ask_for(role, whose) == OK else FORBIDDEN


def officers_only(role: str, _whose: str) -> str:
    """Officers; the command line hides nothing that exists."""
    return OK if role == "officer" else FORBIDDEN


COMMANDS: dict[str, list[Command]] = {
    "ask": [
        Command(act, lambda t, w: [f"Renew {t.certificates[w]}"]),
        Command(act, lambda t, w: [f"Revoke certificate {t.certificates[w]} - reason: superseded", "--yes"]),
    ],
    "bulk_issue": [
        *(Command(operate, lambda t, w, verb=verb: [f"--{verb}", t.orders[w]]) for verb in ("pause", "resume", "retry")),  # type: ignore[misc]
        Command(act, lambda t, w: ["--cancel", t.orders[w]]),
        Command(see, lambda t, w: ["--watch", t.orders[w]]),
    ],
    "issue": [Command(ask_as_member, lambda _t, w: ["--cn", "a.example.com", "--team", TEAM[w], "--dry-run"])],
    "register": [Command(everybody, lambda _t, _w: ["--output", os.devnull], more=())],
    "reissue_ca": [
        Command(officers_only, lambda _t, _w: ["twin-ca", "--to", "twin-ca", "--dry-run"], more=()),
        Command(officers_only, lambda _t, _w: ["twin-ca", "--cancel"], more=()),
    ],
    "renew": [Command(act, lambda t, w: [t.certificates[w]])],
    "resume": [Command(operate, lambda t, w: [t.resumable[w]])],
    "revoke": [
        Command(act, lambda t, w: [t.certificates[w], "--reason", "superseded"]),
        Command(act, lambda t, w: [t.certificates[w], "--release"]),
    ],
    "unblock_key": [Command(officers_only, lambda t, w: [t.keys[w], "--reason", "by mistake"], more=())],
}
OUR_APPS = ("certs", "keys", "policy", "audit", "pkiportal")


def takes_as(name: str, app: str) -> bool:
    parser = load_command_class(app, name).create_parser("manage.py", name)
    return re.search(r"--as\b", parser.format_help()) is not None


def test_every_command_that_acts_for_a_user_has_a_row() -> None:
    """The others act as the portal itself, for whoever has a shell on its machine."""
    ours = {name: app for name, app in get_commands().items() if app in OUR_APPS}
    assert {name for name, app in ours.items() if takes_as(name, str(app))} == set(COMMANDS)


WRONG_USAGE = 2


def run(name: str, args: list[str], role: str) -> str:
    told = StringIO()
    with transaction.atomic():
        try:
            call_command(name, *args, "--as", role, "--json", stdout=told, stderr=StringIO())
        except SystemExit as exc:
            if exc.code == WRONG_USAGE:
                error = str(json.loads(told.getvalue())["error"])
                return NOT_FOUND if "There is no" in error else error
        finally:
            transaction.set_rollback(True)
    kind = json.loads(told.getvalue()).get("type", "")
    return {"unauthorized": FORBIDDEN, "notFound": NOT_FOUND}.get(kind, OK)


def test_commands(cast: Cast, things: Things) -> None:
    wrong = []
    for name, rows in COMMANDS.items():
        for command in rows:
            for whose in OWNERS:
                if command.rule in (ask_as_member, officers_only) and whose == "none":
                    continue
                for role in ROLES:
                    expected = command.rule(role, whose)
                    found = run(name, [*command.args(things, whose), *command.more], role)
                    if found != expected:
                        wrong.append((role, name, command.args(things, whose)[:1], whose, found, expected))
    assert not wrong


# --- admin ---

# By action: the roles that get it. Django's own `delete_selected` follows the delete permission.
ACTIONS = {
    ("ApiToken", "revoke"): {"officer", "veteran"},
    ("PublicKey", "unblock"): {"officer", "veteran"},
}
EDITORS = {"officer", "veteran"}
READERS = EDITORS | {"approver", "auditor", "operator"}


def registered() -> list[Any]:
    ours = [model for app in OUR_APPS[:4] for model in apps.get_app_config(app).get_models()]
    return [admin.site.get_model_admin(model) for model in ours if admin.site.is_registered(model)]


def request_of(user: Any) -> Any:
    request = RequestFactory().get("/admin/")
    request.user = get_user_model().objects.get(pk=user.pk)
    return request


def test_admin_lets_roles_read_officers_edit_and_nobody_else_in(cast: Cast) -> None:
    wrong = []
    for name in (*ROLES, "veteran", "nobody"):
        cast[name].is_staff = True
        cast[name].save()
        request = request_of(cast[name])
        for one in registered():
            model = one.model.__name__
            if one.has_view_permission(request) != (name in READERS):
                wrong.append((name, model, "view"))
            edits = (one.has_add_permission(request), one.has_change_permission(request), one.has_delete_permission(request))
            if any(edits) and name not in EDITORS:
                wrong.append((name, model, f"add, change, delete: {edits}"))
    assert not wrong


def test_every_admin_action_has_a_row_and_is_shown_to_its_roles_alone(cast: Cast) -> None:
    shown: dict[tuple[str, str], set[str]] = {}
    for name in (*ROLES, "veteran", "nobody"):
        request = request_of(cast[name])
        for one in registered():
            for action in one.get_actions(request):
                if action != "delete_selected":
                    shown.setdefault((one.model.__name__, action), set()).add(name)
    assert shown == ACTIONS


def test_things_are_whole(things: Things) -> None:
    """The matrix says nothing about objects that are not there."""
    assert Certificate.objects.count() == 2
    assert BulkOrder.objects.count() == 4
    assert CertificateRequest.objects.filter(state="awaiting_approval").count() == 2
    assert ApiToken.objects.filter(revoked_at=None).count() == 2
