"""Compare API tokens, CAs and policy versions with the events that gave them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth import get_user_model

from audit.changes import digest_of, subject_of
from certs.models import ApiToken, Chain, IssuanceIntent, Issuer, Team
from certs.reconciliation.records.comparison import Comparison, accounts_over_time, events_of, names_over_time, pages, rows_named
from certs.reconciliation.records.explained import Logged
from policy.errors import PolicyCorrupt
from policy.models import Policy, PolicyVersion, PolicyWaiver

CHANGED_SILENTLY = "it was changed by something that left no event since the last one"
_TOKEN = ("token:created", "token:changed", "token:revoked")
_ISSUER = ("issuer:created", "issuer:state_changed", "issuer:changed")
_VERSION = ("policy:drafted", "policy:draft_changed", "policy:published", "policy:withdrawn")
_WAIVER = ("waiver:approved", "waiver:ended")


def compare_granted(comparison: Comparison) -> None:
    """Add tokens, CAs, chains and policy versions that no event explains."""
    pages(ApiToken.objects.all(), lambda page: _tokens(page, comparison))
    pages(Issuer.objects.all(), lambda page: _issuers(page, comparison))
    pages(Chain.objects.all(), lambda page: _chains(page, comparison))
    pages(PolicyVersion.objects.select_related("withdrawal"), lambda page: _versions(page, comparison))
    pages(PolicyWaiver.objects.all(), lambda page: _waivers(page, comparison))


def _digest_differs(row: Any, events: list[Logged]) -> bool:
    """Return whether the last event that carries the digest of the row has another one."""
    digests = [e.data["state_sha256"] for e in events if e.data.get("state_sha256")]
    return bool(digests) and digests[-1] != digest_of(row)


def _tokens(page: list[ApiToken], comparison: Comparison) -> None:
    logged = events_of([f"token:{row.pk}" for row in page], _TOKEN)
    accounts = accounts_over_time(rows_named(get_user_model(), [row.user_id for row in page]).values())
    teams = names_over_time(rows_named(Team, [row.team_id for row in page]).values(), "slug", ("team:created", "team:changed"))
    for row in page:
        comparison.compared["tokens"] += 1
        events, name = logged[f"token:{row.pk}"], f"{row.name} ({row.prefix})"
        created = [e.data for e in events if e.event == "token:created"]
        if not created:
            comparison.add("token", name, "no event says that it was created")
            continue
        altered = {n for e in events if e.event == "token:changed" for n in e.data}
        for field_name, stored in {"scopes": row.scopes, "prefix": row.prefix, "profiles": row.profiles}.items():
            if field_name not in altered:
                comparison.expect("token", name, field_name, stored=stored, logged=created[0].get(field_name, stored))
        for field_name, known in (("user", accounts.get(row.user_id, set())), ("team", teams.get(row.team_id, set()))):
            if field_name not in altered and str(created[0].get(field_name)) not in known:
                comparison.add("token", name, f"its {field_name} is not {created[0].get(field_name)}, for whom it was created")
        revoked = any(e.event == "token:revoked" for e in events)
        if revoked != (row.revoked_at is not None):
            now, then = ("revoked", "in force") if row.revoked_at else ("in force", "revoked")
            comparison.add("token", name, f"it is {now}, but the log says {then}")
        elif _digest_differs(row, events):
            comparison.add("token", name, CHANGED_SILENTLY)


def _issuers(page: list[Issuer], comparison: Comparison) -> None:
    """Use cases write `issuer:state_changed` of the name, each change of the row `issuer:changed` of its key."""
    logged = events_of([s for row in page for s in (f"issuer:{row.slug}", subject_of(row))], _ISSUER)
    for row in page:
        comparison.compared["issuers"] += 1
        by_name, by_key = logged[f"issuer:{row.slug}"], logged[subject_of(row)]
        if not any(e.event == "issuer:created" for e in by_name):
            comparison.add("issuer", row.name, "no event says that it was created")
            continue
        # a change of the row comes after its creation, which is recorded under its name
        differs = _digest_differs(row, [*by_name, *by_key])
        state = _issuer_state([*by_name, *by_key])
        comparison.expect("issuer", row.name, "state", stored=row.state, logged=state)
        if differs and row.state == state:
            comparison.add("issuer", row.name, CHANGED_SILENTLY)
        if row.state == Issuer.State.DISTRUSTED and row.parent_id is not None:
            _distrust_entry(row, comparison)


def _issuer_state(events: list[Logged]) -> str:
    state = ""
    for logged in sorted(events, key=_when):
        event, data = logged.event, logged.data
        if event == "issuer:created":
            state = Issuer.State.ACTIVE.value
        elif event == "issuer:state_changed":
            state = str(data.get("to"))
        elif "state" in data:
            value = data["state"]
            state = str(value[1] if isinstance(value, list) else value)
    return state


def _when(logged: Logged) -> datetime:
    return logged.at or datetime.min.replace(tzinfo=UTC)


def _distrust_entry(row: Issuer, comparison: Comparison) -> None:
    """Look for the entry in the ledger of the root, from which the root's CRL is made."""
    entries = IssuanceIntent.objects.filter(issuer=row.parent_id, order_ref=f"ca:{row.slug}", revoked_at__isnull=False)
    if not entries.exists():
        comparison.add("issuer", row.name, "it is distrusted, but the entry that puts it on the CRL of its root is missing")


def _chains(page: list[Chain], comparison: Comparison) -> None:
    for row in page:
        comparison.compared["chains"] += 1
        if hashlib.sha256(row.pem.encode()).hexdigest() != row.sha256:
            comparison.add("chain", row.sha256, "its certificates are not those that were recorded: the digest differs")


def _versions(page: list[PolicyVersion], comparison: Comparison) -> None:
    policies = rows_named(Policy, [row.policy_id for row in page])
    names = names_over_time(policies.values(), "name", ("policy:created", "policy:changed"))
    logged = events_of([f"policy:{name}" for known in names.values() for name in known], _VERSION)
    people = accounts_over_time(rows_named(get_user_model(), [row.drafter_id for row in page]).values())
    for row in page:
        comparison.compared["policy versions"] += 1
        name = f"{policies[row.policy_id]} {row.version}" if row.policy_id in policies else row.version
        events = [e for policy in sorted(names.get(row.policy_id, ())) for e in logged[f"policy:{policy}"]]
        mine = [e for e in events if e.data.get("version") == row.version and e.data.get("digest_sha256") == row.digest]
        drafted = [e for e in mine if e.event in ("policy:drafted", "policy:draft_changed")]
        published = [e for e in mine if e.event == "policy:published"]
        if bool(published) != row.is_published or not drafted:
            verb = "drafted" if not drafted else "published" if row.is_published else "a draft again"
            comparison.add("policy version", name, f"no event says that it was {verb}")
            continue
        drafter = str(drafted[-1].data.get("drafted_by") or drafted[-1].actor)  # the first one, where others changed it
        comparison.expect("policy version", name, "drafted_by", stored=row.drafted_by, logged=drafter)
        if row.drafter_id is not None and drafter not in people.get(row.drafter_id, ()):
            comparison.add("policy version", name, f"the log says that {drafter} drafted it, and its row names another account")
        withdrawn = any(e.event == "policy:withdrawn" for e in mine)
        if withdrawn != hasattr(row, "withdrawal"):
            now, then = ("stands", "it was withdrawn") if withdrawn else ("is withdrawn", "nothing of it")
            comparison.add("policy version", name, f"it {now}, and the log says {then}")
        if published:
            start = row.effective_from.isoformat() if row.effective_from else None
            comparison.expect("policy version", name, "effective_from", stored=start, logged=published[-1].data.get("effective_from"))
            comparison.expect("policy version", name, "published_by", stored=row.published_by, logged=published[-1].actor)
        try:
            row.read_rules()
        except PolicyCorrupt as exc:
            comparison.add("policy version", name, str(exc))


def _waivers(page: list[PolicyWaiver], comparison: Comparison) -> None:
    logged = events_of([row.subject for row in page], _WAIVER)
    for row in page:
        comparison.compared["policy waivers"] += 1
        approved = [e for e in logged[row.subject] if e.event == "waiver:approved"]
        if bool(approved) != (row.approved_at is not None):
            comparison.add("policy waiver", row.reference, "its approval and the events do not agree")
        elif approved:
            comparison.expect("policy waiver", row.reference, "content", stored=row.digest, logged=approved[-1].data.get("content_sha256"))
            ended = any(e.event == "waiver:ended" for e in logged[row.subject])
            if ended != (row.ended_at is not None):
                comparison.add("policy waiver", row.reference, "its end and the events do not agree")
