"""The rows of the portal's pages in the matrix: one for each address, and one for each verb at it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model

from audit.log import Actor
from certs.access.api_tokens import SCOPES
from certs.models import PolicyReplay
from certs.replay.jobs import begin_replay
from db.clock import database_now
from policy.drafting import draft_version
from policy.models import PolicyVersion, PolicyWaiver
from policy.presets import DEFAULT_V2_3
from policy.waivers.deciding import request_waiver
from tests.certs.access.matrix import (
    FORBIDDEN,
    LOGIN,
    NOT_FOUND,
    OK,
    OWNERS,
    SEE_ALL,
    TEAM,
    Page,
    Things,
    act,
    act_on_plan,
    approver_only,
    ask_for,
    close_alerts,
    control_act,
    decide,
    decide_domain,
    everybody,
    manage,
    manage_cas,
    manage_people,
    member,
    never_without_passkey,
    no_own_ca,
    operate,
    own,
    pause_reissue,
    see,
    see_act,
    see_alerts,
    see_cas,
    select_some,
    write_policies,
)


def on_addition(verb: str) -> Callable[[Things, str], list[Any]]:
    return lambda things, _whose: [things.addition, verb]


def of(kind: str, *more: Any) -> Callable[[Things, str], list[Any]]:
    return lambda things, whose: [getattr(things, kind)[whose], *more]


def nothing(_things: Things, _whose: str) -> dict[str, Any]:
    return {}


def words(_things: Things, whose: str) -> dict[str, Any]:
    return {"via": "words", "team": TEAM[whose] or "nowhere", "text": "Certificate for a, P-256, 30 days"}


def token_form(_things: Things, whose: str) -> dict[str, Any]:
    return {"name": "t", "team": TEAM[whose] or "nowhere", "scopes": SCOPES[0], "days": "9"}


def webhook_form(_things: Things, _whose: str) -> dict[str, Any]:
    return {"name": "new", "url": "https://127.0.0.1/hook", "topics": "renewed"}


def team(_things: Things, whose: str) -> list[Any]:
    return [TEAM[whose] or "nowhere"]


def of_webhook(*more: Any) -> Callable[[Things, str], list[Any]]:
    return lambda things, whose: [TEAM[whose] or "nowhere", things.webhooks[whose], *more]


def decision(word: str) -> Callable[[Things, str], dict[str, Any]]:
    return lambda things, whose: {"decision": word, "digest": things.digests[whose], "comment": "because"}


def absent(_role: str, _whose: str) -> str:
    """Nobody has it yet."""
    return NOT_FOUND


def asked_again(_role: str, _whose: str) -> str:
    """Without a password and a second factor, only a new sign-in shows who one is."""
    return LOGIN


def sees_factors(role: str, _whose: str) -> str:
    """Operators and security officers."""
    return OK if role in ("operator", "officer") else NOT_FOUND


def resets_factors(role: str, whose: str) -> str:
    """Security officers. Operators see the page and may not."""
    return FORBIDDEN if role == "operator" else sees_factors(role, whose)


def person_of(_things: Things, _whose: str) -> list[Any]:
    return [get_user_model().objects.get(username="nobody").pk]


def factor(_things: Things, _whose: str) -> list[Any]:
    return [1]


def in_force(_things: Things, _whose: str) -> list[Any]:
    return [PolicyVersion.objects.published().get().pk]


def drafted(_things: Things, _whose: str) -> list[Any]:
    """A draft, made where there is none any more."""
    row = PolicyVersion.objects.filter(version="v9").first()
    if row is None:
        row = draft_version("default", DEFAULT_V2_3 | {"version": "v9"}, actor=Actor("command", "test"), now=database_now())
    return [row.pk]


def replayed(*more: Any) -> Callable[[Things, str], list[Any]]:
    def args(_things: Things, _whose: str) -> list[Any]:
        row = PolicyReplay.objects.first()
        if row is None:
            row = begin_replay(PolicyVersion.objects.published().get(), starts=database_now(), days_back=1, asked_by="test")
        return [row.public_id, *more]

    return args


def waived(verb: str) -> Callable[[Things, str], list[Any]]:
    def args(_things: Things, _whose: str) -> list[Any]:
        now = database_now()
        officer = get_user_model().objects.get(username="officer")
        row = PolicyWaiver.objects.first() or request_waiver(
            "default",
            rule="max_names",
            params={"maximum": 200},
            names=[],
            teams=["web"],
            reason="because",
            begins=now,
            ends=now + timedelta(days=9),
            user=officer,
            now=now,
        )
        return [row.pk, verb]

    return args


def no_member(role: str, whose: str) -> str:
    """The member of the test is in no team."""
    found = manage(role, whose)
    return NOT_FOUND if found == OK else found


def person(things: Things, whose: str) -> list[Any]:
    return [things.persons[whose]]


def see_person(role: str, whose: str) -> str:
    """The own page; every page for roles that see every team."""
    if not TEAM[whose] or (role not in SEE_ALL and OWNERS[whose] != role):
        return NOT_FOUND
    return OK


def manage_person(role: str, whose: str) -> str:
    found = see_person(role, whose)
    return FORBIDDEN if found == OK and role != "officer" else found


def manage_any_person(role: str, whose: str) -> str:
    if role != "officer":
        return FORBIDDEN
    return OK if TEAM[whose] else NOT_FOUND


def manage_own_person(role: str, whose: str) -> str:
    found = see_person(role, whose)
    return FORBIDDEN if found == OK and role != "officer" and OWNERS[whose] != role else found


def manage_invitation(role: str, whose: str) -> str:
    return OK if role == "officer" and TEAM[whose] else NOT_FOUND


def nobody(_role: str, _whose: str) -> str:
    """The person who asked has no row in the matrix."""
    return NOT_FOUND


PAGES: dict[str, list[Page]] = {
    "login": [Page(everybody, once=True, public=True)],
    "account_login": [Page(everybody, once=True, public=True)],
    "mfa_authenticate": [Page(everybody, once=True, public=True)],
    "mfa_login_webauthn": [Page(everybody, once=True, public=True)],
    "openid_connect_login": [Page(absent, data=nothing, once=True, public=True)],
    "openid_connect_callback": [Page(absent, once=True, public=True)],
    "openid_connect_ended": [Page(absent, data=nothing, once=True, public=True)],
    "identity-disconnect": [Page(absent, factor, once=True), Page(absent, factor, nothing, once=True)],
    "password-forgotten": [
        Page(everybody, once=True, public=True),
        Page(everybody, data=lambda _t, _w: {"who": "nobody-here"}, once=True, public=True),
    ],
    "password-reset": [Page(everybody, lambda _t, _w: ["MQ", "nonsense"], once=True, public=True)],
    "account_reauthenticate": [Page(asked_again, once=True)],
    "mfa_reauthenticate": [Page(asked_again, once=True)],
    "mfa_reauthenticate_webauthn": [Page(asked_again, once=True)],
    "sign-in-anew": [Page(everybody, once=True)],
    "mfa_index": [Page(everybody, once=True)],
    "mfa_activate_totp": [Page(everybody, once=True)],
    "mfa_deactivate_totp": [Page(everybody, once=True, public=True)],
    "mfa_add_webauthn": [Page(everybody, once=True)],
    "mfa_view_recovery_codes": [Page(absent, once=True)],
    "mfa_generate_recovery_codes": [Page(everybody, once=True)],
    "factors-of-person": [
        Page(sees_factors, person_of, once=True),
        Page(resets_factors, person_of, lambda _t, _w: {"do": "reset"}, once=True),
    ],
    "factor-rename": [Page(absent, factor, lambda _t, _w: {"name": "Laptop"}, once=True)],
    "factor-remove": [Page(absent, factor, once=True), Page(absent, factor, nothing, once=True)],
    "send-again": [Page(everybody, once=True), Page(everybody, data=nothing, once=True)],
    "logout": [Page(everybody, data=nothing, once=True, public=True)],
    "home": [Page(everybody, once=True)],
    "new": [Page(everybody, once=True), Page(ask_for, data=words)],
    "new-csr": [Page(everybody, once=True)],
    "new-automatic": [Page(everybody, once=True)],
    "new-draft": [Page(ask_for, of("request_drafts")), Page(ask_for, of("request_drafts"), nothing)],
    "new-draft-csr": [Page(ask_for, of("request_drafts"), lambda _t, _w: {"go": "drop"})],
    "new-draft-plan": [Page(ask_for, of("request_drafts"))],
    "new-draft-submit": [Page(ask_for, of("request_drafts"), nothing)],
    "words": [Page(everybody, once=True)],
    "requests": [Page(everybody, once=True)],
    "request": [Page(see, of("requests"))],
    "request-steps": [Page(see, of("requests"))],
    "request-resume": [Page(operate, of("requests"), nothing)],
    "request-decide": [Page(decide, of("requests"), decision("approve")), Page(decide, of("requests"), decision("reject"))],
    "request-confirm": [Page(never_without_passkey, of("requests"))],
    "request-ask": [Page(decide, of("requests"), lambda _t, _w: {"question": "Why?"})],
    "request-answer": [Page(act, of("requests"), lambda _t, _w: {"answer": "So."})],
    "request-remind": [Page(act, of("requests"), nothing)],
    "request-cancel": [Page(act, of("requests"), nothing)],
    "bulk": [Page(everybody, once=True)],
    "bulk-new": [Page(everybody, once=True), Page(ask_for, data=words)],
    "bulk-template-csv": [Page(everybody, once=True)],
    "bulk-template-xlsx": [Page(everybody, once=True)],
    "bulk-order": [Page(see, of("drafts")), Page(see, of("orders"))],
    "bulk-lines": [Page(see, of("drafts"))],
    "bulk-live": [Page(see, of("orders"))],
    "bulk-submit": [Page(act, of("drafts"), nothing)],
    "bulk-suggestions": [Page(act, of("drafts"), nothing)],
    "bulk-line": [Page(act, of("drafts", 1)), Page(act, of("drafts", 1), lambda _t, _w: {"name": "corrected"})],
    "bulk-act": [
        *(Page(operate, of("orders", verb), nothing) for verb in ("pause", "resume", "retry")),
        Page(act, of("orders", "cancel"), nothing),
    ],
    "bulk-decide": [
        Page(decide, of("orders")),
        *(Page(decide, of("orders"), decision(word)) for word in ("approve", "reject")),
    ],
    "bulk-confirm": [Page(decide, of("orders"))],
    "bulk-file": [Page(see, of("orders", "problems.csv")), Page(see, of("orders", "certificates.zip"))],
    "certificates": [Page(everybody, once=True)],
    "acts": [
        Page(everybody, once=True),
        Page(select_some, data=lambda t, whose: {"act": "add_tag", "cert": t.certificates[whose]}),
    ],
    "act": [
        Page(own, of("act_drafts")),
        Page(own, of("act_drafts"), lambda _t, _w: {"tag": "web"}),
        Page(see_act, of("acts")),
    ],
    "act-live": [Page(see_act, of("acts"))],
    "act-submit": [Page(own, of("act_drafts"), nothing)],
    "act-control": [
        *(Page(control_act, of("acts", verb), nothing) for verb in ("pause", "resume", "cancel", "retry")),
    ],
    "certificates-csv": [Page(everybody, once=True)],
    "view-save": [
        Page(everybody, data=lambda _t, _w: {"name": "mine", "query": "state=valid"}, once=True),
        Page(ask_for, data=lambda _t, whose: {"name": "ours", "query": "", "team": TEAM[whose] or "nowhere"}),
    ],
    "view-delete": [Page(own, of("views"), nothing)],
    "certificate": [Page(see, of("certificates"))],
    "certificate-install": [Page(see, of("certificates"))],
    "certificate-renewals": [Page(see, of("certificates"))],
    "certificate-history": [Page(see, of("certificates"))],
    "certificate-technical": [Page(see, of("certificates"))],
    "certificate-renew": [Page(act, of("certificates")), Page(act, of("certificates"), nothing)],
    "certificate-revoke": [Page(act, of("certificates")), Page(act, of("certificates"), lambda _t, _w: {"reason": "superseded"})],
    "certificate-withdraw": [Page(act_on_plan, of("certificates"), nothing)],
    "certificate-release": [Page(act, of("certificates")), Page(act, of("certificates"), nothing)],
    "certificate-describe": [Page(act, of("certificates")), Page(act, of("certificates"), nothing)],
    "certificate-reviewed": [Page(act, of("certificates"), nothing)],
    "live-check": [
        Page(see, of("certificates")),
        Page(act, of("certificates"), lambda _t, _w: {"place": "127.0.0.1:1"}),
    ],
    "download": [Page(see, of("certificates", "cert.pem"))],
    "cas": [Page(see_cas, once=True)],
    "ca": [Page(see_cas, lambda _t, _w: ["twin-ca"], once=True)],
    "ca-roll-over": [Page(no_own_ca, lambda _t, _w: ["twin-ca"], data, once=True) for data in (None, nothing)],
    "ca-distrust": [Page(no_own_ca, lambda _t, _w: ["twin-ca"], data, once=True) for data in (None, nothing)],
    "ca-own-new": [Page(manage_cas, once=True), Page(manage_cas, data=nothing, once=True)],
    "ca-add": [Page(manage_cas, once=True), Page(manage_cas, data=nothing, once=True)],
    "ca-addition": [Page(see_alerts, lambda things, _w: [things.addition], once=True)],
    "ca-addition-act": [Page(manage_cas, on_addition(verb), nothing, once=True) for verb in ("again", "compare", "live", "give-up")],
    "ca-reissue-plan": [Page(manage_cas, lambda _t, _w: ["twin-ca"], data, once=True) for data in (None, nothing)],
    "ca-reissue": [Page(see_alerts, lambda things, _w: [things.reissue], once=True)],
    "ca-reissue-live": [Page(see_alerts, lambda things, _w: [things.reissue], once=True)],
    "ca-reissue-act": [
        Page(pause_reissue, lambda things, _w: [things.reissue, "pause"], nothing, once=True),
        Page(manage_cas, lambda things, _w: [things.reissue, "start"], nothing, once=True),
        Page(manage_cas, lambda things, _w: [things.reissue, "forecast"], nothing, once=True),
        Page(manage_cas, lambda things, _w: [things.reissue, "cancel"], nothing, once=True),
    ],
    "register": [Page(everybody, once=True)],
    "register-csv": [Page(everybody, once=True)],
    "reports": [Page(see_alerts, once=True)],
    "report": [Page(see_alerts, lambda things, _w: [things.report], once=True)],
    "report-file": [Page(see_alerts, lambda things, _w: [things.report, ".json"], once=True)],
    "report-list": [Page(see_alerts, once=True)],
    "inbox": [Page(everybody, once=True)],
    "deputy": [Page(approver_only, once=True), Page(approver_only, data=nothing, once=True)],
    "domain-ask": [
        Page(member, lambda _t, whose: [TEAM[whose] or "nowhere"]),
        Page(member, lambda _t, whose: [TEAM[whose] or "nowhere"], lambda _t, _w: {"domain": "new.example.net", "why": "because"}),
    ],
    "domain-request": [Page(see, of("domain_requests"))],
    "domain-request-decide": [
        *(Page(decide_domain, of("domain_requests"), decision(word)) for word in ("grant", "refuse")),
    ],
    "domain-request-withdraw": [Page(member, of("domain_requests"), nothing)],
    "alert": [Page(see_alerts, lambda things, _w: [things.alert], once=True)],
    "certificate-proof": [Page(see, of("certificates"))],
    "audit-checkpoint": [Page(everybody, once=True)],
    "audit-consistency": [Page(everybody, once=True), Page(everybody, data=lambda t, _w: {"checkpoint": t.checkpoint}, once=True)],
    "audit-log-checkpoint": [Page(see_alerts, lambda _t, _w: [1], once=True)],
    "audit-log-tile": [
        Page(see_alerts, lambda _t, _w: [1, "0/000.p/1"], once=True),
        Page(see_alerts, lambda _t, _w: [1, "entries/000.p/1"], once=True),
    ],
    "audit-event-proof": [Page(see_alerts, lambda things, _w: [things.event], once=True)],
    "audit": [Page(everybody, once=True)],
    "audit-export": [Page(everybody, lambda _t, _w: ["csv"], once=True), Page(everybody, lambda _t, _w: ["jsonl"], once=True)],
    "alerts": [Page(see_alerts, once=True)],
    "policy": [Page(see_alerts, once=True)],
    "policy-new": [Page(write_policies, once=True), Page(write_policies, data=lambda _t, _w: {"from": "current"}, once=True)],
    "policy-version": [Page(see_alerts, in_force, once=True)],
    "policy-yaml": [Page(see_alerts, in_force, once=True)],
    "policy-edit": [Page(write_policies, drafted, once=True), Page(write_policies, drafted, nothing, once=True)],
    "policy-effect": [Page(see_alerts, in_force, once=True), Page(write_policies, in_force, nothing, once=True)],
    "policy-publish": [Page(write_policies, drafted, once=True), Page(write_policies, drafted, nothing, once=True)],
    "policy-withdraw": [Page(write_policies, in_force, lambda _t, _w: {"reason": "late"}, once=True)],
    "policy-delete": [Page(write_policies, drafted, nothing, once=True)],
    "policy-replay": [Page(see_alerts, replayed(), once=True)],
    "policy-replay-cancel": [Page(write_policies, replayed(), nothing, once=True)],
    "policy-replay-list": [Page(see_alerts, replayed("refused"), once=True)],
    "policy-replay-csv": [Page(see_alerts, replayed("refused"), once=True)],
    "policy-waivers": [Page(see_alerts, once=True)],
    "policy-waiver-new": [Page(write_policies, once=True)],
    "policy-waiver-act": [
        Page(write_policies, waived("approve"), nothing, once=True),
        Page(write_policies, waived("end"), nothing, once=True),
    ],
    "machinery": [Page(see_alerts, once=True)],
    "estate": [Page(see_cas, once=True)],
    "estate-readiness": [Page(see_cas, once=True)],
    "alert-close": [Page(close_alerts, lambda things, _w: [things.alert], nothing, once=True)],
    "tokens": [Page(everybody, once=True), Page(ask_for, data=token_form)],
    "token-revoke": [Page(own, of("tokens"), nothing)],
    "token-rotate": [Page(own, of("tokens"), lambda _t, _w: {"overlap": "24"})],
    "api-guide": [Page(everybody, once=True, public=True)],
    "account": [Page(everybody, once=True), Page(everybody, data=lambda _t, _w: {"do": "zone", "time_zone": "UTC"}, once=True)],
    "mails": [Page(everybody, once=True), Page(everybody, data=nothing, once=True)],
    "teams": [Page(everybody, once=True), Page(everybody, data=nothing, once=True)],
    "team-new": [Page(manage_people, once=True), Page(manage_people, data=nothing, once=True)],
    "team": [Page(see, team), Page(manage, team, lambda _t, _w: {"default_domain": ""})],
    "team-names": [
        Page(manage, team),
        Page(manage, team, lambda _t, _w: {"names": "new.example.org", "to": "web"}),
    ],
    "team-people": [Page(see, team)],
    "team-member": [Page(no_member, lambda things, whose: [*team(things, whose), 0, "lead"], nothing)],
    "team-leave": [
        Page(no_member, lambda things, whose: [*team(things, whose), 0]),
        Page(no_member, lambda things, whose: [*team(things, whose), 0], nothing),
    ],
    "people": [Page(see_alerts, once=True)],
    "person": [Page(see_person, person)],
    "person-act": [Page(manage_person, lambda t, w: [*person(t, w), "end-sessions"], nothing)],
    "person-remove": [Page(manage_any_person, person), Page(manage_any_person, person, nothing)],
    "person-certificates": [Page(manage_own_person, person), Page(manage_own_person, person, nothing)],
    "invite": [Page(manage_people, once=True), Page(manage_people, data=nothing, once=True)],
    "invitation-act": [Page(manage_invitation, of("invitations", verb), nothing) for verb in ("withdraw", "again")],
    "invitation": [
        Page(nobody, lambda _t, _w: ["nonsense"], once=True, public=True),
        Page(nobody, lambda _t, _w: ["nonsense"], nothing, once=True, public=True),
    ],
    "team-certificates": [Page(see, team)],
    "team-tokens": [Page(see, team)],
    "team-mails": [Page(see, team), Page(manage, team, lambda _t, _w: {"email": ""})],
    "join-decide": [
        Page(manage, of("joins", "accept"), nothing),
        Page(manage, of("joins", "decline"), lambda _t, _w: {"answer": "Ask Platform."}),
        Page(nobody, of("joins", "withdraw"), nothing),
    ],
    "webhooks": [
        Page(see, lambda _t, whose: [TEAM[whose] or "nowhere"]),
        Page(act, lambda _t, whose: [TEAM[whose] or "nowhere"], webhook_form),
    ],
    "webhook": [Page(see, of_webhook())],
    "webhook-act": [
        *(Page(act, of_webhook(verb), nothing) for verb in ("test", "enable", "remove")),
        Page(act, of_webhook("again"), lambda things, whose: {"message": things.messages[whose]}),
    ],
    "trust": [Page(everybody, once=True, public=True), Page(everybody, data=nothing, once=True)],
    "trust-mails": [
        Page(no_own_ca, lambda _t, _w: ["confirm", "nonsense"], once=True, public=True),
        Page(no_own_ca, lambda _t, _w: ["end", "nonsense"], nothing, once=True, public=True),
    ],
    "trust-file": [Page(no_own_ca, lambda _t, _w: ["none", "pem"], once=True, public=True)],
    "ca-certificate": [Page(no_own_ca, lambda _t, _w: ["twin-ca"], once=True, public=True)],
}
