"""Drafts of requests: begun, changed, completed by a CSR and submitted by any member of the team.

A draft keeps what was typed, so that Back, a reload, a new sign-in or a colleague finds it again.
Texts are searched for secrets before anything is kept.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from certs.access.permissions import teams_of
from certs.errors import Conflict, InputRefused, NotFound
from certs.language.kept_csr import kept_csr
from certs.models import CertificateRequest, RequestDraft, Team
from certs.models.request_draft import MAX_NAMES_TEXT
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.requests.facts.policy_facts import PolicyInput, evaluate_many
from certs.requests.plan import Fields, defaults_for, fill_gaps, gate, notes_of_csr, plan_digest
from certs.requests.submit import Requester, submit
from certs.servers.kinds import Place, server_named
from certs.spec import CertificateSpec, IssuePlan, Validity
from certs.uploads.formats.validity_cell import read_validity
from db.clock import database_now
from keys.spec import KeySpec
from policy.engine import Outcome

# Places at which the key is made by the requester, so that a CSR has to come.
WITH_CSR = frozenset((Place.SERVER, Place.JAVA, Place.CLIENT, Place.CSR))
# Characters, as the columns hold them.
_LONGEST = {"place": 16, "server": 16, "names": MAX_NAMES_TEXT, "key": 16, "profile": 64, "validity": 40, "why": 500}


@dataclass(frozen=True, slots=True)
class DraftFields:
    """What a person fills in, as typed. Empty: the policy's default, or not said."""

    place: str
    server: str = ""
    names: str = ""
    key: str = ""
    profile: str = ""
    validity: str = ""
    why: str = ""


def draft_of(user: Any, public_id: str) -> RequestDraft:
    """Return a draft of one of the user's teams. Raises NotFound for any other."""
    found = RequestDraft.objects.filter(public_id=public_id, team__in=teams_of(user)).select_related("team", "owner", "request")
    draft = found.first()
    if draft is None:
        raise NotFound("There is no such draft.")
    return draft


def unfinished_drafts(user: Any, teams: Sequence[Team], *, most: int) -> list[RequestDraft]:
    """Return drafts that the user began for these teams, with names and not submitted; the last changed first."""
    begun = RequestDraft.objects.filter(team__in=teams, owner=user, request=None).exclude(names="", csr_facts__isnull=True)
    return list(begun.select_related("team", "owner").order_by("-changed_at")[:most])


def begin(
    fields: DraftFields, *, requester: Requester, sentence: str = "", notes: Sequence[str] = (), csr: bytes | None = None
) -> RequestDraft:
    """Keep a new draft for the requester's team.

    Raises NotPermitted for a person outside the team, CSRRefused for a secret in a text and for a CSR
    that the gate refuses, InputRefused for a place, server or key type that does not exist.
    Effects: one row; a refused CSR is recorded in the audit log as at every channel.
    """
    requester.check()
    _check(fields, sentence, requester=requester)
    of_csr = _read(csr, requester=requester) if csr is not None else {}
    now = database_now()
    return RequestDraft.objects.create(
        public_id=f"draft-{now:%Y%m%d%H%M%S}-{secrets.token_hex(8)}",
        team=requester.team,
        owner=requester.user,
        sentence=sentence,
        notes=list(notes),
        created_at=now,
        **_dated(now),
        **asdict(fields),
        **of_csr,
    )


def change(draft: RequestDraft, fields: DraftFields, *, requester: Requester) -> RequestDraft:
    """Keep what was changed. Raises what `begin` raises, and Conflict for a draft that was submitted."""
    requester.check()
    _check(fields, requester=requester)
    now = database_now()
    values: dict[str, Any] = asdict(fields) | _dated(now)
    if any(getattr(draft, name) != value for name, value in asdict(fields).items() if name in ("names", "key", "validity")):
        values["notes"] = []  # they were about the sentence, which this draft does not follow any more
    _write(draft, values)
    return draft


def attach_csr(draft: RequestDraft, data: bytes, *, requester: Requester) -> RequestDraft:
    """Judge a CSR at the gate and keep what it asks for.

    Raises CSRRefused with the field and what would pass. Effects: the row; a refusal is recorded in
    the audit log as at every channel.
    """
    _write(draft, _read(data, requester=requester) | _dated(database_now()))
    return draft


def _read(data: bytes, *, requester: Requester) -> dict[str, Any]:
    facts = gate(data, requester=requester)
    content = {
        "common_name": facts.common_name,
        "dns_names": list(facts.dns_names),
        "ip_addresses": list(facts.ip_addresses),
        "key": facts.key.name,
        "notes": notes_of_csr(facts),
    }
    return {"csr_facts": content, "csr_der": kept_csr(facts), "csr_spki": facts.spki_der}


def drop_csr(draft: RequestDraft) -> RequestDraft:
    """Forget the CSR, for another one. Raises Conflict for a draft that was submitted."""
    _write(draft, {"csr_facts": None, "csr_der": b"", "csr_spki": b""} | _dated(database_now()))
    return draft


def plan_of(draft: RequestDraft, *, requester: Requester) -> IssuePlan:
    """Return the plan of one certificate; nothing is made.

    Without a CSR the plan of a key that the requester will make has an empty CSR: the policy judges
    it as such. The texts were searched for secrets when the draft was kept. Raises InputRefused
    naming the field and what would pass.
    """
    now = database_now()
    defaults = defaults_for(requester.team, now=now)
    validity = read_validity(draft.validity, defaults)[0] if draft.validity.strip() else Validity(None)
    facts: dict[str, Any] | None = draft.csr_facts
    names = draft.names.replace(",", "\n").replace(";", "\n").split() if facts is None else (*facts["dns_names"], *facts["ip_addresses"])
    fields = Fields(
        sans=tuple(names),
        key=draft.key if facts is None else "",
        validity_days=validity.days or 0,
        profile=draft.profile,
        not_after=validity.not_after,
    )
    plan = fill_gaps(fields, defaults, today=now.date(), complete_labels=True)
    (spec,) = plan.specs
    if facts is not None:
        made = replace(
            spec,
            common_name=facts["common_name"],
            dns_names=tuple(facts["dns_names"]),
            ip_addresses=tuple(facts["ip_addresses"]),
            key=facts["key"],
            csr_der=bytes(draft.csr_der),
            spki_der=bytes(draft.csr_spki),
        )
        return IssuePlan((made,), (*facts["notes"], *(note for note in plan.notes if not note.startswith("Key "))))
    if draft.place in WITH_CSR:
        spec = replace(spec, csr_der=b"")
    return IssuePlan((spec,), tuple(dict.fromkeys((*draft.notes, *plan.notes))))


def submit_draft(draft: RequestDraft, *, shown: str, why: str, requester: Requester) -> CertificateRequest:
    """Submit the draft as it was shown, once: the same again returns the same request.

    `shown`: the digest of the plan on the page. `why`: the reason for the approvers; only a request
    that needs an approval must have one. Raises Conflict where the plan has changed since, or where
    a CSR is missing; InputRefused for a missing reason; NotPermitted, InputRefused as `submit` does;
    CSRRefused for a reason that holds a secret. Effects: the request with its event, and the draft
    names it, in one transaction.
    """
    # 1. Before the transaction: the refusal of a secret has a record, which a rollback would remove.
    if why:
        requester.check()
        refuse_secrets(why, actor=requester.actor, team=requester.team.slug, field="why", channel=requester.channel)
    with transaction.atomic():
        # 2. Of two confirmations of one draft, the second finds the request of the first.
        draft = RequestDraft.objects.select_for_update(of=("self",)).select_related("team", "owner").get(pk=draft.pk)
        if draft.request is not None:
            return draft.request
        # 3. What is requested is what was shown, complete, and with a reason where somebody has to approve it.
        plan = plan_of(draft, requester=requester)
        if plan_digest(plan.specs) != shown:
            raise Conflict(
                "What would be requested changed since this plan was shown; nothing was requested.",
                next_step="Look at the plan again, and confirm that one.",
            )
        (spec,) = plan.specs
        if draft.place in WITH_CSR and not draft.has_csr:
            raise Conflict("The CSR is missing.", field="csr", next_step="Send the CSR first.")
        if not why.strip() and _needs_approval(spec, requester):
            raise InputRefused("The approvers need to know what the certificate is for.", field="why", next_step="Write a sentence or two.")
        # 4. The request, and the draft that leads to it from now on.
        draft.request = submit(spec, requester=requester)
        draft.why = why.strip()[:500]
        draft.save(update_fields=["request", "why"])
        return draft.request


def _needs_approval(spec: CertificateSpec, requester: Requester) -> bool:
    _, (decision,) = evaluate_many([PolicyInput(spec, requester.team)], at=database_now())
    return decision.outcome is Outcome.NEEDS_APPROVAL


def _check(fields: DraftFields, *texts: str, requester: Requester) -> None:
    for name, text in asdict(fields).items():
        refuse_secrets(text, actor=requester.actor, team=requester.team.slug, field=name, channel=requester.channel)
    refuse_secrets(*texts, actor=requester.actor, team=requester.team.slug, field="text", channel=requester.channel)
    if fields.place not in list(Place):
        raise InputRefused(f"There is no place {fields.place!r}.", field="place", next_step="Choose one of the tiles.")
    if fields.server and server_named(fields.server) is None:
        raise InputRefused(f"There is no server {fields.server!r}.", field="server", next_step="Choose one of the list.")
    if fields.key and fields.key not in list(KeySpec):
        raise InputRefused(f"There is no key type {fields.key!r}.", field="key", next_step=f"Key types: {', '.join(KeySpec)}.")
    for name, text in asdict(fields).items():
        most = _LONGEST[name]
        if len(text) > most:
            raise InputRefused(f"This text has {len(text)} characters, more than {most}.", field=name, next_step="Shorten it.")


def _write(draft: RequestDraft, values: dict[str, Any]) -> None:
    """Write the values unless the draft was submitted. Raises Conflict then."""
    if not RequestDraft.objects.filter(pk=draft.pk, request__isnull=True).update(**values):
        raise Conflict("This draft was submitted; it cannot be changed any more.", next_step="Open its request, or begin anew.")
    for name, value in values.items():
        setattr(draft, name, value)


def _dated(now: datetime) -> dict[str, datetime]:
    return {"changed_at": now, "expires_at": now + timedelta(days=settings.PKI_REQUEST_DRAFT_DAYS)}
