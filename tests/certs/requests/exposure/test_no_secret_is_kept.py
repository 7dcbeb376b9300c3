"""A secret in any text that a person can send is in no row afterwards, whatever the field and the channel (finding S17)."""

from __future__ import annotations

import argparse
import io
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from django import forms
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.http import Http404
from django.test import Client

from audit.models import AuditEvent
from certs.bulk.drafting.draft import draft
from certs.bulk.drafting.upload import read_lines
from certs.enums import RequestState as S
from certs.errors import PortalError
from certs.models import BulkItem, Certificate, CertificateRequest, OperatorAlert, RequestCSR
from certs.requests.approvals.approval import approve
from certs.requests.drafts import DraftFields, begin
from tests.certs.api.test_issue import Api, pem_csr
from tests.portal.admin_pages import admin_pages
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)

CANARY = "pkip_Zq7vWm2nXb4KcR9tYh1LpD6sGf8jUe3aQoIiNnBbVvC"


def stored() -> str:
    """Every value of every row that Django knows."""
    rows = (row for model in apps.get_models() if model._meta.managed for row in model._base_manager.values_list())
    return "\n".join(map(repr, rows))


def assert_not_kept(where: str) -> None:
    assert CANARY not in stored(), where


@pytest.fixture
def certificate(portal: Portal) -> Certificate:
    assert Api(portal.token()).post("/certificates/issue", {"csr": pem_csr("a.example.com")})[0] == 200
    return Certificate.objects.get()


# --- REST: every string of every operation's body and headers


def _fields(schema: dict[str, Any], known: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(a name, a body that holds the canary there) for each text in a schema."""
    if "$ref" in schema:
        schema = known[schema["$ref"].rpartition("/")[2]]
    for choice in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from _fields(choice, known)
    if schema.get("type") == "string" and "enum" not in schema and "format" not in schema:
        yield "", CANARY
    for name, inner in schema.get("properties", {}).items():
        for below, value in _fields(inner, known):
            yield f"{name}.{below}".rstrip("."), {name: value}
    if schema.get("type") == "array":
        for below, value in _fields(schema["items"], known):
            yield f"[]{below}", [value]


def _operations(certificate: Certificate) -> Iterator[tuple[str, str, str, dict[str, Any], dict[str, str]]]:
    """(what, method, path, body, headers), each with the canary in one field."""
    schema = Client().get("/api/v1/openapi.json").json()
    for path, methods in schema["paths"].items():
        address = re.sub(r"\{[^}]*\}", certificate.cert_id, path).removeprefix("/api/v1")
        for verb, operation in ((verb, methods[verb]) for verb in ("post", "patch") if verb in methods):
            name = operation["operationId"]
            base = BODIES.get(name, {})
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for field, body in _fields(content.get("schema", {}), schema["components"]["schemas"]):
                yield f"{name} {field}", verb, address, base | body, {}
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "header":
                    yield f"{name} {parameter['name']}", verb, address, base, {parameter["name"]: CANARY}


BODIES: dict[str, dict[str, Any]] = {
    "issue_certificate": {"csr": pem_csr("b.example.com")},
    "request_certificate": {"common_name": "c.example.com"},
    "request_in_words": {"text": "Issue certificate for d.example.com"},
    "order_bulk": {"items": [{"name": "e.example.com"}]},
    "revoke_certificate": {"reason": "superseded"},
}


def walk_api(portal: Portal, certificate: Certificate) -> set[str]:
    """The canary in each text of each operation. Returns what was walked."""
    api, walked = Api(portal.token()), []
    for what, verb, path, body, headers in _operations(certificate):
        status, _ = api.send(verb, path, body, **headers)
        assert status < 500, what
        assert_not_kept(what)
        walked.append(what)
    return set(walked)


def test_no_field_of_the_api_keeps_a_secret(portal: Portal, certificate: Certificate) -> None:
    walked = walk_api(portal, certificate)
    assert {
        "describe_certificate purpose",
        "request_in_words text",
        "revoke_certificate comment",
        "request_certificate Idempotency-Key",
    } <= walked
    assert len(walked) > 20


def csr_with(oid: str, text: str) -> str:
    """A CSR whose subject has another attribute, which is not taken over."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "f.example.com"), x509.NameAttribute(x509.ObjectIdentifier(oid), text)])
    san = x509.SubjectAlternativeName([x509.DNSName("f.example.com")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(san, critical=False)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize("oid", ["2.5.4.10", "1.2.840.113549.1.9.1", "1.2.840.113549.1.9.2"])
def test_secret_beside_the_names_of_a_csr_is_not_kept(portal: Portal, oid: str) -> None:
    """Organization, e-mail address and unstructured name are not taken over, but were stored with the CSR."""
    api = Api(portal.token())
    assert api.post("/certificates/issue", {"csr": csr_with(oid, CANARY)})[0] == 200
    assert api.post("/bulk", {"items": [{"csr": csr_with(oid, CANARY)}]})[0] in (200, 201, 202)
    kept = [*RequestCSR.objects.values_list("der", flat=True), *BulkItem.objects.values_list("csr_der", flat=True)]
    assert CANARY.encode() not in b"".join(map(bytes, kept))
    assert_not_kept(oid)
    assert api.post("/certificates/issue", {"csr": csr_with(oid, "Example Ltd")})[0] == 200
    assert RequestCSR.objects.exclude(der=b"").count() == 1, "a harmless one is kept whole"


def test_problem_documents_do_not_repeat_a_secret(portal: Portal) -> None:
    """A name of a field, or a part of the address, may be one; clients keep such documents in logs."""
    api = Api(portal.token())
    for path, body in (
        ("/requests", {CANARY: 1}),
        ("/bulk", {"items": [{"name": "g.example.com", CANARY: 1}]}),
        (f"/requests/resume/{CANARY}", {}),
    ):
        status, told = api.post(path, body)
        assert 400 <= status < 500
        assert CANARY not in json.dumps(told), path


def test_file_name_of_an_upload_is_not_kept(portal: Portal) -> None:
    upload = SimpleUploadedFile(f"{CANARY}.csv", b"name\nf.example.com\n")
    headers = {"Authorization": f"Bearer {portal.token()}"}
    assert Client().post("/api/v1/bulk/upload", {"file": upload}, headers=headers).status_code == 422
    assert_not_kept("upload")


# --- portal: every text input of every template

TEMPLATES = Path(django_settings.BASE_DIR) / "templates"
_INPUT = re.compile(r"<(?:input|textarea)\b[^>]*>")
_NOT_TEXT = re.compile(r'type="(?:hidden|checkbox|radio|submit|date|number)"')


def text_inputs() -> set[str]:
    tags = (tag for page in TEMPLATES.rglob("*.html") for tag in _INPUT.findall(page.read_text()))
    return {match[1] for tag in tags if not _NOT_TEXT.search(tag) and (match := re.search(r'name="(\w+)"', tag))}


def by_page(portal: Portal, certificate: Certificate) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Where each text input is sent to, with a page full of other values."""
    words = {"via": "words", "team": "web"}
    requester = portal.requester()
    order = draft(read_lines(b"name\nl.example.org\n", filename="", requester=requester), requester=requester, title="t")
    line = f"/bulk/{order.public_id}/lines/1/"
    form = begin(DraftFields(place="vault", names="g.example.com"), requester=requester)
    address = f"/new/{form.public_id}/"
    return {
        "comment": [(f"/certificates/{certificate.cert_id}/revoke/", {"reason": "superseded"})],
        "purpose": [(f"/certificates/{certificate.cert_id}/describe/", {})],
        "notes": [(f"/certificates/{certificate.cert_id}/describe/", {})],
        "tags": [(f"/certificates/{certificate.cert_id}/describe/", {})],
        "runbook": [(f"/certificates/{certificate.cert_id}/describe/", {})],
        "place": [(f"/certificates/{certificate.cert_id}/live/", {})],
        "key": [(line, {"name": "l.example.com"})],
        "profile": [(line, {"name": "l.example.com"})],
        "renewal_off_reason": [(f"/certificates/{certificate.cert_id}/describe/", {"renewal": "off"})],
        "url": [("/teams/web/webhooks/", {"name": "n"})],
        "names": [("/new/", {"place": "server", "team": "web"}), (address, {})],
        "validity": [("/new/", {"place": "csr", "team": "web", "csr": pem_csr("h.example.com")}), (address, {})],
        "why": [(f"{address}submit/", {"shown": "x"})],
        "text": [("/new/", {"team": "web"}), ("/bulk/new/", words)],
        "csr": [
            ("/new/", {"place": "csr", "team": "web"}),
            (f"{address}csr/", {}),
            (f"/certificates/{certificate.cert_id}/renew/", {"key": "csr"}),
        ],
        "sans": [(line, {"name": "l.example.com"})],
        "validity_days": [(line, {"name": "l.example.com"})],
        "csrs": [("/bulk/new/", {"via": "csrs", "team": "web"})],
        "signature": [(f"/certificates/{certificate.cert_id}/revoke/", {"reason": "keyCompromise"})],
        "name": [
            (line, {}),
            ("/tokens/", {"team": "web", "scopes": ["certificates:read"], "days": "9"}),
            ("/certificates/views/", {"query": "state=valid"}),
            ("/new-team/", {"slug": "new", "email": "new@example.com"}),
        ],
        "slug": [("/new-team/", {"name": "New", "email": "new@example.com"})],
        "email": [("/new-team/", {"name": "New", "slug": "new"}), ("/teams/web/mails/", {})],
        "default_domain": [("/teams/web/", {})],
        "organization": [("/teams/web/", {})],
        "reason": [
            ("/policy/waivers/new/", {"rule": "validity"}),
            (f"/account/security/of/{portal.alice.pk}/", {"do": "time", "days": "3"}),
        ],
        "note": [("/policy/new/", {"from": "text", "text": "version: v9"})],
        "checkpoint": [("/audit/consistency/", {})],
        "who": [("/login/forgotten/", {})],
        "address": [("/invite/", {"team": "web", "days": "7"})],
        "domain": [("/teams/web/ask-for-domain/", {"why": "w"})],
        # Use cases whose tests send a secret each: tests/certs/people, tests/certs/requests/approvals, tests/certs/authorities
        "answer": [],
        "question": [],
        "full_name": [],
        "fingerprint": [],
        # Compared with something, or looked up, and never written
        "code": [],
        "confirmation": [],
        "typed": [],
        "password_again": [],
        "owner": [],
        "tag": [],
        "version": [],
        "from_time": [],
        "approval_valid_days": [],
        "days": [("/tokens/", {"team": "web", "scopes": ["certificates:read"], "name": "n"})],
        "file": [("/bulk/new/", {"via": "file", "team": "web"}), ("/new/", {"place": "csr", "team": "web"})],
        "q": [],  # a search: nothing is written
        "username": [],  # the sign-in writes down no names of accounts that do not exist: tests/certs/access
        "password": [],
    }


def walk_pages(portal: Portal, certificate: Certificate) -> None:
    """The canary in each text input of the portal, sent by a member and by a superuser."""
    pages = by_page(portal, certificate)
    assert text_inputs() <= set(pages), "say where the new text input is sent to"
    root = get_user_model().objects.create_superuser("root", "root@example.com")
    alice, officer = Client(), Client()
    alice.force_login(portal.alice)
    officer.force_login(root)
    for field, addresses in pages.items():
        for address, others in addresses:
            value: Any = CANARY if field != "file" else SimpleUploadedFile(f"{CANARY}.csv", b"name\nh.example.com\n")
            response = alice.post(address, others | {field: value})
            if response.status_code in (302, 403, 404):  # a page for officers, or nothing was refused
                value = CANARY if field != "file" else SimpleUploadedFile(f"{CANARY}.csv", b"name\nh.example.com\n")
                response = officer.post(address, others | {field: value})
            assert response.status_code < 500, (field, address)
            assert response.status_code != 404, (field, address)
            assert_not_kept(f"{field} at {address}")


def test_no_field_of_a_page_keeps_a_secret(portal: Portal, certificate: Certificate) -> None:
    walk_pages(portal, certificate)
    assert OperatorAlert.objects.filter(kind="secret_pasted").exists()


@pytest.mark.parametrize("team", ["web", "nowhere", "x" * 5000])
def test_nobody_reports_a_secret_in_the_name_of_another_team(portal: Portal, team: str) -> None:
    bob = Client()
    bob.force_login(portal.bob)
    assert bob.post("/certificates/views/", {"name": CANARY, "query": "", "team": team}).status_code == 404
    assert not AuditEvent.objects.filter(event="secret:refused").exists()
    assert not OperatorAlert.objects.exists()


def test_comment_on_an_approval_is_not_kept(portal: Portal) -> None:
    _, told = Api(portal.token()).post("/requests", {"common_name": "*.example.com"})
    row = CertificateRequest.objects.get(public_id=told["requests"][0]["audit_reference"])
    CertificateRequest.objects.filter(pk=row.pk).update(state=S.AWAITING_APPROVAL)
    with pytest.raises(PortalError) as caught:
        approve(row, user=portal.carol, digest=row.digest, comment=CANARY)
    assert (caught.value.problem, caught.value.field) == ("secret_pasted", "comment")
    assert_not_kept("approval")
    row.refresh_from_db()
    assert row.state == S.AWAITING_APPROVAL
    assert AuditEvent.objects.filter(event="secret:refused", actor_name="carol").count() == 1


# --- admin: every text of every form that adds a row


def walk_admin() -> set[str]:
    """The canary in each text of each form that adds a row. Returns what was walked."""
    root = get_user_model().objects.create_superuser("root", "root@example.com", "pw")
    client, walked = Client(), set()
    client.force_login(root)
    for model_admin in admin_pages().values():
        meta = model_admin.model._meta
        address = f"/admin/{meta.app_label}/{meta.model_name}/add/"
        page = client.get(address)
        if page.status_code != 200:  # rows of this kind are only read
            continue
        form = page.context["adminform"].form
        texts = [
            name
            for name, field in form.fields.items()
            if isinstance(field, forms.CharField | forms.JSONField) and not isinstance(field.widget, forms.PasswordInput)
        ]
        formsets = {
            f"{one.formset.prefix}-{part}": "0"
            for one in page.context["inline_admin_formsets"]
            for part in ("TOTAL_FORMS", "INITIAL_FORMS")
        }
        for name in texts:
            sent = dict.fromkeys(texts, "plain") | formsets | {name: f'["{CANARY}"]' if name == "ekus" else CANARY}
            response = client.post(address, sent)
            assert response.status_code < 500, (address, name)
            assert CANARY not in response.content.decode() or name not in response.context["adminform"].form.cleaned_data
            assert_not_kept(f"{name} at {address}")
            walked.add(f"{meta.model_name}.{name}")
    return walked


def test_no_field_of_an_admin_form_keeps_a_secret(portal: Portal) -> None:
    assert {"team.name", "profile.description", "policy.description", "periodictask.name", "group.name"} <= walk_admin()


# --- commands: every option that takes a text

# Arguments beside the one that holds the canary. Left out: commands that begin a process, or that only write files.
COMMANDS: dict[str, list[str]] = {
    "add_ca": [],
    "ask": ["--as=alice"],
    "bulk_issue": ["--as=alice", "--wait=0"],
    "distrust_ca": ["--reason=superseded"],
    "identify_user": [],
    "issue": ["--as=alice", "--wait=0"],
    "policy_check": ["--no-replay"],
    "reconcile_ca": ["--settle=01", "--because=x"],
    "renew": ["--wait=0"],
    "reissue_ca": [],
    "replay_decision": [],
    "resume": [],
    "revoke": ["--reason=superseded", "--wait=0"],
    "roll_over_ca": [],
    "unblock_key": ["--reason=x", "--as=carol"],
}
_NO_TEXT = {"check_csr", "check_expiry", "compliance_report", "publish_crl", "reconcile_status", "register"}


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # noqa: SLF001 - argparse lists them nowhere else


def _options(name: str) -> Iterator[list[str]]:
    """The canary in each option in turn, with an argument for each position."""
    command = load_command_class("certs", name)
    usual = {action.dest for action in _actions(argparse.ArgumentParser())} | {"settings", "pythonpath", "verbosity"}
    actions = [
        action
        for action in _actions(command.create_parser("manage.py", name))
        if action.nargs != 0 and action.type is None and not action.choices and action.dest not in usual
    ]
    places = [action for action in actions if not action.option_strings]
    for action in actions:
        given = [CANARY if place is action else "x" for place in places]
        yield [*given, *([] if action in places else [f"{action.option_strings[-1]}={CANARY}"]), *COMMANDS[name]]


def test_every_command_is_known_here() -> None:
    ours = {name for name, app in get_commands().items() if app == "certs"}
    with_text = {name for name in ours - set(COMMANDS) if any(_texts(name))}
    assert with_text <= _NO_TEXT, "say with which arguments the new command is called"


def _texts(name: str) -> list[str]:
    COMMANDS.setdefault(name, [])
    found = [" ".join(one) for one in _options(name)]
    del COMMANDS[name]
    return found


def test_no_option_of_a_command_keeps_a_secret(portal: Portal, certificate: Certificate) -> None:
    for name in COMMANDS:
        subject = {"identify_user": "alice"}.get(name, certificate.cert_id)
        for given in _options(name):
            arguments = [subject if one == "x" else one for one in given]
            with suppress(SystemExit, CommandError, PortalError, Http404):
                call_command(name, *arguments, json=True, stdout=io.StringIO(), stderr=io.StringIO())
            assert_not_kept(f"{name} {arguments}")
