"""What the permission matrix is made of: its roles, one object of each kind for each owner, and the rules that say what a role gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from audit.log import Actor
from audit.models import AuditEvent, Checkpoint
from audit.transparency.sealer import seal
from audit.transparency.signing_key import ensure_sealing_key
from certs.access.api_tokens import SCOPES, create_token
from certs.acts.control import digest_of, submit_act
from certs.acts.drafting import choose_options, draft_act
from certs.bulk.drafting.draft import draft
from certs.bulk.submit import submit_order
from certs.inventory.listing.saved import save_view
from certs.models import BulkAct, CAAddition, CertificateRequest, Issuer, JoinRequest, OperatorAlert, Reissue, Team
from certs.notifications.webhooks import add_webhook, send_test
from certs.people.invitations import invite
from certs.reports.keeping import keep_report
from certs.reports.weeks import Week
from certs.requests.domains.domain_requests import ask_for_domain
from certs.requests.drafts import DraftFields, begin
from certs.requests.submit import Requester, submit_many
from certs.spec import CertificateSpec
from certs.uploads.line import Line
from db.clock import database_now
from tests.cast import Cast
from tests.certs.life import issued, walk

OK, FORBIDDEN, NOT_FOUND, LOGIN, NO_TOKEN = "ok", "forbidden", "not found", "login", "no token"
ROLES = ("requester", "colleague", "outsider", "approver", "officer", "auditor", "operator", "leaver")
TEAM_OF = {"requester": "web", "colleague": "web", "outsider": "other"}
SEE_ALL = {"approver", "officer", "auditor", "operator"}
# Whose it is: the requester's own (for the colleague, the own team's), another team's, nobody's.
OWNERS = {"own": "requester", "other team": "outsider", "none": ""}
TEAM = {"own": "web", "other team": "other", "none": ""}


@dataclass(frozen=True)
class Things:
    """One of each, by whose it is."""

    requests: Mapping[str, str]
    resumable: Mapping[str, str]
    certificates: Mapping[str, str]
    serials: Mapping[str, str]
    keys: Mapping[str, str]
    drafts: Mapping[str, str]
    request_drafts: Mapping[str, str]
    orders: Mapping[str, str]
    tokens: Mapping[str, int]
    secrets: Mapping[str, str]
    digests: Mapping[str, str]
    domain_requests: Mapping[str, str]
    webhooks: Mapping[str, int]
    messages: Mapping[str, str]
    views: Mapping[str, int]
    act_drafts: Mapping[str, str]
    acts: Mapping[str, str]
    joins: Mapping[str, int]
    persons: Mapping[str, int]
    invitations: Mapping[str, int]
    alert: int
    report: str
    event: int
    checkpoint: str
    reissue: str
    addition: str


def spec(name: str) -> CertificateSpec:
    return CertificateSpec(name, (name,), (), "ec-p256", 90, "tls-server")


def _newcomers(cast: Cast, team: Team) -> tuple[int, int]:
    """One who is invited into the team, and one who asks to join it."""
    address, officer = f"new-{team.slug}@example.net", cast.authority("officer")
    invited = invite(address, team=team, as_lead=False, role=None, days=7, authority=officer)
    asks = JoinRequest.objects.create(person=cast["nobody"], team=team, why="I am new.", asked_at=database_now())
    return invited.pk, asks.pk


def _work_on_cas() -> tuple[str, str]:
    """A re-issue that runs, and a CA that is being added."""
    issuer = Issuer.objects.get(slug="twin-ca")
    reissue = Reissue.objects.create(
        public_id="reissue-1",
        issuer=issuer,
        target=issuer,
        state=Reissue.State.RUNNING,
        reason="lost",
        planned_by="officer",
        created_at=database_now(),
        started_at=database_now(),
    )
    addition = CAAddition.objects.create(
        public_id="ca-1",
        kind="rest",
        name="Far-CA",
        address="https://ca.test",
        credential="far",
        began_by_name="x",
        created_at=database_now(),
    )
    return reissue.public_id, addition.public_id


@pytest.fixture
def things(cast: Cast, settings: Any, tmp_path: Path) -> Things:
    settings.AUDIT_HOME = tmp_path
    ensure_sealing_key()
    settings.PKI_CA_API_INLINE, settings.PKI_CA_API_WAIT_SECONDS = False, 0
    settings.PKI_WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    single = {"alert", "report", "event", "checkpoint", "reissue", "addition"}
    found: dict[str, dict[str, Any]] = {name: {} for name in Things.__dataclass_fields__ if name not in single}
    for whose, name in OWNERS.items():
        if not name:
            continue
        team = Team.objects.get(slug=TEAM[whose])
        requester = Requester(Actor("user", name), team, "portal", user=cast[name])
        domain = f"{name}.{team.default_domain}"
        (waiting,) = submit_many([spec(f"*.{domain}")], requester=requester)
        walk([waiting.pk])
        found["requests"][whose], found["digests"][whose] = waiting.public_id, waiting.digest
        (failed,) = submit_many([spec(f"failed.{domain}")], requester=requester)
        CertificateRequest.objects.filter(pk=failed.pk).update(state="failed", stopped_at="approved", resume_id=f"resume-{name}")
        found["resumable"][whose] = f"resume-{name}"
        certificate = issued(spec(domain), requester)
        found["certificates"][whose], found["serials"][whose] = certificate.cert_id, certificate.serial_number
        found["keys"][whose] = certificate.spki_sha256
        order = draft([Line(1, "row 1", spec(f"bulk.{domain}"))], requester=requester, title=name)
        found["drafts"][whose] = order.public_id
        form = begin(DraftFields(place="vault", names=f"draft.{domain}"), requester=requester)
        found["request_drafts"][whose] = form.public_id
        running = draft([Line(1, "row 1", spec(f"bulk.{domain}"))], requester=requester, title=name)
        found["orders"][whose] = submit_order(running, authority=requester.authority).public_id
        asked = ask_for_domain(f"{name}.example.net", why="because", requester=requester)
        found["domain_requests"][whose] = asked.public_id
        token, found["secrets"][whose] = create_token(user=cast[name], team=team, name=name, scopes=SCOPES, actor=requester.actor)
        found["tokens"][whose] = token.pk
        hook = add_webhook(
            team,
            name=name,
            url="https://127.0.0.1/",
            topics=["renewed"],
            authority=requester.authority,
        )
        send_test(hook, authority=requester.authority)
        drafts = [_act(certificate.cert_id, requester) for _ in range(2)]
        found["act_drafts"][whose] = drafts[0].public_id
        begun = submit_act(drafts[1], authority=requester.authority, shown=digest_of(drafts[1]), typed="")
        found["acts"][whose] = begun.public_id
        found["views"][whose] = save_view(cast[name], name="mine", query={"state": "valid"}).pk
        found["webhooks"][whose] = hook.pk
        found["persons"][whose] = cast[name].pk
        found["invitations"][whose], found["joins"][whose] = _newcomers(cast, team)
        found["messages"][whose] = hook.deliveries.get().message_id
    _, found["secrets"]["leaver"] = create_token(user=cast["leaver"], team=cast.web, name="l", scopes=SCOPES, actor=Actor("user", "leaver"))
    cast.web.members.remove(cast["leaver"])
    alert = OperatorAlert.objects.create(kind="x", cause="y", message="m", raised_at="2026-01-01T00:00Z", last_seen_at="2026-01-01T00:00Z")
    nothing = {
        "requests": "req-0",
        "resumable": "resume-0",
        "certificates": "cert-0",
        "serials": "abcdef",
        "keys": "0" * 64,
        "drafts": "bulk-0",
        "request_drafts": "draft-0",
        "orders": "bulk-0",
        "tokens": 0,
        "webhooks": 0,
        "views": 0,
        "act_drafts": "act-0",
        "acts": "act-0",
        "joins": 0,
        "persons": 0,
        "invitations": 0,
        "messages": "",
        "digests": "",
        "domain_requests": "domain-0",
    }
    for name, value in nothing.items():
        found[name]["none"] = value
    report = keep_report(Week.of(database_now()))
    seal()
    reissue, addition = _work_on_cas()
    return Things(
        **found,
        alert=alert.pk,
        report=report.week,
        event=AuditEvent.objects.order_by("pk")[0].pk,
        checkpoint=Checkpoint.objects.get().note,
        reissue=reissue,
        addition=addition,
    )


def _act(cert_id: str, requester: Requester) -> BulkAct:
    act = draft_act("add_tag", authority=requester.authority, chosen=[cert_id])
    return choose_options(act, {"tag": "shop"}, authority=requester.authority)


# --- what a role gets ---

Rule = Callable[[str, str], str]


def _seen(role: str, whose: str) -> bool:
    return bool(TEAM[whose]) and (role in SEE_ALL or TEAM_OF.get(role) == TEAM[whose])


def see(role: str, whose: str) -> str:
    return OK if _seen(role, whose) else NOT_FOUND


def act(role: str, whose: str) -> str:
    """Members of its team, and officers."""
    if not _seen(role, whose):
        return NOT_FOUND
    return OK if role == "officer" or TEAM_OF.get(role) == TEAM[whose] else FORBIDDEN


def act_on_plan(role: str, whose: str) -> str:
    """The same; no revocation is planned here, so whoever may act finds none."""
    found = act(role, whose)
    return NOT_FOUND if found == OK else found


def operate(role: str, whose: str) -> str:
    return OK if role == "operator" and _seen(role, whose) else act(role, whose)


def decide(role: str, whose: str) -> str:
    """Approvers; nobody else, not even members and officers."""
    if not _seen(role, whose):
        return NOT_FOUND
    return OK if role == "approver" else FORBIDDEN


def never_without_passkey(role: str, whose: str) -> str:
    """The challenge for a passkey, which nobody here has: approvers are told so, others that they may not decide."""
    return FORBIDDEN if _seen(role, whose) else NOT_FOUND


def approver_only(role: str, _whose: str) -> str:
    """A page of approvers, which others do not have."""
    return OK if role == "approver" else NOT_FOUND


def decide_domain(role: str, whose: str) -> str:
    """Officers; nobody else, not even members and approvers."""
    if not _seen(role, whose):
        return NOT_FOUND
    return OK if role == "officer" else FORBIDDEN


def member(role: str, whose: str) -> str:
    """Members of its team; to others with a role it is no thing of theirs."""
    return OK if TEAM[whose] and TEAM_OF.get(role) == TEAM[whose] else NOT_FOUND


def ask_for(role: str, whose: str) -> str:
    """For the team of that object: its members."""
    return OK if TEAM[whose] and TEAM_OF.get(role) == TEAM[whose] else NOT_FOUND


def own(role: str, whose: str) -> str:
    return OK if OWNERS[whose] == role else NOT_FOUND


def everybody(_role: str, _whose: str) -> str:
    return OK


def see_cas(role: str, _whose: str) -> str:
    """Members of a team, and the roles beyond the teams."""
    return OK if role in SEE_ALL or role in TEAM_OF else NOT_FOUND


def manage(role: str, whose: str) -> str:
    """Officers; nobody of this cast leads a team."""
    if not _seen(role, whose):
        return NOT_FOUND
    return OK if role == "officer" else FORBIDDEN


def manage_cas(role: str, _whose: str) -> str:
    """Officers; the other roles see that it exists."""
    if role not in SEE_ALL:
        return NOT_FOUND
    return OK if role == "officer" else FORBIDDEN


def manage_people(role: str, _whose: str) -> str:
    return OK if role == "officer" else FORBIDDEN


def pause_reissue(role: str, _whose: str) -> str:
    """Officers and operators."""
    return OK if role == "operator" else manage_cas(role, _whose)


def no_own_ca(_role: str, _whose: str) -> str:
    """The CA of this test is elsewhere, and the portal has no certificate of it to publish."""
    return NOT_FOUND


def select_some(role: str, _whose: str) -> str:
    """Who may act on any certificate at all. One that is not seen is not selected."""
    return OK if role == "officer" or role in TEAM_OF else FORBIDDEN


def see_act(role: str, whose: str) -> str:
    """Whoever ordered it, and those who see every team."""
    return OK if role in SEE_ALL and TEAM[whose] else own(role, whose)


def control_act(role: str, whose: str) -> str:
    """Whoever ordered it, officers and operators."""
    found = see_act(role, whose)
    return FORBIDDEN if found == OK and role in ("approver", "auditor") else found


def see_alerts(role: str, _whose: str) -> str:
    return OK if role in SEE_ALL else NOT_FOUND


def write_policies(role: str, _whose: str) -> str:
    """Officers; other roles beyond the teams may look on."""
    return OK if role == "officer" else FORBIDDEN if role in SEE_ALL else NOT_FOUND


def close_alerts(role: str, _whose: str) -> str:
    return OK if role == "operator" else NOT_FOUND


def outcome(response: Any) -> str:
    if response.status_code == 302 and response["Location"].startswith("/login/"):
        return LOGIN
    known = {401: NO_TOKEN, 403: FORBIDDEN, 404: NOT_FOUND}
    assert response.status_code not in (405, 500), response.content[:500]
    return known.get(response.status_code, OK)


@dataclass(frozen=True)
class Page:
    """A call of a page: its arguments and form data, made from the things and whose they are. `once`: no object matters."""

    rule: Rule
    args: Callable[[Things, str], list[Any]] = lambda _t, _w: []
    data: Callable[[Things, str], dict[str, Any]] | None = None  # None: GET
    once: bool = False
    public: bool = False
